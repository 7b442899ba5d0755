"""Exported networks, run by ONNX Runtime: against the reference implementations, in any size, and in vs-mlrt."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import vapoursynth as vs
from torch import Tensor

import vsedvr.export
from conftest import TINY, moving_frames, random_model
from oracle import array, meta, weights
from vs_clips import clip_of, core, pixels
from vsedvr.export import export_onnx
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.ops import native
from vsedvr.weights import load_model

THREE = dataclasses.replace(TINY, num_frame=3)
GRAY = EDVRConfig(
    num_in_ch=1,
    num_out_ch=1,
    num_feat=8,
    num_frame=3,
    deformable_groups=2,
    num_extract_block=0,
    num_reconstruct_block=1,
    scale=2,
    with_tsa=False,
    num_tail_feat=8,
)


def run(path: Path, lq: Tensor) -> Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (restored,) = session.run(None, {"lq": lq.numpy()})
    return torch.from_numpy(restored)


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def same(model: EDVR, path: Path, *sizes: tuple[int, int], concat: bool = False) -> bool:
    """Whether the file gives what the network gives, at each of these heights and widths."""
    config = model.config
    differences = []
    for size in sizes:
        lq = torch.rand(1, config.num_frame, config.num_in_ch, *size)
        with torch.no_grad():
            expected = model(lq)
        out = run(path, lq.flatten(1, 2) if concat else lq)
        assert out.shape == expected.shape
        differences.append((out - expected).abs().max())
    return max(differences) < 1e-4


@pytest.mark.parametrize(
    ("case", "concat"),
    [("sr_3frames_center0", False), ("sr_7frames", True), ("sr_wotsa_params_pth", False), ("deblur_hrin", False)],
)
def test_it_gives_what_the_reference_gives(tmp_path: Path, case: str, concat: bool) -> None:
    """Checkpoints with TSA and without it, with predeblur at scale 1, with 3 to 7 frames, with another centre."""
    model = load_model(weights(case), center_frame_idx=meta(case)["arch"]["center_frame_idx"])
    export_onnx(model, tmp_path / "model.onnx", {}, concat)
    lq = array(case, "input")
    lq = lq.flatten(1, 2) if concat else lq
    out = torch.cat([run(tmp_path / "model.onnx", each) for each in lq.chunk(len(lq))])
    assert (out - array(case, "output")).abs().max() < 1e-5


def test_one_channel_x2_any_size_and_what_the_file_says(tmp_path: Path) -> None:
    model = random_model(GRAY)
    path = tmp_path / "new" / "gray.onnx"
    assert 0 < export_onnx(model, path, {"model": "gray", "padding": "circle"}, concat=True) < 1e-4
    assert same(model, path, (4, 4), (4, 52), (36, 20), concat=True)

    said = metadata(path)
    digest = said.pop("weights_sha256")
    assert EDVRConfig(**json.loads(said.pop("network"))) == GRAY
    assert said == {
        "model": "gray",
        "padding": "circle",
        "input": "concatenated",
        "num_frame": "3",
        "center": "1",
        "scale": "2",
        "size_multiple": "4",
    }
    parts = [key.encode() + value.numpy().tobytes() for key, value in sorted(model.state_dict().items())]
    assert digest == hashlib.sha256(b"".join(parts)).hexdigest()

    proto = onnx.load(path)
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", 19)]
    shapes = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*proto.graph.input, *proto.graph.output)
    ]
    assert shapes == [[1, 3, "height", "width"], [1, 1, "2*height", "2*width"]]
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == ["lq", "restored"]
    assert sum(node.op_type == "DeformConv" for node in proto.graph.node) == 4 * 3
    assert b".py" not in path.read_bytes(), "paths of this machine"


def write_in_mode(mode: Callable[[], AbstractContextManager[Any]], path: Path) -> bytes:
    with mode():
        model = random_model(THREE)  # in inference_mode its weights are of the kind that knows no gradients
        if mode is torch.no_grad:
            model.pack()
        export_onnx(model, path, {})
    return path.read_bytes()


def test_no_gradient_mode_changes_the_file(tmp_path: Path) -> None:
    first, *others = (
        write_in_mode(mode, tmp_path / f"{mode.__name__}.onnx")
        for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode)
    )
    assert others == [first, first]
    assert same(random_model(THREE), tmp_path / "no_grad.onnx", (16, 16), (48, 80))


def test_without_the_compiled_kernels_it_is_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LIBRARY", None)
    model = random_model(THREE)
    export_onnx(model.half(), tmp_path / "model.onnx", {})
    assert next(model.parameters()).dtype == torch.float16, "the network stays as it is"
    assert same(model.float(), tmp_path / "model.onnx", (32, 16))


def test_a_wrong_result_is_found_and_no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = vsedvr.export._translations

    def without_activation(config: EDVRConfig) -> dict[Any, Any]:
        table = right(config)
        dcn = table[torch.ops.vsedvr.dcn.default]
        return table | {torch.ops.vsedvr.dcn.default: lambda *tensors: dcn(*tensors[:4], 1)}

    monkeypatch.setattr(vsedvr.export, "_translations", without_activation)
    with pytest.raises(ValueError, match="gives another result than PyTorch"):
        export_onnx(random_model(GRAY), tmp_path / "model.onnx", {})
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is told before the work begins."""

    def work(*args: object) -> None:
        raise AssertionError("it began")

    monkeypatch.setattr(vsedvr.export, "_plain_copy", work)
    model = random_model(GRAY)
    (tmp_path / "old.onnx").write_bytes(b"old")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match=r"old\.onnx exists already; overwrite \(--overwrite\) replaces it"):
        export_onnx(model, tmp_path / "old.onnx", {})
    with pytest.raises(ValueError, match=r"folder\.onnx is a folder; give the file another name"):
        export_onnx(model, tmp_path / "folder.onnx", {}, overwrite=True)
    with pytest.raises(ValueError, match=r"model\.pth must have a name that ends in \.onnx"):
        export_onnx(model, tmp_path / "model.pth", {})
    with pytest.raises(OSError, match="file"):
        export_onnx(model, tmp_path / "file" / "model.onnx", {})
    with pytest.raises(AssertionError, match="it began"):
        export_onnx(model, tmp_path / "old.onnx", {}, overwrite=True)
    assert (tmp_path / "old.onnx").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.onnx", "old.onnx"]


def test_vs_mlrt_gives_what_the_filter_gives(small_onnx: Path) -> None:
    if not hasattr(core, "ort"):
        pytest.skip("no vapoursynth-mlrt-ort")
    frames = torch.from_numpy(np.stack(moving_frames(4, 36, 52))).permute(0, 3, 1, 2) / 255 * 0.8 + 0.1
    clip = clip_of(frames, vs.RGBS)
    longer = clip[0] * 2 + clip + clip[-1] * 2
    theirs = core.ort.Model([longer[k : k + 4] for k in range(5)], network_path=str(small_onnx))
    ours = vsedvr.edvr(clip, device_index=-1, padding="replicate", sc=False)
    for n in range(4):
        theirs_n, ours_n = (pixels(each.get_frame(n)).clamp(0, 1) for each in (theirs, ours))
        assert (theirs_n - ours_n).abs().max() < 1 / 255
        assert ours_n.std() > 0.05
