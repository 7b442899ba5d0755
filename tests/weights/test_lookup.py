from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, random_model
from vsedvr.weights import ZOO, find_model, load_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VSEDVR_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "models"


def error_of(model: Any) -> str:
    with pytest.raises(FileNotFoundError) as caught:
        find_model(model)
    return str(caught.value)


def test_a_published_model_is_found_in_the_models_folder(folder: Path) -> None:
    name, file = "edvr_m_x4_reds", ZOO["edvr_m_x4_reds"].file
    Path(name).mkdir()  # a folder with the results of a training
    assert "not on this computer" in error_of(name)
    Path(name).rmdir()
    Path(name).touch()
    assert find_model(name) == Path(name), "a path, where nothing is in the folder"
    (folder / f"{name}.safetensors").touch()
    assert find_model(name) == folder / f"{name}.safetensors", "imported"
    (folder / file).touch()
    assert find_model(name) == folder / file, "downloaded"
    assert find_model(Path(name)) == Path(name)


def test_an_imported_model_is_found_by_its_name(folder: Path) -> None:
    (folder / "my_net.v2.safetensors").touch()
    assert find_model("my_net.v2") == folder / "my_net.v2.safetensors"
    for model in ("../models/my_net.v2", "my_net", Path("my_net.v2"), ".", ".."):
        assert find_model(model) == Path(model) if str(model) in (".", "..") else "no checkpoint at" in error_of(model)


def test_an_embedded_name_goes_first(folder: Path) -> None:
    (folder / "small.safetensors").touch()
    Path("small").touch()
    assert find_model("small").parent.name == "embedded"


def test_a_known_name_that_is_not_there_has_two_ways_out(folder: Path) -> None:
    message = error_of("edvr_l_deblur_reds")
    assert f"looked in {folder}" in message
    assert "`vsedvr models get edvr_l_deblur_reds` downloads it, about 94 MB, or auto_download=True" in message
    by_hand = error_of("edvr_m_x4_reds_2019")
    assert "EDVR_REDS_SR_M.pth in a browser from https://drive.google.com" in by_hand
    assert "models get" not in by_hand


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("edvr_m_x4_red", "; did you mean 'edvr_m_x4_reds'?"),
        ("EDVR_L_X4_REDS", "; did you mean 'edvr_l_x4_reds'?"),
        ("edvr-l-x4-vimeo90k", "; did you mean 'edvr_l_x4_vimeo90k'?"),
        ("deblur_lon", "; did you mean 'deblur_long'?"),
        ("Compression", "; did you mean 'compression'?"),
        (
            "x/EDVR_L_deblur_REDS_official-ca46bd8c.pth",
            "; it is the file of edvr_l_deblur_reds, which `vsedvr models get edvr_l_deblur_reds` downloads",
        ),
        ("nothing_like_it", "`vsedvr models` lists the published ones"),
    ],
)
def test_an_unknown_name_suggests_a_near_one(folder: Path, given: str, hint: str) -> None:
    message = error_of(given)
    assert message.startswith(f"no checkpoint at {given!r}; embedded models: small, ")
    assert message.endswith(hint)


def test_the_centre_is_that_of_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(ZOO["edvr_m_x4_reds"], name="tiny", file="TINY.pth", network=replace(TINY, center_frame_idx=1))
    monkeypatch.setitem(ZOO, "tiny", tiny)
    torch.save({"params": random_model().state_dict()}, folder / "TINY.pth")
    assert load_model("tiny").config.center == load_model(folder / "TINY.pth").config.center == 1
    assert load_model("tiny", center_frame_idx=3).config.center == 3
