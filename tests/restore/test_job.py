"""How a job tells models apart."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import TINY, random_model
from vsedvr.restore.job import model_file, models_hash
from vsedvr.restore.settings import RestoreSettings
from vsedvr.weights import ZOO


def test_a_published_model_is_told_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSEDVR_MODELS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ZOO, "tiny", replace(ZOO["edvr_m_x4_reds"], name="tiny", file="TINY.pth", network=TINY))
    assert model_file("tiny") is None
    torch.save(random_model().state_dict(), "TINY.pth")
    Path("small").touch()
    assert model_file("tiny") == tmp_path / "TINY.pth"
    assert model_file("small") is None, "embedded, whatever lies here"
    assert model_file(str(tmp_path)) is None
    settings = RestoreSettings(model="tiny", refine="tiny")
    first = models_hash(settings)
    assert first[0] == first[1] != "tiny"
    assert models_hash(RestoreSettings(model=str(tmp_path / "TINY.pth"), refine="small")) == [first[0], "small"]
    torch.save(random_model().half().state_dict(), "TINY.pth")
    assert models_hash(settings) != first
