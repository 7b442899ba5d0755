"""Plans the output: size, pixel format, encoder and colour tags; and makes the restored clip in that form."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import vapoursynth as vs

from vsedvr.filter import edvr
from vsedvr.restore.codecs import CODECS, DEFAULT_CODEC, PICTURES, Codec, choose_pix_fmt, encoder_options, vs_format
from vsedvr.restore.facts import Source, colour, reason
from vsedvr.restore.settings import RestoreSettings, device_index

__all__ = ["Output", "choose_codec", "plan_output", "restored_clip"]

Tile = tuple[int, int]
"""(width, height) of the tiles in pixels of the source; (0, 0) for whole frames."""

WIDE = {vs.YUV: vs.YUV444P16, vs.RGB: vs.RGB48, vs.GRAY: vs.GRAY16}
"""Lossless 16-bit formats for each colour family, for frames that are processed further."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """Form of the encoded frames: size, codec, options and colour. It can be written to JSON."""

    codec: str
    """Name of the codec: a key of CODECS, or "png"."""
    width: int
    height: int
    pix_fmt: str
    options: dict[str, str]
    props: dict[str, int]
    """Colour of the result, as frame props."""

    @property
    def encoder(self) -> Codec:
        return CODECS.get(self.codec, PICTURES)

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Output":
        return cls(**values)


def choose_codec(path: Path, settings: RestoreSettings) -> str:
    """Returns the name of the codec for an output file, or "png" for a folder of pictures.

    Raises:
        ValueError: if there is no such codec, or the file format cannot hold it.
    """
    suffix = path.suffix.lower()
    if not suffix:
        if settings.codec not in (None, "png"):
            raise ValueError(f"{path} has no suffix, so it becomes a folder of PNG pictures; codec must be left out")
        return "png"
    known = sorted({container for codec in CODECS.values() for container in codec.containers})
    if suffix not in known:
        raise ValueError(f"the output must end in {', '.join(known)}, or have no suffix for a folder of pictures; got {path}")
    name = settings.codec or DEFAULT_CODEC
    if name not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {name!r}")
    if suffix not in CODECS[name].containers:
        raise ValueError(f"{name} does not go into {suffix} files; it goes into {', '.join(CODECS[name].containers)}")
    return name


def plan_output(codec_name: str, source: Source, clip: vs.VideoNode, settings: RestoreSettings, tile: Tile) -> Output:
    """Chooses size, format and encoder options for a source.

    Args:
        codec_name: name of the codec.
        source: facts of the source.
        clip: source as a clip.
        settings: settings of the user.
        tile: tiles in pixels of the source.

    Raises:
        ValueError: if the clip cannot be restored, or settings contradict each other.
    """
    codec = CODECS.get(codec_name, PICTURES)
    pix_fmt = choose_pix_fmt(codec, source, settings.pix_fmt)
    options = encoder_options(codec, settings.crf, settings.preset, settings.encoder_options, source.hdr)
    try:
        final = _final_clip(clip, source, settings, tile, pix_fmt)
        props = final.get_frame(0).props
    except vs.Error as error:
        raise ValueError(f"{source.path} cannot be restored: {reason(error)}{_way_out(str(error))}") from error
    return Output(
        codec=codec_name,
        width=final.width,
        height=final.height,
        pix_fmt=pix_fmt,
        options=options,
        props=colour(props),
    )


def restored_clip(clip: vs.VideoNode, source: Source, settings: RestoreSettings, tile: Tile, output: Output) -> vs.VideoNode:
    """Returns the restored film in the size and format in which it is encoded."""
    final = _final_clip(clip, source, settings, tile, output.pix_fmt)
    assert (final.width, final.height) == (output.width, output.height)
    return final


def _final_clip(clip: vs.VideoNode, source: Source, settings: RestoreSettings, tile: Tile, pix_fmt: str) -> vs.VideoNode:
    format = vs_format(pix_fmt)
    assert format is not None
    multiple_w, multiple_h = 1 << format.subsampling_w, 1 << format.subsampling_h
    resizes = settings.height is not None or settings.scale is not None
    if not (resizes or clip.width % multiple_w or clip.height % multiple_h):
        return _restored(clip, settings, tile, format.id)
    restored = _restored(clip, settings, tile, WIDE[format.color_family])
    if resizes:
        height = settings.height or source.height * (settings.scale or 1)
        width = restored.width * height / restored.height
        size = _multiple(width, multiple_w), _multiple(height, multiple_h)
    else:
        restored = _with_full_blocks(restored, multiple_w, multiple_h)
        size = restored.width, restored.height
    chroma = source.props.get("_ChromaLocation") if format.color_family == vs.YUV else None
    return restored.resize.Spline36(*size, format=format.id, chromaloc=chroma)


def _restored(clip: vs.VideoNode, settings: RestoreSettings, tile: Tile, format: int) -> vs.VideoNode:
    """Restores the clip with the model, then with the refining model if there is one; the result has the given format."""
    return edvr(
        clip,
        model=settings.model,
        refine=settings.refine,
        ensemble=settings.ensemble,
        device_index=device_index(settings.device),
        precision=settings.precision,
        tile=tile,
        output_format=format,
    )


def _with_full_blocks(clip: vs.VideoNode, multiple_w: int, multiple_h: int) -> vs.VideoNode:
    """Repeats the last column and row until width and height are multiples of the given numbers."""
    last = clip.std.Crop(left=clip.width - 1)
    clip = vs.core.std.StackHorizontal([clip] + [last] * (-clip.width % multiple_w))
    last = clip.std.Crop(top=clip.height - 1)
    return vs.core.std.StackVertical([clip] + [last] * (-clip.height % multiple_h))


def _multiple(size: float, of: int) -> int:
    return max(1, round(size / of)) * of


def _way_out(error: str) -> str:
    if "interlaced" not in error:
        return ""
    return "; restore a script (.vpy) that deinterlaces, for example with bwdif, or that sets _FieldBased=0"
