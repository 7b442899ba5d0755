"""Import and verification of files in the models folder."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from conftest import TINY, random_model
from oracle import DATA, weights
from vsedvr.weights import ZOO, CheckpointError, load_model
from vsedvr.weights.convert import import_checkpoint
from vsedvr.weights.verify import file_problem, identify, published_problem, sha256_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VSEDVR_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


@pytest.mark.parametrize("form", ["basicsr", "old_edvr", "mmagic"])
def test_every_format_becomes_safetensors_with_the_names_of_basicsr(tmp_path: Path, folder: Path, form: str) -> None:
    state_dict = load_file(weights("formats"))
    rows = {row["basicsr"]: row for row in json.loads((DATA / "keys" / "edvr_m.json").read_text())["keys"]}
    torch.save({"state_dict": {rows[key][form]: value for key, value in state_dict.items()}}, tmp_path / "net.pth")
    written = import_checkpoint(tmp_path / "net.pth")
    assert written == folder / "net.safetensors"
    there = load_file(written)
    assert there.keys() == state_dict.keys()
    assert all(torch.equal(there[key], value) for key, value in state_dict.items())
    network = load_model("net").config
    metadata = metadata_of(written)
    assert metadata["source"] == "net.pth"
    assert metadata["source_sha256"] == sha256_of(tmp_path / "net.pth")
    assert metadata["model"] == ""
    assert json.loads(metadata["network"]) == asdict(network)
    assert file_problem(written, None) == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_stay_as_they_are_stored(tmp_path: Path, folder: Path, dtype: torch.dtype) -> None:
    torch.save({"params": random_model().to(dtype).state_dict()}, tmp_path / "net.pth")
    written = import_checkpoint(tmp_path / "net.pth", tmp_path / "sub" / "out.safetensors")
    assert {value.dtype for value in load_file(written).values()} == {dtype}
    assert file_problem(written, None) == ""


def test_a_published_file_gets_its_name(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"params": random_model().state_dict()}, tmp_path / "renamed.pth")
    digits = sha256_of(tmp_path / "renamed.pth")[:8]
    tiny = replace(ZOO["edvr_m_x4_reds"], name="tiny", file=f"TINY-{digits}.pth", sha256=digits, network=TINY)
    monkeypatch.setitem(ZOO, "tiny", tiny)
    assert identify(tmp_path / "renamed.pth") == tiny
    written = import_checkpoint(tmp_path / "renamed.pth")
    assert written == folder / "tiny.safetensors" == tiny.path()
    assert metadata_of(written)["model"] == "tiny"
    assert load_model("tiny").config == TINY
    assert file_problem(written, tiny) == ""
    assert "holds another network than tiny has" in file_problem(written, replace(tiny, network=replace(TINY, num_feat=16)))


def test_without_a_hash_name_and_network_tell(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(ZOO["edvr_m_x4_reds_2019"], name="tiny", file="TINY.pth", network=TINY)
    monkeypatch.setitem(ZOO, "tiny", tiny)
    torch.save(random_model().state_dict(), tmp_path / "TINY.pth")
    torch.save(random_model().state_dict(), tmp_path / "other.pth")
    assert identify(tmp_path / "TINY.pth") == tiny
    assert identify(tmp_path / "other.pth") is None
    torch.save(random_model(replace(TINY, num_feat=16)).state_dict(), tmp_path / "TINY.pth")
    assert identify(tmp_path / "TINY.pth") is None
    with pytest.raises(ValueError, match=r"has the name of tiny and is another model; rename it"):
        import_checkpoint(tmp_path / "TINY.pth")


def test_nothing_is_written_where_something_is_wrong(tmp_path: Path, folder: Path) -> None:
    torch.save({"params": random_model().state_dict()}, tmp_path / "net.pth")
    import_checkpoint(tmp_path / "net.pth")
    with pytest.raises(FileExistsError, match=r"net\.safetensors exists already"):
        import_checkpoint(tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"ends in \.safetensors, got .*out\.pth"):
        import_checkpoint(tmp_path / "net.pth", tmp_path / "out.pth")
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(CheckpointError, match="a web page"):
        import_checkpoint(tmp_path / "page.pth")
    torch.save({"params": random_model().state_dict()}, tmp_path / "small.pth")
    with pytest.raises(ValueError, match="has the name of small and is another model"):
        import_checkpoint(tmp_path / "small.pth")
    assert [path.name for path in folder.iterdir()] == ["net.safetensors"]


def test_damage_is_found(tmp_path: Path, folder: Path) -> None:
    torch.save({"params": random_model().state_dict()}, tmp_path / "net.pth")
    written = import_checkpoint(tmp_path / "net.pth")
    content = written.read_bytes()
    written.write_bytes(content[:-4] + bytes(4))
    assert file_problem(written, None) == "holds weights that are damaged or were changed since they were imported"
    written.write_bytes(content[:-100])
    assert "is damaged or truncated" in file_problem(written, None)
    save_file(load_file(weights("formats")), written)
    assert file_problem(written, None) == "", "written by another program, without a record"


def test_a_downloaded_file_is_held_against_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "TINY.pth"
    torch.save({"params": random_model().state_dict()}, path)
    tiny = replace(ZOO["edvr_m_x4_reds"], name="tiny", file=path.name, sha256=sha256_of(path), network=TINY)
    assert file_problem(path, tiny) == published_problem(path, tiny) == ""
    torch.save({"params": random_model().half().state_dict()}, path)
    assert file_problem(path, tiny).startswith(f"is another file: its SHA-256 begins with {sha256_of(path)[:8]}, not with")
    path.write_bytes(path.read_bytes()[:1000])
    assert "is damaged or truncated" in file_problem(path, tiny)
