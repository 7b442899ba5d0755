"""Converts colours: from the clip's format to the float pictures that the network sees, and then to the output format."""

import vapoursynth as vs

from vsedvr.filter.tags import TagReader, Tags

__all__ = ["in_output_format", "join_chroma", "output_tags", "to_float"]


def to_float(tagged: vs.VideoNode, luma: bool) -> vs.VideoNode:
    """Converts a clip to the float format that the network sees.

    GRAY becomes GRAYS. YUV becomes RGBS, or GRAYS if only the luma is restored. RGB becomes RGBS.

    Args:
        tagged: the clip, with the props that the resizer needs (see tags.py).
        luma: whether only the luma of a YUV clip is restored.
    """
    if luma:
        tagged = tagged.std.ShufflePlanes(0, vs.GRAY)
    return tagged.resize.Bicubic(format=vs.GRAYS if tagged.format.color_family == vs.GRAY else vs.RGBS)


def join_chroma(restored: vs.VideoNode, tagged: vs.VideoNode, output: vs.VideoFormat) -> vs.VideoNode:
    """Joins restored luma with the chroma of the source clip, which is enlarged bicubically to the luma's size.

    Args:
        restored: the restored luma, GRAYS or GRAYH.
        tagged: the source clip, YUV, with the props that the resizer needs (see tags.py).
        output: output format of the filter.

    Returns:
        A YUV clip. If the output format is YUV, it has that format's depth and the source's subsampling, so that chroma is
        converted only once. Otherwise it is YUV444PS.
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
    """Returns the frame props that tell how an output frame is coded: _Range and, where they apply, _Matrix, _ChromaLocation.

    Args:
        tags: tags of the source frame.
        source: format of the source clip.
        output: format of the output clip.
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
    """Converts the restored pictures to the output format and copies all frame props of the source clip.

    If the reader has looked at frame 0, all frames are converted and tagged like frame 0. An encoder reads the tags only once,
    so they have to be the same for all frames. Otherwise each frame is converted and tagged as its own tags say.

    Args:
        restored: restored pictures in a float format, RGB or GRAY, or in YUV with the props of the source clip.
        clip: source clip, as the user gave it to the filter.
        output: format of the output clip.
        reader: reader of the source clip's tags.
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
