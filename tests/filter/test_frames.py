from typing import Any

import numpy as np
import pytest
import torch

from vs_clips import clip_of, pixels
from vsedvr.filter.frames import enlarged, reaches_beyond, same_picture, to_frame, to_tensor


@pytest.mark.parametrize(("h", "w"), [(1, 1), (5, 17), (16, 1000)])
def test_frames_become_tensors_and_come_back(h: int, w: int) -> None:
    """Rows of frames are padded to multiples of 64 bytes."""
    picture = torch.randn(3, h, w)
    frame = clip_of(picture[None]).get_frame(0)
    assert torch.equal(to_tensor(frame), picture)
    assert torch.equal(pixels(to_frame(picture.numpy(), frame.format)), picture.double())
    assert torch.equal(pixels(to_frame(picture[:1].numpy(), frame.format)), picture[:1].expand(3, -1, -1).double())


@pytest.mark.parametrize("place", [(0, 0, 0), (2, 16, 0), (1, 8, 18), (2, 16, 18)])
def test_same_picture_sees_every_sample(place: tuple[int, int, int]) -> None:
    picture = torch.rand(3, 17, 19)
    other = picture.clone()
    other[place] += 2**-20
    a, b, c = (clip_of(p[None]).get_frame(0) for p in (picture, other, picture.clone()))
    assert same_picture(a, c)
    assert not same_picture(a, b)


@pytest.mark.parametrize("value", [-(2**-30), 1 + 2**-20, torch.inf, -torch.inf, torch.nan])
def test_one_value_outside_of_the_range_is_seen(value: float) -> None:
    picture = torch.rand(3, 8, 9)
    picture[:, 0] = torch.tensor([0, 1, 2**-149]).repeat(3)
    assert not reaches_beyond(clip_of(picture[None]).get_frame(0))
    picture[2, 7, 8] = value
    assert reaches_beyond(clip_of(picture[None]).get_frame(0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_enlarged_planes_stay_in_their_range(dtype: type) -> None:
    """Bicubic interpolation overshoots at edges."""
    plane: Any = np.zeros((8, 8), dtype)
    plane[:, 4:] = 200
    large: Any = enlarged(plane, 4)
    assert large.dtype == dtype
    assert large.shape == (32, 32)
    assert (large.min(), large.max()) == (0, 200)
    assert (large[:, :10] == 0).all()
    assert (large[:, 22:] == 200).all()
