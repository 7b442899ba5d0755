"""The command itself: what it offers, and how it ends without the packages that a command needs."""

import subprocess
import sys

import pytest

from vsedvr import __version__
from vsedvr.cli import COMMANDS, main


@pytest.mark.parametrize("arguments", [[], ["--help"], ["evaluate"], ["--version"]])
def test_without_a_command_it_says_which_there_are(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    if arguments == ["--version"]:
        assert out == f"vsedvr {__version__}\n"
    else:
        assert (end.value.code == 0) == (arguments == ["--help"])
        assert ("required: command" if not arguments else "eval") in out + err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert COMMANDS[command] in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_without_the_extra_it_names_the_extra(command: str) -> None:
    code = f"import sys; sys.modules['av'] = None; from vsedvr.cli import main; sys.exit(main(['{command}', '--help']))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stdout == ""
    extra = "restore" if command == "restore" else "train"
    assert result.stderr == f'vsedvr {command} needs av; pip install "vsedvr[{extra}]" brings it\n'
