"""Shows what the alignment does in a window: features before and after PCD, the motion between them, and TSA's attention.

This makes figures 8 and 9 of the paper for any clip. The flow is OpenCV's DIS instead of PWC-Net.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vsedvr.infer import Engine
from vsedvr.model import FrameFeatures

__all__ = ["MIN_SIDE", "PlaceView", "mean_length", "view_window"]

Gray = NDArray[np.uint8]
"""A grey picture (h, w)."""
Flow = NDArray[np.float32]
"""Motion (h, w, 2): how far each pixel moved, to the right and down, in pixels of the clip."""

MIN_SIDE = 16
"""Minimum width and height of features in which DIS can find motion."""


class PlaceView(NamedTuple):
    """One place of the window. Pictures have the features' size: the clip's, or a quarter of it with scale 1."""

    number: int
    """Number of the source frame."""
    before: Gray
    """Features before the alignment, as a grey picture."""
    after: Gray
    """Features after the alignment to the reference frame, as a grey picture."""
    flow_before: Flow
    """Motion from the reference's features to this frame's features before the alignment."""
    flow_after: Flow
    """Motion from the reference's features to this frame's features after the alignment; small if the alignment worked."""
    attention: Gray | None
    """TSA's temporal attention, 255 for 1; None in a network without TSA."""


class _Seen(NamedTuple):
    """Tensors that passed through the network's modules, in the order of the calls."""

    before: list[Tensor]
    """Features of each frame before the alignment."""
    after: list[Tensor]
    """Features of each frame after the alignment."""
    ref_embedding: list[Tensor]
    """The reference frame's embedding, with which TSA compares the others."""
    embeddings: list[Tensor]
    """Embedding of each frame of the window."""


def view_window(engine: Engine, indices: Sequence[int], load: Callable[[int], Tensor]) -> list[PlaceView]:
    """Restores the centre frame of a window and records what the alignment does.

    Args:
        engine: engine that restores whole pictures.
        indices: frame numbers of the window, as in Engine.restore.
        load: function that loads a frame, as in Engine.restore.

    Returns:
        A view for each place of the window.

    Raises:
        ValueError: if the picture is too small for optical flow.
        MemoryError: if memory does not suffice to restore the picture whole.
    """
    config = engine.config
    height, width = (-(-side // config.stride) for side in load(indices[config.center]).shape[-2:])
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"features of {width}x{height} are too small for optical flow, which needs {MIN_SIDE}x{MIN_SIDE}")
    seen = _watch(engine, indices, load)
    frames = {i: k for k, i in enumerate(dict.fromkeys(indices))}  # a frame that is in the window twice is aligned once
    places = [frames[i] for i in indices]
    center = places[config.center]
    before, after = (_gray([feat[..., :height, :width] for feat in feats], center) for feats in (seen.before, seen.after))
    flows_before, flows_after = (
        [config.stride * _flow(pictures[center], picture) for picture in pictures] for pictures in (before, after)
    )
    attention: list[Gray | None] = [None] * len(indices)
    if config.with_tsa:
        attention = [_attention(embedding, seen.ref_embedding[0])[:height, :width] for embedding in seen.embeddings]
    return [
        PlaceView(i, before[k], after[k], flows_before[k], flows_after[k], attention[place])
        for place, (i, k) in enumerate(zip(indices, places, strict=True))
    ]


def mean_length(flow: Flow) -> float:
    """Returns the mean length of the flow vectors, in pixels."""
    return float(np.linalg.norm(flow, axis=2).mean())


def _watch(engine: Engine, indices: Sequence[int], load: Callable[[int], Tensor]) -> _Seen:
    seen = _Seen([], [], [], [])

    def aligned(module: nn.Module, args: tuple[FrameFeatures, FrameFeatures], out: Tensor) -> None:
        seen.before.append(args[0].feat[0])
        seen.after.append(out)

    hooks = [engine.model.pcd_align.register_forward_hook(aligned)]
    if engine.config.with_tsa:
        for name, outputs in (("temporal_attn1", seen.ref_embedding), ("temporal_attn2", seen.embeddings)):
            module = engine.model.fusion.get_submodule(name)
            hooks.append(module.register_forward_hook(lambda _, args, out, outputs=outputs: outputs.append(out)))
    try:
        engine.restore(indices, load)
    finally:
        for hook in hooks:
            hook.remove()
    if engine.tiling is None or len(engine.tiling.tiles) > 1:
        raise MemoryError("out of memory for the whole picture, which is needed to look at its features; crop the clip")
    return seen


def _gray(feats: Sequence[Tensor], center: int) -> list[Gray]:
    """Converts features to grey pictures: means over channels on a common scale that clips 1 % of the reference at each end."""
    means = [feat[0].float().mean(0).cpu().numpy() for feat in feats]
    low, high = np.percentile(means[center], [1, 99])
    scale = 255 / max(high - low, 1e-12)
    return [np.rint(((mean - low) * scale).clip(0, 255)).astype(np.uint8) for mean in means]


def _flow(ref: Gray, picture: Gray) -> Flow:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(dis.calc(ref, picture, None), np.float32)  # type: ignore[call-overload]


def _attention(embedding: Tensor, ref_embedding: Tensor) -> Gray:
    correlation = (embedding * ref_embedding).sum(1)[0]
    return (correlation.float().sigmoid() * 255).round().to(torch.uint8).cpu().numpy()
