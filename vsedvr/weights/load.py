"""Loads any EDVR checkpoint as a network. Every hyper-parameter is read from the keys and shapes of the weights."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsedvr.model import EDVR, EDVRConfig
from vsedvr.weights.checkpoint import read_state_dict
from vsedvr.weights.error import CheckpointError
from vsedvr.weights.formats import to_basicsr
from vsedvr.weights.lookup import find_model, missing_entry
from vsedvr.weights.zoo import entry_of

__all__ = ["load_model"]

TAIL = ("upconv1.weight", "upconv2.weight", "conv_hr.weight", "conv_last.weight")
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_model(
    path_or_name: str | bytes | os.PathLike[Any], *, center_frame_idx: int | None = None, auto_download: bool = False
) -> EDVR:
    """Loads an EDVR from a checkpoint; it comes in fp32, on the CPU and in evaluation mode.

    Nothing in the file is executed. The network is found by the names of its weights, at any depth of the file. If the file
    holds several, a moving average of the weights (such as `params_ema` or `generator_ema`) is preferred.

    Args:
        path_or_name: a .pth, .pt, .ckpt or .safetensors file in the key format of BasicSR, of the original EDVR of 2019
            or of mmagic, where "~" is the home folder; or the name of a model (`vsedvr models` lists them): an embedded one,
            or one whose file is in the models folder. A file that has the name of a model is given as "./small".
        center_frame_idx: position of the restored frame in the window, from 0; by default that of the zoo's table, or the
            middle. No checkpoint has it.
        auto_download: whether a published model that is given by its name, and is not on this computer, is downloaded into
            the models folder. This needs the extra "models" of the package.

    Raises:
        FileNotFoundError: if there is no such file and no model of that name.
        DownloadError: if auto_download is True and the model cannot be downloaded; it is an OSError.
        CheckpointError: if the file is not a whole, sound EDVR checkpoint; the message says what is wrong with it.
        ValueError: if path_or_name is neither a path nor a name, or center_frame_idx lies outside the window.
    """
    if auto_download and (missing := missing_entry(path_or_name)):
        from vsedvr.weights.download import download  # only here, so that nothing else can open a connection

        download(missing)
    path = find_model(path_or_name)
    entry = entry_of(path_or_name)
    if center_frame_idx is None and entry:
        center_frame_idx = entry.network.center_frame_idx
    tensors = read_state_dict(path)
    names = to_basicsr(tensors)
    state_dict = {names[key]: value for key, value in tensors.items()}
    _check_types(state_dict, path)
    config = _read_config(state_dict, center_frame_idx, path)
    weights = {key: value.to("cpu", torch.float32) for key, value in state_dict.items()}
    model = EDVR(config, device="meta")  # weights on "meta" take no memory; they are replaced at once
    _check_tensors(weights, model.state_dict(), path)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _read_config(state_dict: dict[str, Tensor], center_frame_idx: int | None, path: Path) -> EDVRConfig:
    """Finds the hyper-parameters of a network from its keys, in BasicSR's names, and from the shapes of its weights."""
    if not any(key in state_dict for key in TAIL):
        raise CheckpointError(
            f"{path} is an EDVR feature extractor without reconstruction and upsampling, as IconVSR uses it; "
            "it cannot restore by itself. Use a complete EDVR checkpoint"
        )
    with_predeblur = any(key.startswith("predeblur.") for key in state_dict)
    with_tsa = any(key.startswith("fusion.temporal_attn") or key.startswith("fusion.feat_fusion") for key in state_dict)
    first = "predeblur.conv_first.weight" if with_predeblur else "conv_first.weight"
    fusion = "fusion.feat_fusion.weight" if with_tsa else "fusion.weight"
    offset = "pcd_align.dcn_pack.l1.conv_offset.weight"
    needed = ("conv_l2_1.weight", first, fusion, offset, "conv_hr.weight", "conv_last.weight")
    _check_keys("misses", [key for key in needed if key not in state_dict], path)
    shapes = {key: tuple(state_dict[key].shape) for key in needed}
    _check_keys("has other than 4 dimensions in", [key for key, shape in shapes.items() if len(shape) != 4], path)
    num_feat = shapes["conv_l2_1.weight"][0]
    try:
        return EDVRConfig(
            num_in_ch=shapes[first][1],
            num_out_ch=shapes["conv_last.weight"][0],
            num_feat=num_feat,
            num_frame=shapes[fusion][1] // max(num_feat, 1),
            deformable_groups=shapes[offset][0] // 27,
            num_extract_block=_count(state_dict, "feature_extraction"),
            num_reconstruct_block=_count(state_dict, "reconstruction"),
            center_frame_idx=center_frame_idx,
            scale=_scale(state_dict),
            with_predeblur=with_predeblur,
            with_tsa=with_tsa,
            num_tail_feat=shapes["conv_hr.weight"][0],
        )
    except ValueError as error:
        if center_frame_idx is not None and "center_frame_idx" in str(error):
            raise
        raise CheckpointError(f"{path} has shapes that make no EDVR: {error}") from error


def _scale(state_dict: dict[str, Tensor]) -> int:
    """Returns how many times a network enlarges: one that begins with strided convolutions does not, one upconv doubles."""
    if any("stride_conv_hr1." in key for key in state_dict):
        return 1
    return 4 if "upconv2.weight" in state_dict else 2


def _count(state_dict: dict[str, Tensor], blocks: str) -> int:
    return len({key.split(".")[1] for key in state_dict if key.startswith(f"{blocks}.")})


def _check_types(state_dict: dict[str, Tensor], path: Path) -> None:
    for key, value in state_dict.items():
        if value.dtype in FLOATS:
            continue
        kind = str(value.dtype).removeprefix("torch.")
        if value.dtype.itemsize == 1 and value.dtype != torch.bool:
            raise CheckpointError(
                f"{path} holds quantised weights ({kind} in {key}), which cannot be used; "
                "give the checkpoint with weights of fp32, fp16 or bf16"
            )
        numbers = "integers" if "int" in kind else f"{kind} numbers"
        raise CheckpointError(f"{path} is not a sound EDVR checkpoint: it has {numbers} in {key}")


def _check_tensors(state_dict: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    """Checks that the weights have exactly the network's keys and shapes, and only finite numbers.

    Raises:
        CheckpointError: if they do not; the message names up to three keys.
    """
    _check_keys("misses", expected.keys() - state_dict.keys(), path)
    _check_keys("has unexpected", state_dict.keys() - expected.keys(), path)
    _check_keys(
        "has wrong shapes in",
        [
            f"{key} (expected {tuple(value.shape)}, got {tuple(state_dict[key].shape)})"
            for key, value in expected.items()
            if state_dict[key].shape != value.shape
        ],
        path,
    )
    _check_keys("has NaN or Inf in", [key for key, value in state_dict.items() if not value.isfinite().all()], path)


def _check_keys(problem: str, keys: Iterable[str], path: Path) -> None:
    keys = sorted(keys)
    if keys:
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        raise CheckpointError(f"{path} is not a sound EDVR checkpoint: it {problem} {', '.join(keys[:3])}{more}")
