import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vsedvr.model import EDVR, EDVRConfig

Vspipe = Callable[..., subprocess.CompletedProcess[bytes]]

TINY = EDVRConfig(num_feat=8, deformable_groups=2, num_extract_block=1, num_reconstruct_block=1, hr_in=True, num_tail_feat=8)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def random_model(config: EDVRConfig = TINY) -> EDVR:
    """An EDVR whose offsets reach a few pixels; a fresh one has none and tests little."""
    torch.manual_seed(0)
    model = EDVR(config).eval()
    for name, parameter in model.named_parameters():
        if "conv_offset" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="session")
def tiny_model() -> EDVR:
    return random_model()


@pytest.fixture(scope="session")
def tiny_x1(tmp_path_factory: pytest.TempPathFactory, tiny_model: EDVR) -> Path:
    """A checkpoint file of a small x1 network: fast enough for 1080p."""
    path = tmp_path_factory.mktemp("model") / "tiny_x1.pth"
    torch.save({"params": tiny_model.state_dict()}, path)
    return path


@pytest.fixture(scope="session")
def vspipe(tmp_path_factory: pytest.TempPathFactory) -> Vspipe:
    """Runs vspipe on the text of a script; VapourSynth's one-time configuration stays out of the user's home."""
    home = tmp_path_factory.mktemp("vspipe")
    env = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "APPDATA": str(home)}
    bin_dir = Path(sys.executable).parent
    subprocess.run([bin_dir / "vapoursynth", "config"], env=env, check=True, stdout=subprocess.DEVNULL, timeout=60)

    def run(script: str, *args: str, timeout: float = 300) -> subprocess.CompletedProcess[bytes]:
        path = home / "script.vpy"
        path.write_text(script)
        return subprocess.run([bin_dir / "vspipe", *args, path, "-"], env=env, capture_output=True, timeout=timeout)

    return run
