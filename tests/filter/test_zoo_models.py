"""Published models in the filter: by name, with the padding of the table, downloaded where that is asked for."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import vapoursynth as vs

import vsedvr
from conftest import TINY, random_model
from model_server import ModelServer, model_server, says, sends
from vs_clips import blank, clip_of
from vsedvr.timeline import Windows
from vsedvr.weights import ZOO


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """Has the model tiny, which was tested with padding by a circle."""
    monkeypatch.setenv("VSEDVR_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    torch.save({"params": random_model().state_dict()}, tmp_path / "tiny.pth")
    content = (tmp_path / "tiny.pth").read_bytes()
    with model_server() as server:
        server.answers["/tiny"] = sends(content)
        tiny = replace(
            ZOO["edvr_m_x4_reds"],
            name="tiny",
            file="TINY_official.pth",
            urls=(server.url("/tiny"),),
            sha256=hashlib.sha256(content).hexdigest(),
            network=TINY,
            padding="circle",
        )
        monkeypatch.setitem(ZOO, "tiny", tiny)
        yield server


def expected(padding: str) -> dict[int, list[int]]:
    windows = Windows(7, 5, 2, padding)
    return {n: windows.indices(n) for n in range(7)}


def restore(**arguments: Any) -> None:
    restored = vsedvr.edvr(clip_of(torch.rand(7, 3, 16, 16)), sc=False, **arguments)
    for n in range(restored.num_frames):
        restored.get_frame(n)


def test_auto_download_and_the_padding_of_the_table(server: ModelServer, windows: dict[int, list[int]]) -> None:
    with pytest.raises(vs.Error, match=r"^edvr: the model tiny is not on this computer .*auto_download=True"):
        vsedvr.edvr(blank(), model="tiny")
    assert server.requests == []
    restore(model="tiny", auto_download=True)
    assert windows == expected("circle")
    windows.clear()
    restore(model="tiny")
    path = ZOO["tiny"].path()
    assert path
    restore(model=path)
    assert windows == expected("circle")
    assert len(server.requests) == 1
    windows.clear()
    restore(model="tiny", padding="replicate")
    assert windows == expected("replicate")


def test_a_failing_download_is_an_error_of_the_filter(server: ModelServer) -> None:
    server.answers["/tiny"] = says(404)
    with pytest.raises(vs.Error, match=r"^edvr: tiny cannot be downloaded: 127\.0\.0\.1 answers 404 Not Found\. By hand: "):
        vsedvr.edvr(blank(), model="tiny", auto_download=True)


def test_names_that_need_no_download(server: ModelServer) -> None:
    vsedvr.edvr(blank(), model="small", auto_download=True)
    with pytest.raises(vs.Error, match=r"^edvr: no checkpoint at 'tinny'"):
        vsedvr.edvr(blank(), model="tinny", auto_download=True)
    assert server.requests == []
