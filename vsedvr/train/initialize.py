"""Takes first weights from a trained network, which may be shallower, narrower, have fewer frames or no TSA."""

import logging

import torch
from torch import Tensor

from vsedvr.model import EDVR, EDVRConfig
from vsedvr.weights import load_model

__all__ = ["initialize"]

FRAME_SHARE = 0.05
"""Share of the centre frame's fusion weights that every new frame gets, if the model has more frames than
the trained network."""

OF_FRAMES = ("fusion.feat_fusion.weight", "fusion.spatial_attn1.weight", "fusion.weight")
"""Names of the weights of convolutions that take the features of all frames at once."""

logger = logging.getLogger("vsedvr")


def initialize(model: EDVR, checkpoint: str) -> None:
    """Copies the weights of a trained network as far as they fit; other weights of the model are left unchanged.

    The trained network may have
    - fewer residual blocks (paper, section 4.1): they are used in turn. Of n blocks, block i gets the weights of block i modulo
      m of the m trained ones;
    - fewer channels: the copied channels read nothing from new channels, so the model first gives the same result as the
      narrower network (Net2Net, Chen et al., ICLR 2016);
    - fewer frames: their weights keep the distance to the centre frame. Every other frame gets FRAME_SHARE of the centre
      frame's weights. What does not move is restored as before, and a network that has learned to ignore its neighbours has
      to learn to align them;
    - no TSA: the fusion is left unchanged.

    Args:
        model: network that gets the weights.
        checkpoint: path of a file, or name of an embedded model.

    Raises:
        ValueError: if the trained network is wider, or has another number of deformable groups, so that its alignment does
            not fit.
        OSError: if there is no such checkpoint.
    """
    donor = load_model(checkpoint)
    narrow, wide = donor.config, model.config
    if narrow.num_feat > wide.num_feat or narrow.deformable_groups != wide.deformable_groups:
        raise ValueError(
            f"{checkpoint} has num_feat {narrow.num_feat} and deformable_groups {narrow.deformable_groups}; to begin from it "
            f"the network must have as many groups and no fewer features, not {wide.deformable_groups} and {wide.num_feat}"
        )
    trained, own = donor.state_dict(), model.state_dict()
    taken = {}
    for key, value in own.items():
        there = trained.get(_key_there(key, narrow))
        widened = None if there is None else _widen(key, there, value, narrow, wide)
        if widened is not None:
            taken[key] = widened
    fresh = sorted({key.split(".")[0] for key in own.keys() - taken.keys()})
    logger.info("begins from %s; fresh: %s", checkpoint, ", ".join(fresh) or "nothing")
    model.load_state_dict({**own, **taken})


def _key_there(key: str, donor: EDVRConfig) -> str:
    counts = {"feature_extraction": donor.num_extract_block, "reconstruction": donor.num_reconstruct_block}
    blocks, _, rest = key.partition(".")
    if blocks not in counts:
        return key
    i, _, rest = rest.partition(".")
    return f"{blocks}.{int(i) % max(counts[blocks], 1)}.{rest}"


def _widen(key: str, trained: Tensor, own: Tensor, narrow: EDVRConfig, wide: EDVRConfig) -> Tensor | None:
    """Puts a trained weight or bias into the model's larger one. Returns the result, or None if the shapes do not fit."""
    shuffled = key.startswith("upconv")  # a pixel shuffle follows: four channels become one
    outputs = _places(trained.shape[0], own.shape[0], narrow, wide, shuffled)
    if outputs is None:
        return None
    # temporal attention sums over this convolution's channels, so weights of new channels must start at 0
    widened = torch.zeros_like(own) if key.startswith("fusion.temporal_attn2.") else own.clone()
    if trained.dim() == 1:
        widened[outputs] = trained
        return widened
    of_frames = key in OF_FRAMES and wide.num_frame > narrow.num_frame
    inputs = _of_frames(narrow, wide) if of_frames else _places(trained.shape[1], own.shape[1], narrow, wide)
    if inputs is None:
        return None
    widened[outputs] = 0
    widened[outputs.unsqueeze(1), inputs] = trained
    if of_frames and "attn" not in key:
        channels = _channels(narrow, wide)
        part = FRAME_SHARE * trained[:, narrow.center * narrow.num_feat :][:, : narrow.num_feat]
        for n in range(wide.num_frame):
            at = outputs.unsqueeze(1), n * wide.num_feat + channels
            widened[at] += part if n != wide.center else part * (1 - wide.num_frame)
    return widened


def _channels(narrow: EDVRConfig, wide: EDVRConfig) -> Tensor:
    """Returns the indices of the trained channels in the wider network; each deformable group keeps its own channels."""
    group, channel = narrow.num_feat // narrow.deformable_groups, torch.arange(narrow.num_feat, device="cpu")
    return channel // group * (wide.num_feat // wide.deformable_groups) + channel % group


def _places(count: int, own: int, narrow: EDVRConfig, wide: EDVRConfig, shuffled: bool = False) -> Tensor | None:
    """Returns the indices of trained channels on one side of a convolution, which has one or several sets of num_feat channels.

    Args:
        count: number of trained channels on this side.
        own: number of the model's channels on this side.
        narrow: configuration of the trained network.
        wide: configuration of the model.
        shuffled: whether the sets are interleaved, as a pixel shuffle needs them.

    Returns:
        Indices (count,), int64; None if the numbers of channels are not multiples of num_feat.
    """
    if count == own:
        return torch.arange(count, device="cpu")
    sets, rest = divmod(count, narrow.num_feat)
    if rest or own != sets * wide.num_feat:
        return None
    if shuffled:
        return (sets * _channels(narrow, wide).unsqueeze(1) + torch.arange(sets, device="cpu")).flatten()
    return torch.cat([n * wide.num_feat + _channels(narrow, wide) for n in range(sets)])


def _of_frames(narrow: EDVRConfig, wide: EDVRConfig) -> Tensor | None:
    """Returns the indices of trained input channels in a convolution over all frames; None if the window is too short."""
    first = wide.center - narrow.center
    if first < 0 or first + narrow.num_frame > wide.num_frame:
        return None
    return torch.cat([(first + n) * wide.num_feat + _channels(narrow, wide) for n in range(narrow.num_frame)])
