import numpy as np
import pytest
import torch

from vsedvr.data.resize import enlarge, imresize

# imresize(x, 1/4, 'bicubic') weighs 16 pixels, symmetrically; these are the first 8 weights
HALF = (-0.00170898, -0.01098633, -0.01831055, -0.01196289, 0.02270508, 0.09741211, 0.18188477, 0.24096680)


def cubic(x: np.ndarray) -> np.ndarray:
    """Returns Keys' cubic with a = -0.5."""
    x = abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    return np.where(x <= 1, near, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))


# imresize(x, 4, 'bicubic') weighs four pixels for each of four positions in a pixel; these are two, the others mirror them
QUARTERS = (
    (-0.0439453125, 0.3896484375, 0.7275390625, -0.0732421875),
    (-0.0068359375, 0.0908203125, 0.9638671875, -0.0478515625),
)


def matlab(picture: np.ndarray, scale: int) -> np.ndarray:
    """Reduces by the definition in float64, axis by axis: Keys' cubic widened by scale, mirrored border, weights of sum 1."""

    def reduce_rows(picture: np.ndarray) -> np.ndarray:
        size = len(picture)
        out = []
        for k in range(size // scale):
            centre = scale * (k + 0.5) - 0.5
            taps = np.arange(int(centre) - 2 * scale - 1, int(centre) + 2 * scale + 3)
            weights = cubic((taps - centre) / scale)
            taps = taps % (2 * size)
            taps = np.where(taps < size, taps, 2 * size - 1 - taps)
            out.append(np.tensordot(weights / weights.sum(), picture[taps], 1))
        return np.stack(out)

    return reduce_rows(reduce_rows(picture).T).T


def test_the_weights_are_matlabs() -> None:
    rows = torch.eye(64, dtype=torch.float64)[:, None, :].expand(64, 4, 64)  # picture i has a bright column i
    weights = imresize(rows, 4)[:, 0, 8]
    expected = torch.tensor([*HALF, *reversed(HALF)], dtype=torch.float64)
    torch.testing.assert_close(weights[26:42], expected, atol=5e-9, rtol=0)
    assert weights[:26].abs().max() == weights[42:].abs().max() == 0


@pytest.mark.parametrize(("scale", "height", "width"), [(4, 64, 48), (4, 4, 8), (2, 10, 6), (3, 9, 21), (4, 4, 4)])
def test_equals_the_definition_up_to_the_border(scale: int, height: int, width: int) -> None:
    picture = torch.rand(height, width, dtype=torch.float64)
    expected = matlab(picture.numpy(), scale)
    np.testing.assert_allclose(imresize(picture, scale).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(imresize(picture.float(), scale).numpy(), expected, atol=1e-6)


def test_leading_dimensions_are_kept() -> None:
    clip = torch.rand(5, 3, 16, 24)
    assert torch.equal(imresize(clip, 4)[2, 1], imresize(clip[2, 1], 4))


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="30x16 does not reduce by 4"):
        imresize(torch.rand(3, 16, 30), 4)


def enlarged(picture: np.ndarray, scale: int) -> np.ndarray:
    """Enlarges by the definition in float64, axis by axis, with a mirrored border."""

    def enlarge_rows(picture: np.ndarray) -> np.ndarray:
        size = len(picture)
        out = []
        for k in range(scale * size):
            centre = (k + 0.5) / scale - 0.5
            taps = int(np.floor(centre)) + np.arange(-1, 3)
            weights = cubic(taps - centre)
            taps = taps % (2 * size)
            out.append(np.tensordot(weights, picture[np.where(taps < size, taps, 2 * size - 1 - taps)], 1))
        return np.stack(out)

    return enlarge_rows(enlarge_rows(picture).T).T


def test_the_weights_of_the_enlargement_are_matlabs() -> None:
    rows = torch.eye(16, dtype=torch.float64)[:, None, :].expand(16, 4, 16)
    weights = enlarge(rows, 4)[:, 4, 32:36].T  # of the four positions in pixel 8
    for k, expected in enumerate([*QUARTERS, *(quarter[::-1] for quarter in reversed(QUARTERS))]):
        first = 6 if k < 2 else 7
        np.testing.assert_allclose(weights[k, first : first + 4], expected, atol=1e-12)
        assert (weights[k] != 0).sum() == 4


@pytest.mark.parametrize(("scale", "height", "width"), [(4, 9, 7), (4, 1, 1), (4, 2, 3), (2, 5, 6), (3, 4, 8)])
def test_the_enlargement_equals_the_definition_up_to_the_border(scale: int, height: int, width: int) -> None:
    picture = torch.rand(height, width, dtype=torch.float64)
    expected = enlarged(picture.numpy(), scale)
    np.testing.assert_allclose(enlarge(picture, scale).numpy(), expected, atol=1e-12)
    clip = picture.float().expand(2, 3, height, width)
    np.testing.assert_allclose(enlarge(clip, scale)[1, 2].numpy(), expected, atol=1e-6)
