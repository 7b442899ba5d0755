"""Checks the format of the source clip and chooses the format of the output clip."""

import operator
import reprlib

import vapoursynth as vs

from vsedvr.model import EDVRConfig

__all__ = ["check_channels", "check_clip", "to_output_format"]


def check_clip(clip: vs.VideoNode) -> None:
    """Checks that the argument is a clip that the filter can work with.

    Raises:
        ValueError: if it is not a clip, its format or size varies, or its format is not RGB, YUV or GRAY with 8 to 16 bits or
            32-bit float.
    """
    if not isinstance(clip, vs.VideoNode):
        raise ValueError(f"clip must be a vapoursynth.VideoNode, got {type(clip).__name__}")
    if clip.format is None or clip.format.color_family == vs.UNDEFINED or not clip.width or not clip.height:
        raise ValueError("clip must have a constant format and size; convert it first, for example with resize")
    if clip.gpu_resident:
        raise ValueError("clip is in GPU memory; bring it back with std.GPUDownload first")
    _check_format(clip.format, "clip")


def check_channels(config: EDVRConfig, clip: vs.VideoNode) -> None:
    """Checks that the number of the network's channels suits the clip.

    Raises:
        ValueError: if the network cannot restore clips of this colour family.
    """
    if config.num_in_ch not in (1, 3):
        raise ValueError(f"the model restores pictures of {config.num_in_ch} channels; the filter needs 3, or 1 (luma)")
    if config.num_in_ch == 1 and clip.format.color_family == vs.RGB:
        raise ValueError(
            "the model restores pictures of 1 channel (luma), the clip is RGB; give it as YUV: "
            "clip.resize.Bicubic(format=vs.YUV444PS, matrix=1)"
        )


def to_output_format(value: object, clip: vs.VideoNode, scale: int) -> vs.VideoFormat:
    """Returns the output format for the argument `output_format`.

    Args:
        value: id of a format, a VideoFormat, or None for the clip's format.
        clip: source clip.
        scale: factor by which the network enlarges width and height.

    Raises:
        ValueError: if there is no such format, or the result cannot be converted to it.
    """
    if value is None:
        return clip.format
    try:
        number = value.id if isinstance(value, vs.VideoFormat) else operator.index(value)  # type: ignore[arg-type]
        format = vs.core.get_video_format(number)
    except (vs.Error, TypeError, OverflowError):
        raise ValueError(f"output_format must be a format such as vs.RGBS, got {reprlib.repr(value)}") from None
    _check_format(format, "output_format")
    if clip.width * scale % (1 << format.subsampling_w) or clip.height * scale % (1 << format.subsampling_h):
        raise ValueError(
            f"output_format {format.name} needs even sizes, the result has {clip.width * scale}x{clip.height * scale}; "
            "choose one without subsampling"
        )
    return format


def _check_format(format: vs.VideoFormat, what: str) -> None:
    if format.color_family == vs.UNDEFINED or (format.sample_type == vs.INTEGER and format.bits_per_sample > 16):
        raise ValueError(f"{what} must be RGB, YUV or GRAY of 8 to 16 bit or float, got {format.name}")
