"""The command itself: its list of commands, and its exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

from vsedvr import __version__
from vsedvr.cli import COMMANDS, EXTRAS, main

LIBRARIES = ("av", "cv2", "matplotlib", "onnx", "onnxruntime", "onnxscript", "PIL", "skimage", "tensorboard")
"""Libraries that only the package's extras install."""


def run_without_extras(*arguments: str) -> subprocess.CompletedProcess[str]:
    hidden = "".join(f"sys.modules[{name!r}] = None; " for name in LIBRARIES)
    code = f"import sys; {hidden}from vsedvr.cli import main; sys.exit(main({list(arguments)!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def run(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """Makes a command that ends with an error."""

    def fail(args: object) -> None:
        raise error

    monkeypatch.setattr("vsedvr.cli.inspect.run", fail)
    return main(["inspect", "clip"])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["evaluate"], ["--version"]])
def test_without_a_command_it_says_which_there_are(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    if arguments == ["--version"]:
        assert out == f"vsedvr {__version__}\n"
    else:
        assert end.value.code == (0 if arguments == ["--help"] else 2)
        assert ("required: command" if not arguments else "eval") in out + err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert COMMANDS[command] in capsys.readouterr().out


@pytest.mark.parametrize("command", ["eval", "export", "inspect"])
def test_help_needs_no_extra(command: str) -> None:
    result = run_without_extras(command, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert COMMANDS[command] in result.stdout


@pytest.mark.parametrize(("command", "arguments"), [("eval", ["--gt"]), ("export", ["small"]), ("inspect", [])])
def test_without_the_extra_it_names_the_extra(tmp_path: Path, command: str, arguments: list[str]) -> None:
    (tmp_path / "clip.mkv").touch()
    result = run_without_extras(command, *arguments, str(tmp_path / "clip.mkv"))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"vsedvr {command} needs ")
    assert result.stderr.endswith(f'; pip install "vsedvr[{EXTRAS[command]}]" brings it\n')


def test_errors_are_told_in_words_with_the_path(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for error, text in [
        (ValueError("--frame must be a number"), "--frame must be a number"),
        (FileNotFoundError(2, "No such file or directory", "film.mkv"), "film.mkv: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "MemoryError"),
    ]:
        assert run(monkeypatch, error) == 1
        assert capsys.readouterr() == ("", f"vsedvr inspect: {text}\n")


def test_ctrl_c_ends_with_130_and_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, KeyboardInterrupt("the sheets so far lie in inspection")) == 130
    assert capsys.readouterr().err == "\nvsedvr inspect: stopped; the sheets so far lie in inspection\n"
    assert run(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "\nvsedvr inspect: stopped\n"


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, ZeroDivisionError("a bug"))
