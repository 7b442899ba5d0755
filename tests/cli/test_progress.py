"""Progress of a command: lines in a file, a bar on a terminal, and nothing with quiet."""

import io
import sys

import pytest

from vsedvr.cli.progress import Progress


class Terminal(io.StringIO):
    """Makes stderr look like a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def test_a_line_now_and_then_where_there_is_no_terminal(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(100, "frames restored") as progress:
        for seconds in (10, 10, 10, 10, 40):
            clock.now += seconds
            progress.step("small, [walk]")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "frames restored: 3 of 100, 0.10 a second, 16:10 left (small, [walk])",
        "frames restored: 5 of 100, 0.06 a second, 25:20 left (small, [walk])",
        "frames restored: 5 of 100, 0.06 a second, 25:20 left",
    ]


def test_the_last_line_tells_of_the_whole(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, "frames restored") as progress:
        for _ in range(2):
            clock.now += 4
            progress.step("walk")
    assert capsys.readouterr().err == "frames restored: 2 of 2, 0.25 a second\n"


def test_what_is_over_at_once_is_not_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, "clips looked through") as progress:
        progress.step()
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with Progress(20, "frames restored") as progress:
        for _ in range(20):
            progress.step("small, [walk]")
    assert "frames restored: small, [walk]" in terminal.getvalue()
    assert "20/20" in terminal.getvalue()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stderr", [io.StringIO(), Terminal()])
def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch, clock: Clock, stderr: io.StringIO) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    with Progress(2, "frames restored", quiet=True) as progress:
        for _ in range(2):
            clock.now += 100
            progress.step("walk")
    assert stderr.getvalue() == ""
