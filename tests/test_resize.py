import numpy as np
import pytest
import torch

from vsedvr.train.resize import imresize

# imresize(x, 1/4, 'bicubic') weighs 16 pixels, symmetrically; the first 8 of its weights
HALF = (-0.00170898, -0.01098633, -0.01831055, -0.01196289, 0.02270508, 0.09741211, 0.18188477, 0.24096680)


def matlab(picture: np.ndarray, scale: int) -> np.ndarray:
    """The definition in float64, one axis after the other: Keys' cubic widened by scale, mirrored border, weights of sum 1."""

    def cubic(x: np.ndarray) -> np.ndarray:
        x = abs(x)
        near = 1.5 * x**3 - 2.5 * x**2 + 1
        return np.where(x <= 1, near, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))

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
