"""Data for several tests of training: small videos, and a small training of a few seconds."""

import signal
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from conftest import moving_frames, write_frames
from vsedvr.train.dataset import TrainingData
from vsedvr.train.loop import Trainer
from vsedvr.train.preset import Preset, read_preset
from vsedvr.train.processes import Processes
from vsedvr.train.state import load_state
from vsedvr.train.validation import Validation

ALONE = Processes(0, 1, torch.device("cpu"))

PRESET = """
[network]
num_feat = 8
num_frame = 3
deformable_groups = 2
num_extract_block = 1
num_reconstruct_block = 1
num_tail_feat = 8
scale = 1
[data]
gt = ["clips"]
patch = 32
reverse = true
[[degradation]]
kind = "noise"
sigma = [50, 50]
[train]
iterations = 6
batch = 2
periods = [1_000_000]
lr = 4e-3
loss_reduction = "mean"
ema_decay = 0.9
workers = 0
log_every = 1
valid_every = 1000
save_every = 1000
"""


def flat(color: tuple[int, int, int], height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Makes a frame of one colour, (3, height, width) in Y, U, V."""
    return np.broadcast_to(np.array(color, np.uint8)[:, None, None], (3, height, width)).copy()


def write_video(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """Writes frames (3, h, w) in YUV 4:4:4 as a lossless video."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width = frames[0].shape[1:]
        stream.pix_fmt = "yuv444p"
        for planes in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        container.mux(stream.encode(None))


def write_training(root: Path) -> Path:
    """Writes the preset, a clip to learn from and one for validation; returns the folder."""
    root.mkdir(exist_ok=True)
    (root / "preset.toml").write_text(PRESET)
    write_frames(root / "clips/a", moving_frames(4, 40, 48))
    write_frames(root / "valid/b", moving_frames(3, 32, 48, (2, 0)))
    return root


def preset_of(root: Path, *changes: str) -> Preset:
    return read_preset(str(root / "preset.toml"), changes)


def trainer_of(
    root: Path, output: Path, *changes: str, validate: bool = False, processes: Processes = ALONE, resume: bool = False
) -> Trainer:
    preset = preset_of(root, *changes)
    validation = Validation(preset, root / "valid", None, root / "cache") if validate else None
    state = load_state(output / "last.pt") if resume else None
    return Trainer(preset, TrainingData(preset, root, root / "cache"), output, processes, validation, state=state)


def losses_of(trainer: Trainer, stop_after: int | None = None) -> list[float]:
    """Runs a training and returns its losses; stops it after iteration `stop_after`."""
    losses, step = [], trainer.learner.step

    def record(lq: Tensor, gt: Tensor) -> float:
        losses.append(step(lq, gt))
        trainer.stop_asked = signal.SIGTERM if trainer.iteration == stop_after else None
        return losses[-1]

    trainer.learner.step = record  # type: ignore[method-assign]
    trainer.run()
    return losses


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name in ("model", "ema")
        for key, value in getattr(trainer.learner, name).state_dict().items()
    }
