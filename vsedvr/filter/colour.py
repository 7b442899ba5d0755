"""Colour: formats, and the conversion to float and back as the frame props say."""

import vapoursynth as vs

__all__ = ["check_clip", "check_output_format", "check_props", "from_float", "to_float"]


def check_clip(clip: vs.VideoNode) -> None:
    if not isinstance(clip, vs.VideoNode):
        raise ValueError(f"clip must be a vapoursynth.VideoNode, got {type(clip).__name__}")
    if clip.format is None or clip.format.color_family == vs.UNDEFINED or not clip.width or not clip.height:
        raise ValueError("clip must have a constant format and size; convert it first, for example with resize")
    if clip.gpu_resident:
        raise ValueError("clip is in GPU memory; bring it back with std.GPUDownload first")
    _check_format(clip.format, "clip")


def _check_format(format: vs.VideoFormat, what: str) -> None:
    if format.color_family == vs.UNDEFINED or (format.sample_type == vs.INTEGER and format.bits_per_sample > 16):
        raise ValueError(f"{what} must be RGB, YUV or GRAY of 8 to 16 bit or float, got {format.name}")


def check_output_format(output_format: int, clip: vs.VideoNode, scale: int) -> vs.VideoFormat:
    try:
        format = vs.core.get_video_format(output_format)
    except (vs.Error, TypeError, OverflowError) as error:
        raise ValueError(f"output_format must be a format such as vs.RGBS, got {output_format!r}") from error
    _check_format(format, "output_format")
    if clip.width * scale % (1 << format.subsampling_w) or clip.height * scale % (1 << format.subsampling_h):
        raise ValueError(
            f"output_format {format.name} needs even sizes, the result has {clip.width * scale}x{clip.height * scale}; "
            "choose one without subsampling"
        )
    return format


def check_props(clip: vs.VideoNode, props: vs.FrameProps) -> None:
    if props.get("_FieldBased", 0):
        raise ValueError("clip is interlaced (_FieldBased of frame 0); deinterlace it first, or set _FieldBased=0 if it is not")
    matrix = props.get("_Matrix", vs.MATRIX_UNSPECIFIED)
    if clip.format.color_family == vs.YUV and matrix in (vs.MATRIX_RGB, vs.MATRIX_UNSPECIFIED):
        raise ValueError(
            f"clip is YUV and its matrix is not known (_Matrix of frame 0 is {matrix}); set it first: "
            "clip.std.SetFrameProps(_Matrix=1) for BT.709 (HD), _Matrix=6 or 5 for BT.601 (SD, NTSC or PAL)"
        )


def to_float(clip: vs.VideoNode) -> vs.VideoNode:
    """RGBS, or GRAYS for GRAY, as the props say."""
    return clip.resize.Bicubic(format=vs.GRAYS if clip.format.color_family == vs.GRAY else vs.RGBS)


def from_float(restored: vs.VideoNode, format: vs.VideoFormat, clip: vs.VideoNode, first_props: vs.FrameProps) -> vs.VideoNode:
    """The output format with the props of every frame; written, and tagged, with matrix and range of the clip's frame 0."""
    tags = {"_Range": vs.RANGE_FULL if format.color_family == vs.RGB else vs.RANGE_LIMITED}
    if format.color_family == clip.format.color_family:
        tags["_Range"] = first_props.get("_Range", tags["_Range"])
    if format.color_family == vs.RGB:
        tags["_Matrix"] = vs.MATRIX_RGB
    elif restored.format.color_family == vs.RGB:
        tags["_Matrix"] = first_props["_Matrix"] if clip.format.color_family == vs.YUV else vs.MATRIX_BT709
    if restored.format.id != format.id:
        restored = restored.resize.Bicubic(
            format=format.id,
            matrix=tags.get("_Matrix"),
            range=tags["_Range"],
            chromaloc=first_props.get("_ChromaLocation") if format.color_family == vs.YUV else None,
        )
    return restored.std.CopyFrameProps(clip).std.SetFrameProps(**tags)
