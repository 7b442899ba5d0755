"""Loads any EDVR checkpoint as a network. Every hyper-parameter is read from the keys and shapes of the weights."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsedvr.model import EDVR, EDVRConfig
from vsedvr.weights.checkpoint import read_state_dict
from vsedvr.weights.error import CheckpointError
from vsedvr.weights.formats import to_basicsr

__all__ = ["EMBEDDED", "embedded_file", "load_model"]

EMBEDDED = {
    "small": "x4 super-resolution of clean video",
    "compression_light": "artefacts of H.264, crf 22 to 28",
    "compression": "artefacts of H.264, crf 28 to 38",
    "deblur": "motion blur",
    "deblur_long": "motion blur of long exposures",
    "denoise": "Gaussian noise, of the luma",
}
"""Names of the models inside the package, with what each of them restores."""

TAIL = ("upconv1.weight", "upconv2.weight", "conv_hr.weight", "conv_last.weight")
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_model(path_or_name: str | bytes | os.PathLike[Any], *, center_frame_idx: int | None = None) -> EDVR:
    """Loads an EDVR from a checkpoint; it comes in fp32, on the CPU and in evaluation mode.

    Nothing in the file is executed. The network is found by the names of its weights, at any depth of the file. If the file
    holds several, a moving average of the weights (such as `params_ema` or `generator_ema`) is preferred.

    Args:
        path_or_name: a .pth, .pt, .ckpt or .safetensors file in the key format of BasicSR, of the original EDVR of 2019
            or of mmagic, where "~" is the home folder; or the name of an embedded model (see EMBEDDED). A file that has the
            name of an embedded model is given as "./small".
        center_frame_idx: position of the restored frame in the window, from 0; by default the middle. No checkpoint has it.

    Raises:
        FileNotFoundError: if there is no such file and no embedded model of that name.
        CheckpointError: if the file is not a whole, sound EDVR checkpoint; the message says what is wrong with it.
        ValueError: if path_or_name is neither a path nor a name, or center_frame_idx lies outside the window.
    """
    path = _find(path_or_name)
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


def embedded_file(name: str) -> Path:
    """Path of the file of an embedded model."""
    return Path(__file__).parent / "embedded" / f"{name}.safetensors"


def _find(path_or_name: str | bytes | os.PathLike[Any]) -> Path:
    if not isinstance(path_or_name, str | bytes | os.PathLike):
        raise ValueError(_wrong_model(path_or_name))
    text = os.fsdecode(path_or_name)
    if text in EMBEDDED and isinstance(path_or_name, str):
        return embedded_file(text)
    if text.startswith(("http://", "https://", "file://")):
        raise ValueError(f"a model is a file or a name, not an address; download it and give its path: {text[:200]!r}")
    path = Path(os.path.expanduser(text))
    if not text or not os.path.exists(path):
        near = text.strip().strip("'\"")
        hint = next((f"; did you mean {name!r}?" for name in EMBEDDED if name == near.lower()), "")
        if not hint and near != text and near and os.path.exists(os.path.expanduser(near)):
            hint = f"; did you mean {near!r}?"
        raise FileNotFoundError(f"no checkpoint at {str(path)[:200]!r}; embedded models: {', '.join(EMBEDDED)}{hint}")
    return path


def _wrong_model(value: object) -> str:
    """Error text for a value that is neither a path nor a name; the value itself is left out, as it may be a network."""
    kind = type(value).__name__
    if isinstance(value, Mapping):
        return (
            f"a model is a path or a name, got a {kind}; save it with torch.save and give the path, or put it into a "
            "network: model = EDVR(EDVRConfig(...)); model.load_state_dict(...)"
        )
    if isinstance(value, torch.nn.Module):
        return f"a model is a path or a name, got a network ({kind}); an EDVR needs no loading"
    return f"a model is a path or a name, got a value of the type {kind}"


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
