"""A start from a trained network, which may be shallower, narrower, of fewer frames or without TSA."""

import logging

import torch
from torch import Tensor

from vsedvr.model import EDVR, EDVRConfig
from vsedvr.weights import load_model

__all__ = ["initialize"]

FRAME_SHARE = 0.05
"""Of the centre frame's part in the fusion, for each other frame of a network that has more frames than the trained one."""

OF_FRAMES = ("fusion.feat_fusion.weight", "fusion.spatial_attn1.weight", "fusion.weight")
"""What takes the features of all frames."""

logger = logging.getLogger("vsedvr")


def initialize(model: EDVR, checkpoint: str) -> None:
    """Takes over what fits of a trained network.

    Of a shallower one (paper, section 4.1) residual blocks are taken in turn: the i-th of n from the i-th modulo m of a
    network with m. In a wider network the channels taken over read nothing from the new ones, so it gives at first what
    the narrower one gives (Net2Net, Chen et al., ICLR 2016). Of one with fewer frames the frames keep their places around the
    centre, and all others take FRAME_SHARE of the centre's part: what does not move stays as it was, and a network that
    learned to do without its neighbours has to learn to align them. The rest stays as it is: from a network without TSA
    that is the fusion.

    Raises:
        ValueError: if it is wider or its deformable groups are others, so that the alignment does not fit.
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
    """A trained weight or bias amid the own ones of new channels; None where its shape fits at no width."""
    shuffled = key.startswith("upconv")  # a pixel shuffle comes after: four channels become one
    outputs = _places(trained.shape[0], own.shape[0], narrow, wide, shuffled)
    if outputs is None:
        return None
    # temporal attention sums over this convolution's channels: there new ones must begin at 0
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
    """Where the trained channels come to lie: each group of deformable convolution keeps its own."""
    group, channel = narrow.num_feat // narrow.deformable_groups, torch.arange(narrow.num_feat)
    return channel // group * (wide.num_feat // wide.deformable_groups) + channel % group


def _places(count: int, own: int, narrow: EDVRConfig, wide: EDVRConfig, shuffled: bool = False) -> Tensor | None:
    """The same for one side of a convolution, of one or several sets of channels."""
    if count == own:
        return torch.arange(count)
    sets, rest = divmod(count, narrow.num_feat)
    if rest or own != sets * wide.num_feat:
        return None
    if shuffled:
        return (sets * _channels(narrow, wide).unsqueeze(1) + torch.arange(sets)).flatten()
    return torch.cat([n * wide.num_feat + _channels(narrow, wide) for n in range(sets)])


def _of_frames(narrow: EDVRConfig, wide: EDVRConfig) -> Tensor | None:
    """The same for a convolution of all frames, about the centre; None where the window does not hold the trained one."""
    first = wide.center - narrow.center
    if first < 0 or first + narrow.num_frame > wide.num_frame:
        return None
    return torch.cat([(first + n) * wide.num_feat + _channels(narrow, wide) for n in range(narrow.num_frame)])
