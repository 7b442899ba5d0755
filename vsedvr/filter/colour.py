"""Colour: from the clip's format to the float pictures that the network sees, and to the format of the result."""

import vapoursynth as vs

from vsedvr.filter.tags import TagReader, Tags

__all__ = ["in_output_format", "join_chroma", "output_tags", "to_float"]


def to_float(tagged: vs.VideoNode, luma: bool) -> vs.VideoNode:
    """RGBS; GRAYS for GRAY and, where only the luma is restored, for YUV.

    Args:
        tagged: the clip with the props that the resizer needs (see tags.py).
        luma: whether the network restores the luma of YUV alone.
    """
    if luma:
        tagged = tagged.std.ShufflePlanes(0, vs.GRAY)
    return tagged.resize.Bicubic(format=vs.GRAYS if tagged.format.color_family == vs.GRAY else vs.RGBS)


def join_chroma(restored: vs.VideoNode, tagged: vs.VideoNode, output: vs.VideoFormat) -> vs.VideoNode:
    """YUV of restored luma with the chroma of the clip, which is enlarged bicubically where the luma is.

    Args:
        restored: the luma in GRAYS.
        tagged: the clip, YUV.
        output: format of the result. YUV has its depth and the clip's subsampling, so that chroma is converted once.
    """
    own, depth = tagged.format, (vs.FLOAT, 32)
    format = vs.core.get_video_format(vs.YUV444PS)
    if output.color_family == vs.YUV:
        depth = output.sample_type, output.bits_per_sample
        format = vs.core.query_video_format(vs.YUV, *depth, own.subsampling_w, own.subsampling_h)
    gray = vs.core.query_video_format(vs.GRAY, *depth)
    luma = restored.std.CopyFrameProps(tagged).resize.Bicubic(format=gray.id)
    chroma = tagged.resize.Bicubic(restored.width, restored.height, format=format.id)
    return vs.core.std.ShufflePlanes([luma, chroma, chroma], [0, 1, 2], vs.YUV).std.CopyFrameProps(chroma)


def output_tags(tags: Tags, source: vs.VideoFormat, output: vs.VideoFormat) -> dict[str, int]:
    """The props that tell how the result of a frame is coded.

    Args:
        tags: of the frame, in the source format.
        source: format of the clip.
        output: format of the result.
    """
    if output.color_family == source.color_family:
        props = {"_Range": tags.range}
    else:
        props = {"_Range": vs.RANGE_FULL if output.color_family == vs.RGB else vs.RANGE_LIMITED}
    if output.color_family == vs.RGB:
        if source.color_family != vs.RGB:
            props["_Matrix"] = vs.MATRIX_RGB
    elif tags.matrix is not None and not (source.color_family == output.color_family == vs.GRAY):
        props["_Matrix"] = tags.matrix
    if output.subsampling_w or output.subsampling_h:
        props["_ChromaLocation"] = tags.location or vs.CHROMA_LEFT
    return props


def in_output_format(restored: vs.VideoNode, clip: vs.VideoNode, output: vs.VideoFormat, reader: TagReader) -> vs.VideoNode:
    """The restored pictures in the format of the result, with all props of the clip's frames.

    If the reader has looked at frame 0, all frames are written, and tagged, as that one is, so that an encoder that is told
    once is told the truth. Otherwise each is written as its own tags say.

    Args:
        restored: RGBS, GRAYS, or YUV with the props of the clip.
        clip: what the filter was given.
        output: format of the result.
        reader: of the clip's tags.
    """

    def written(tags: Tags) -> vs.VideoNode:
        props = output_tags(tags, clip.format, output)
        result = restored
        if restored.format.id != output.id or output.color_family == vs.YUV:
            result = restored.resize.Bicubic(
                format=output.id,
                matrix=props.get("_Matrix"),
                range=props["_Range"],
                chromaloc=props.get("_ChromaLocation"),
            )
        return result.std.CopyFrameProps(clip).std.SetFrameProps(**props)

    if reader.first is not None:
        return written(reader.first)
    variants: dict[Tags, vs.VideoNode] = {}

    def choose(n: int, f: vs.VideoFrame) -> vs.VideoNode:
        tags = reader.read_frame(n, f)
        if tags not in variants:
            variants[tags] = written(tags)
        return variants[tags]

    blank = restored.std.BlankClip(format=output.id, keep=True)
    return blank.std.FrameEval(choose, prop_src=clip)
