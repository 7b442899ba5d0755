"""The streams of a GPU, by a CUDA that only notes what it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from vsedvr.infer.stream import Stream

GPU = torch.device("cuda", 1)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What CUDA was asked for, in order."""
    log: list[str] = []

    class FakeStream:
        def __init__(self, device: torch.device, name: str = "own") -> None:
            self.name = f"{name} of {device.index}"

        def wait_stream(self, other: "FakeStream") -> None:
            log.append(f"{self.name} waits for {other.name}")

    class FakeEvent:
        def __init__(self, **options: Any) -> None:
            log.append(f"event {options}")

        def record(self, stream: FakeStream) -> None:
            log.append(f"recorded in {stream.name}")

        def synchronize(self) -> None:
            log.append("wait")

    @contextmanager
    def current(stream: FakeStream) -> Iterator[None]:
        log.append(f"into {stream.name}")
        yield
        log.append("out")

    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "stream", current)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: FakeStream(device, "default"))
    return log


def test_an_engine_on_a_gpu_has_one_of_its_own(log: list[str]) -> None:
    """It begins when the weights are copied, which the default stream does."""
    stream = Stream(GPU)
    assert log == ["own of 1 waits for default of 1"]
    with stream.current():
        log.append("work")
    assert log[1:] == ["into own of 1", "work", "out"]


def test_who_waits_sleeps_until_the_work_before_the_mark_is_done(log: list[str]) -> None:
    """Of this stream alone, and nothing waits when the mark is made."""
    wait = Stream(GPU).mark()
    assert log[1:] == ["event {'blocking': True}", "recorded in own of 1"]
    wait()
    wait()
    assert log[3:] == ["wait", "wait"]


def test_a_cpu_has_done_all_work_when_it_is_launched(log: list[str]) -> None:
    stream = Stream(torch.device("cpu"))
    with stream.current():
        stream.mark()()
    assert not log
