import pytest

from vsedvr.cli.progress import Progress


def test_rate_and_time_left_are_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    progress = Progress(100)
    now = 104.0
    progress.step("small, walk")
    progress.step("small, walk")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split("\r")[-1].rstrip() == "small, walk: frame 2 of 100, 0.50 a second, 3:16 left"


def test_the_line_ends_with_the_last_step(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(2)
    progress.step("x")
    assert not capsys.readouterr().err.endswith("\n")
    progress.step("x")
    assert capsys.readouterr().err.endswith("\n")
