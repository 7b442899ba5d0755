import pytest
import torch

from conftest import TINY
from vsedvr.infer import build, findings, free_bytes
from vsedvr.model import EDVR, EDVRConfig

CPU = torch.device("cpu")


def test_devices_end_with_the_cpu_and_begin_with_the_default() -> None:
    devices = findings.devices()
    assert devices[-1] == CPU
    assert len(devices) == torch.cuda.device_count() + 1
    assert findings.runs_on().text.startswith(str(devices[0]))


@pytest.mark.parametrize(("free", "tiles"), [(64 << 30, "fp32, whole: large, tiny"), (4 << 30, "fp32, in tiles of ")])
def test_tiles_depend_on_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch, free: int, tiles: str) -> None:
    monkeypatch.setattr(build, "free_bytes", lambda device: free + 12345)
    finding = findings.tiles({"large": EDVRConfig(num_feat=128), "tiny": TINY}, CPU, (1280, 720), reserved_bytes=12345)
    assert finding.name == "1280x720 on cpu"
    assert finding.text.startswith(tiles)
    assert "tiny" in finding.text


def test_little_memory_is_advised_upon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_bytes(CPU) > 0
    monkeypatch.setattr(findings, "free_bytes", lambda device: 600 << 20)
    finding = findings.memory(CPU)
    assert finding.text == "0.6 GiB free"
    assert finding.advice == "end other programs, or restore in small tiles: tile=(128, 128)"
    assert not finding.broken


def test_tiles_are_those_of_the_engine(monkeypatch: pytest.MonkeyPatch, tiny_model: EDVR) -> None:
    monkeypatch.setattr(build, "free_bytes", lambda device: 600 << 20)
    tile = build.build_engine(tiny_model, CPU, torch.float32, (720, 1280), reserved_bytes=100 << 20).tiling
    assert tile is not None
    finding = findings.tiles({"tiny": tiny_model.config}, CPU, (1280, 720), reserved_bytes=100 << 20)
    assert finding.text == f"fp32, in tiles of {tile.tile[0]}x{tile.tile[1]}: tiny"
