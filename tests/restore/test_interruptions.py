"""Kills, full disks, changed inputs and the like lose nothing, and the same call continues with the right result."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from films import VFR, make_film, read_film, video_packets
from vsedvr.cli import main
from vsedvr.cli import restore as command
from vsedvr.restore import Status, codecs, restore
from vsedvr.restore.job import locked


def stop_at(done: int) -> Callable[[Status], None]:
    """Makes a callback that raises an error of the system after this many frames."""

    def on_progress(status: Status) -> None:
        if status.stage == "restoring" and status.done == done:
            raise OSError("stopped by the test")

    return on_progress


KILLED = """
import os, signal, sys
from vsedvr.restore import restore  # once: every process that is killed starts from here, before any thread runs

source, output, model, *moments = sys.argv[1:]
for moment in moments:
    stage, done = moment.split()
    def on_progress(status):
        if status.stage == stage and status.done == int(done):
            os.kill(os.getpid(), signal.SIGKILL)
    pid = os.fork()
    if not pid:
        try:
            restore(source, output, model=model, device="cpu", codec="ffv1", segment_seconds=0.25, on_progress=on_progress)
        finally:
            os._exit(1)
    killed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    there = sorted(name for name in os.listdir(output + ".parts") if name.endswith(".mkv") and name[0] == "0")
    print(killed, os.path.exists(output), len(there))
"""


def test_a_film_that_was_killed_again_and_again_is_that_of_an_undisturbed_run(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", VFR, sound="aac")
    # x264 gives other bits for the same frames now and then; FFV1 never does
    restore(film, tmp_path / "undisturbed.mkv", model=tiny_x1, device="cpu", codec="ffv1", segment_seconds=0.25)
    output = tmp_path / "killed.mkv"
    moments = ["restoring 0", "restoring 3", "restoring 9", "restoring 13", "joining 24"]
    child = [sys.executable, "-c", KILLED, str(film), str(output), str(tiny_x1), *moments]
    lines = subprocess.run(child, timeout=120, check=True, capture_output=True, text=True).stdout.splitlines()
    assert lines == ["True False 0", "True False 0", "True False 1", "True False 2", "True False 4"]
    restore(film, output, model=tiny_x1, device="cpu", codec="ffv1", segment_seconds=0.25)
    assert video_packets(output) == video_packets(tmp_path / "undisturbed.mkv")
    assert read_film(output).packets == read_film(film).packets
    assert [path.name for path in tmp_path.iterdir() if "killed" in path.name] == ["killed.mkv"]


def test_work_that_is_done_is_not_done_again(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", VFR)
    with pytest.raises(OSError, match="stopped by the test"):
        restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", segment_seconds=0.25, on_progress=stop_at(13))
    seen: list[Status] = []
    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", segment_seconds=0.25, on_progress=seen.append)
    frames = [status.done for status in seen if status.stage == "restoring"]
    assert frames == list(range(12, 25))


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(
    tmp_path: Path, tiny_x1: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_film(tmp_path / "in.mkv", VFR)
    output = tmp_path / "out.mkv"
    line = ["restore", str(film), str(output), "--model", str(tiny_x1), "--device", "cpu", "--segment-seconds", "0.25"]

    def interrupt(self: object, status: Status) -> None:
        if status.done == 9:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(command._Lines, "show", interrupt)
        assert main(line) == 130
    assert "stopped; 9 of 24 frames are restored. The same command goes on" in capsys.readouterr().err
    assert not output.exists()
    assert main(line) == 0
    assert len(read_film(output).frames) == 24


def test_a_second_process_on_one_output_is_told(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv")
    with (
        locked(tmp_path / "out.mkv.parts"),
        pytest.raises(BlockingIOError, match=r"another process is restoring into .*out\.mkv"),
    ):
        restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu")


@pytest.mark.parametrize("where", ["in a segment", "in the joined film"])
def test_a_full_disk_is_an_error_that_names_the_file_and_costs_nothing(tmp_path: Path, tiny_x1: Path, where: str) -> None:
    film = make_film(tmp_path / "in.mkv", VFR, sound="pcm_s16le")
    settings = {"model": tiny_x1, "device": "cpu", "codec": "ffv1", "segment_seconds": 0.25}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(status: Status) -> None:
        if (status.stage == "joining") if where == "in the joined film" else (status.done == 9):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000 if where == "in the joined film" else 3_000, hard))

    try:
        with pytest.raises(
            OSError, match=r"out\.mkv\.parts/" + ("joined" if where == "in the joined film" else r"00000\d")
        ) as error:
            restore(film, tmp_path / "out.mkv", **settings, on_progress=fill)  # type: ignore[arg-type]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.strerror is not None
    assert not (tmp_path / "out.mkv").exists()
    assert not list((tmp_path / "out.mkv.parts").glob(".*"))
    restore(film, tmp_path / "out.mkv", **settings)  # type: ignore[arg-type]
    assert read_film(tmp_path / "out.mkv").times == [Fraction(time, 1000) for time in VFR]


def test_a_changed_input_and_other_settings_are_not_mixed_with_what_is_there(tmp_path: Path, tiny_x1: Path) -> None:
    film, output = make_film(tmp_path / "in.mkv", VFR), tmp_path / "out.mkv"

    def go(**changes: object) -> None:
        settings = {"model": tiny_x1, "device": "cpu", "segment_seconds": 0.25, **changes}
        restore(film, output, **settings)  # type: ignore[arg-type]

    with pytest.raises(OSError, match="stopped by the test"):
        go(on_progress=stop_at(13))
    with pytest.raises(ValueError, match=r"holds 2 of 4 segments of another job: crf was None, is 20.0.*--restart"):
        go(crf=20.0)
    content = film.read_bytes()
    os.utime(film, ns=(1, 1))
    go(on_progress=lambda status: None, skip_damaged=True)  # another time, the same content; and this may be asked for later
    assert len(read_film(output).frames) == 24
    output.unlink()
    with pytest.raises(OSError, match="stopped by the test"):
        go(on_progress=stop_at(13))
    film.write_bytes(content[:-1] + b"!")
    with pytest.raises(ValueError, match=r"in\.mkv has changed.*--restart"):
        go()
    film.write_bytes(content)
    go(restart=True, crf=20.0)
    assert len(read_film(output).frames) == 24


def test_what_is_there_already_is_replaced_only_when_asked(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv")
    for name in ("out.mkv", "folder"):
        output = tmp_path / name
        restore(film, output, model=tiny_x1, device="cpu")
        with pytest.raises(FileExistsError, match=f"{name} exists already; overwrite"):
            restore(film, output, model=tiny_x1, device="cpu")
        restore(film, output, model=tiny_x1, device="cpu", overwrite=True)
    with pytest.raises(ValueError, match="is the source"):
        restore(film, film, model=tiny_x1, device="cpu", overwrite=True)
    (tmp_path / "folder" / "diary.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds other things than PNG pictures \(diary.txt\); it is not overwritten"):
        restore(film, tmp_path / "folder", model=tiny_x1, device="cpu", overwrite=True)


def test_an_output_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, tiny_x1: Path) -> None:
    film, output = make_film(tmp_path / "in.mkv"), tmp_path / "out.mkv"

    def somebody_writes(status: Status) -> None:
        if status.stage == "joining":
            output.write_text("somebody's")

    with pytest.raises(FileExistsError):
        restore(film, output, model=tiny_x1, device="cpu", on_progress=somebody_writes)
    assert output.read_text() == "somebody's"
    output.unlink()
    restore(film, output, model=tiny_x1, device="cpu")
    assert len(read_film(output).frames) == 12


def test_an_encoder_that_is_missing_is_named_before_anything_is_done(
    tmp_path: Path, tiny_x1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_film(tmp_path / "in.mkv")
    monkeypatch.setitem(codecs.CODECS, "x264", replace(codecs.CODECS["x264"], encoder="libx265000"))
    with pytest.raises(ValueError, match=r"PyAV .* has no encoder libx265000; choose another codec"):
        restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv")
    with pytest.raises(OSError, match=r"in\.mkv"):
        restore(film, film / "below" / "out.mkv", model=tiny_x1, device="cpu")
