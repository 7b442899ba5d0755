"""Which frames a window consists of: at the ends of a clip and at scene cuts."""

from vsedvr.model import EDVRConfig

__all__ = ["PADDINGS", "published_padding", "window_indices"]

PADDINGS = ("replicate", "reflection", "reflection_circle", "circle")
"""BasicSR's padding modes, for windows that reach over an end of the clip."""


def published_padding(config: EDVRConfig) -> str:
    """The padding that published models of this kind were tested with: BasicSR, options/test/EDVR."""
    return "replicate" if config.with_predeblur else "reflection_circle"


def window_indices(n: int, num_frames: int, config: EDVRConfig, padding: str) -> list[int]:
    """Source frame numbers of the window that restores frame n.

    With `last` the last frame of the clip, `before` and `after` the places around the centre, an index i becomes

        mode               i < 0          i > last                     needs
        replicate          0              last                         1 frame
        reflection         -i             2 * last - i                 max(before, after) + 1 frames
        reflection_circle  n + after - i  n - before - (i - last)      num_frame frames
        circle             num_frame + i  i - num_frame                num_frame frames

    In a clip too short for a circle mode reflection stands in, where that is too short as well, replicate.

    Args:
        n: frame to restore, 0 <= n < num_frames.
        num_frames: length of the clip.
        config: of the network: its num_frame and centre.
        padding: one of PADDINGS.

    Returns:
        config.num_frame numbers within the clip; the one at config.center is n.
    """
    before, after = config.center, config.num_frame - 1 - config.center
    last = num_frames - 1
    if before <= n <= last - after and padding in PADDINGS:  # nearly all of a long clip
        return list(range(n - before, n + after + 1))
    if "circle" in padding and num_frames < config.num_frame:
        padding = "reflection"
    if padding == "reflection" and num_frames <= max(before, after):
        padding = "replicate"

    def pad(i: int) -> int:
        if 0 <= i <= last:
            return i
        match padding:
            case "replicate":
                return 0 if i < 0 else last
            case "reflection":
                return -i if i < 0 else 2 * last - i
            case "reflection_circle":
                return n + after - i if i < 0 else n - before - (i - last)
            case "circle":
                return i + config.num_frame if i < 0 else i - config.num_frame
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")

    return [pad(i) for i in range(n - before, n + after + 1)]
