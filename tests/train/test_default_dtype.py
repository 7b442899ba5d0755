"""PyTorch's process-wide default type, which another program may have set, changes no bit of a training."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import moving_frames, write_frames

SCRIPT = """
import hashlib
import sys
from pathlib import Path

import torch

from training_data import ALONE
from vsedvr.train.dataset import TrainingData
from vsedvr.train.loop import Trainer
from vsedvr.train.preset import parse_preset
from vsedvr.train.validation import Validation

torch.set_num_threads(1)
root = Path(sys.argv[1])
network = {"num_feat": 32, "num_frame": 3, "deformable_groups": 2, "num_extract_block": 1, "num_reconstruct_block": 1}
train = {"iterations": 2, "batch": 1, "workers": 0, "valid_every": 1, "grad_clip": 1.0, "carry_pixels": True}
STEPS = [{"kind": kind} for kind in ("motion_blur", "gaussian_blur", "noise")]


def run(name, x4):
    tables = {"network": {**network, "scale": 4 if x4 else 1}, "data": {"gt": ["clips"], "stills": ["stills"], "patch": 32}}
    tables["degradation"] = [*STEPS, {"kind": "bicubic"}] if x4 else STEPS
    tables["train"] = {**train, "carry_pixels": not x4, "loss": "charbonnier" if x4 else "luma"}
    preset = parse_preset({"name": "x", **tables})
    validation = Validation(preset, root / "clips", None, root / "cache")
    trainer = Trainer(preset, TrainingData(preset, root, root / "cache"), root / f"{name} {x4}", ALONE, validation)
    trainer.run()
    weights = b"".join(value.numpy().tobytes() for value in trainer.learner.ema.state_dict().values())
    assert all(value.dtype == torch.float32 for value in trainer.learner.model.state_dict().values())
    return hashlib.sha256(weights).hexdigest(), trainer.best


expected = [run("plain", x4) for x4 in (True, False)]
for name in ("float16", "bfloat16", "float64"):
    torch.set_default_dtype(getattr(torch, name))
    assert [run(name, x4) for x4 in (True, False)] == expected, name
print("same")
"""


def test_defaults_of_another_program_change_nothing(tmp_path: Path) -> None:
    write_frames(tmp_path / "clips/a", moving_frames(3, 32, 48))
    write_frames(tmp_path / "stills", moving_frames(1, 40, 40))
    tests = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tests.parent, tests, tests / "train")))}
    result = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True, env=env, timeout=600)
    assert result.stdout == "same\n", result.stderr
