import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import vapoursynth as vs

from benchmarks.gpu import overlap


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    threads = vs.core.num_threads
    vs.core.num_threads = 4
    yield
    vs.core.num_threads = threads


CASE = overlap.Case(32, 24, 0, 0, 7)


@pytest.mark.parametrize("num_streams", [1, 2, 3])
def test_a_clip_is_played_and_checked(num_streams: int) -> None:
    seconds, busy, processor = overlap.measure(CASE, num_streams)
    assert seconds > 0
    assert 0 <= busy <= 1
    assert processor > 0


def test_wrong_frames_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "Pending", lambda picture, *rest: Wrong())
    with pytest.raises(SystemExit, match="wrong frames with 2 streams"):
        overlap.measure(CASE, 2)


def test_the_page_about_gpus_has_the_measured_figures() -> None:
    folder = Path(__file__).parents[3]
    rows = [line.split(" | ") for line in (folder / "benchmarks/gpu/overlap.md").read_text().splitlines() if " ms | " in line]
    page = (folder / "docs/gpu.md").read_text()
    assert len(rows) == len(overlap.CASES)
    for size, _, alone, one, two, *_ in rows:
        assert f"{size} | {alone} | {one} | {two} |" in page


class Wrong:
    def wait(self) -> None:
        """The frame is here."""

    def result(self) -> torch.Tensor:
        return torch.zeros(3, 96, 128)
