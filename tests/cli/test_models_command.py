import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import TINY, random_model
from model_server import ModelServer, model_server, says, sends
from vsedvr.cli import main
from vsedvr.weights import ZOO


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VSEDVR_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[ModelServer]:
    """Has the only two published models: broken, whose address answers 404, and tiny."""
    torch.save({"params": random_model().state_dict()}, tmp_path / "tiny.pth")
    content = (tmp_path / "tiny.pth").read_bytes()
    digits = hashlib.sha256(content).hexdigest()[:8]
    original = dict(ZOO)
    pattern = replace(ZOO["edvr_l_x4_reds"], sha256=digits, network=TINY)
    with model_server() as server:
        server.answers = {"/tiny": sends(content), "/broken": says(404)}
        for name, entry in original.items():
            if not entry.is_embedded:
                del ZOO[name]
        for name in ("broken", "tiny"):
            ZOO[name] = replace(pattern, name=name, file=f"{name.upper()}-{digits}.pth", urls=(server.url(f"/{name}"),))
        try:
            yield server
        finally:  # in the same order as before
            ZOO.clear()
            ZOO.update(original)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["models", *arguments])
    return status, *capsys.readouterr()


def test_the_list_has_every_model_and_where_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys)
    assert (status, err) == (0, "")
    assert run(capsys, "list") == (0, out, "")
    head, *rows = out.split("\n\n")[0].splitlines()
    assert head.split() == ["model", "for", "MB", "licence", "on", "this", "computer", "PSNR/SSIM"]
    assert [row.split()[0] for row in rows] == list(ZOO)
    (row,) = (row for row in rows if row.startswith("edvr_l_deblur_reds "))
    assert row.split("  ")[-1].strip() == "reds4-blur (RGB) 34.80/0.9487"
    assert "94.4  Apache-2.0" in row
    assert "in the package" in rows[0]
    assert out.endswith(f"models folder: {folder}\n")


def test_get_list_path_verify_show(server: ModelServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "get", "tiny")
    path = folder / ZOO["tiny"].file
    assert (status, out) == (0, "")
    assert err.splitlines()[-1] == f"tiny: {path}"
    assert run(capsys, "path", "tiny") == (0, f"{path}\n", "")
    assert run(capsys, "path") == (0, f"{folder}\n", "")
    assert "yes" in next(line for line in run(capsys)[1].splitlines() if line.startswith("tiny "))
    whole = "embedded models: " + ", ".join(name for name, entry in ZOO.items() if entry.is_embedded)
    assert run(capsys, "verify") == (0, f"tiny: whole\n{whole}: whole, by their SHA-256\n", "")
    shown = run(capsys, "show", "tiny")[1]
    for line in (
        f"file:       {path}",
        "format:     names of BasicSR, float32, 0.2 MB",
        "network:    x1, 8 features, window of 5 frames, number 2, 1 blocks, TSA",
        f"parameters: {sum(parameter.numel() for parameter in random_model().parameters()):,}",
        "figures:    reds4 (RGB) 31.09/0.8800 by BasicSR, docs/ModelZoo.md",
    ):
        assert line in shown.splitlines(), line
    path.write_bytes(path.read_bytes()[:-9])
    status, out, err = run(capsys, "verify", "tiny")
    assert (status, out) == (1, "tiny: is damaged or truncated; download it again (BadZipFile: File is not a zip file)\n")
    assert run(capsys, "verify", "small", "tiny.pth")[1] == "small: whole\ntiny.pth: whole\n"
    assert err == "vsedvr models: tiny: not whole; remove the file and get it again, embedded models by pip\n"


def test_get_all_goes_on_after_one_that_fails(server: ModelServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "get", "--all", "--quiet")
    assert status == 1
    assert "vsedvr models: broken cannot be downloaded: 127.0.0.1 answers 404 Not Found. By hand: download BROKEN-" in err
    assert (folder / ZOO["tiny"].file).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get"], "give names of models, or --all; `vsedvr models` lists them"),
        (["get", "small", "--all"], "give names of models, or --all"),
        (["get", "edvr_m_x4_red"], "did you mean 'edvr_m_x4_reds'?"),
        (["get", "here.pth"], "here.pth is no published model but a file"),
        (["get", "edvr_m_x4_reds_2019"], "has no address of its own. By hand: download EDVR_REDS_SR_M.pth in a browser from"),
        (["path", "edvr_m_x4_reds"], "`vsedvr models get edvr_m_x4_reds` downloads it"),
        (["verify", "edvr_m_x4_reds"], "`vsedvr models get edvr_m_x4_reds` downloads it"),
        (["show", "none.pth"], "no checkpoint at 'none.pth'"),
        (["import", "here.pth"], "here.pth is empty; download it again"),
    ],
)
def test_errors_name_the_way_out(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    Path("here.pth").touch()
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (1, "")
    assert err.startswith("vsedvr models: ")
    assert message in err


def test_an_embedded_model_needs_no_download(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "get", "small", "--quiet")
    assert status == 0
    assert err.endswith("small.safetensors\n")


def test_what_is_shown_of_a_model_that_is_not_here(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, "show", "edvr_l_stage2_deblur_reds")[1].splitlines()
    for line in (
        "network:    x1, 128 features, window of 5 frames, number 2, 20 blocks, TSA, PreDeblur",
        "parameters: 17,698,659",
        "for:        second stage: motion blur (REDS); its input is the result of edvr_l_deblur_reds",
        "here:       no",
        "padding:    replicate",
        "sha256:     not published",
        "figures:    none published for this file",
    ):
        assert line in shown, line


def test_an_import_says_how_the_model_was_told(server: ModelServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ZOO["broken"] = replace(ZOO["broken"], sha256="0" * 8)
    written = folder / "tiny.safetensors"
    assert run(capsys, "import", "tiny.pth")[2] == f"{written}: the published tiny, by its SHA-256\n"
    written.unlink()
    ZOO["tiny"] = replace(ZOO["tiny"], file="tiny.pth", sha256="")
    assert run(capsys, "import", "tiny.pth")[2] == f"{written}: the published tiny, by its name and network\n"
    assert run(capsys, "verify", "tiny") == (0, "tiny: whole\n", "")


def test_an_imported_model_is_used_by_its_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(random_model().half().state_dict(), "mine.pth")
    status, out, err = run(capsys, "import", "mine.pth")
    assert (status, out) == (0, "")
    assert err == f"{folder / 'mine.safetensors'}: no published model\n"
    assert "mine" in run(capsys)[1]
    assert run(capsys, "verify", "mine") == (0, "mine: whole\n", "")
    assert run(capsys, "path", "mine") == (0, f"{folder / 'mine.safetensors'}\n", "")
    assert "format:     names of BasicSR, float16, 0.1 MB" in run(capsys, "show", "mine")[1]
    assert "exists already" in run(capsys, "import", "mine.pth")[2]
    assert run(capsys, "import", "mine.pth", "-o", "other.safetensors")[0] == 0
