"""The encoders that can be chosen, with their options, and the pixel formats that they take."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import vapoursynth as vs

from vsedvr.restore.facts import Source

__all__ = ["CODECS", "DEFAULT_CODEC", "PICTURES", "Codec", "encoder_options", "find_encoder", "planar_name", "vs_format"]


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg, with options that make good pictures."""

    encoder: str
    containers: tuple[str, ...]
    """Suffixes of the file formats that can hold the encoded video."""
    segment: str
    """Suffix of the files in which encoded segments are kept."""
    crf: float | None = None
    """Default quality; None if the encoder has no scale of quality."""
    crf_option: str = "crf"
    preset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    hdr_option: str | None = None
    """Encoder option that takes HDR10 metadata; None if the encoder has none."""


ALL = (".mkv", ".mp4", ".mov")
NVENC = {"rc": "vbr", "b": "0"}
CODECS = {
    "x264": Codec("libx264", ALL, ".mp4", 17, preset="medium", hdr_option="x264-params"),
    "x265": Codec(
        "libx265", ALL, ".mp4", 18, preset="medium", options={"x265-params": "log-level=error"}, hdr_option="x265-params"
    ),
    "svtav1": Codec("libsvtav1", (".mkv", ".mp4"), ".mp4", 20, preset="6", hdr_option="svtav1-params"),
    "ffv1": Codec("ffv1", (".mkv",), ".mkv", options={"level": "3", "slicecrc": "1", "g": "1"}),
    "prores": Codec("prores_ks", (".mov", ".mkv"), ".mov", options={"profile": "hq", "vendor": "apl0"}),
    "h264_nvenc": Codec("h264_nvenc", ALL, ".mp4", 19, "cq", "p5", NVENC),
    "hevc_nvenc": Codec("hevc_nvenc", ALL, ".mp4", 21, "cq", "p5", NVENC),
    "av1_nvenc": Codec("av1_nvenc", (".mkv", ".mp4"), ".mp4", 25, "cq", "p5", NVENC),
}
DEFAULT_CODEC = "x264"
PICTURES = Codec("png", (), ".mov")
"""Codec for a folder of pictures: each packet of FFmpeg's PNG encoder is a PNG file."""

PACKED = {"bgr0": "gbrp", "rgb24": "gbrp", "rgb48be": "gbrp16le", "p010le": "yuv420p10le", "gray16be": "gray16le"}
"""Planar formats by the encoders' pixel formats that hold the same samples in another order."""


def find_encoder(codec: Codec) -> av.codec.Codec:
    """Returns the encoder in the installed PyAV.

    Raises:
        ValueError: if PyAV was built without it.
    """
    try:
        return av.codec.Codec(codec.encoder, "w")
    except ValueError as error:
        raise ValueError(f"the installed PyAV {av.__version__} has no encoder {codec.encoder}; choose another codec") from error


def choose_pix_fmt(codec: Codec, source: Source, asked: str | None) -> str:
    """Chooses the pixel format in which a film is encoded.

    By default it is the one that loses least of the source: its bit depth, subsampling and colour family if the encoder has
    them. RGB becomes YUV 4:2:0 for lossy encoders, since few players show anything else.

    Args:
        codec: encoder.
        source: facts of the source.
        asked: FFmpeg's name of the format that the user asked for, or None.

    Raises:
        ValueError: if the encoder does not take the format that was asked for.
    """
    known = [format.name for format in find_encoder(codec).video_formats or [] if vs_format(format.name) is not None]
    if asked is not None:
        if asked not in known:
            raise ValueError(f"pix_fmt of {codec.encoder} must be one of {', '.join(known)}, got {asked!r}")
        return asked
    wanted = _pix_fmt(source.format)
    lossless = codec.encoder in ("ffv1", "png", "prores_ks")
    if wanted.startswith("gbrp") and not lossless:
        wanted = "yuv420p" if wanted == "gbrp" else "yuv420p10le"
    best, _ = av.codec.codec.find_best_pix_fmt_of_list(_of_one_kind(known, wanted), wanted)
    assert best is not None
    return best.name


def vs_format(pix_fmt: str) -> Any:
    """Returns VapourSynth's format for the samples of an FFmpeg pixel format; None if there is none."""
    name = planar_name(pix_fmt)
    match = re.fullmatch(r"(yuv(?P<sub>4[1240]{2})p|gbrp|gray)(?P<bits>\d+)?(le)?", name)
    if match is None:
        return None
    bits = int(match["bits"] or 8)
    if match["sub"]:
        w, h = {"444": (0, 0), "422": (1, 0), "420": (1, 1), "440": (0, 1), "411": (2, 0), "410": (2, 2)}[match["sub"]]
        return vs.core.query_video_format(vs.YUV, vs.INTEGER, bits, w, h)
    return vs.core.query_video_format(vs.RGB if name.startswith("gbrp") else vs.GRAY, vs.INTEGER, bits)


def planar_name(pix_fmt: str) -> str:
    """Returns the planar pixel format with the same samples, to which VapourSynth's planes can be copied."""
    return PACKED.get(pix_fmt, pix_fmt)


def encoder_options(
    codec: Codec, crf: float | None, preset: str | None, own: Mapping[str, str] | None, hdr: Mapping[str, Sequence[float]]
) -> dict[str, str]:
    """Returns all options of the encoder, as strings by name.

    Args:
        codec: encoder.
        crf: quality that the user asked for, or None for the default.
        preset: speed that the user asked for, or None for the default.
        own: further options of the user, which take precedence; "-params" are appended to the ones that are set already.
        hdr: HDR10 metadata, as in Source.hdr.

    Raises:
        ValueError: if the encoder has no crf or preset but one was given.
    """
    options = dict(codec.options)
    if codec.crf is None and crf is not None:
        raise ValueError(f"{codec.encoder} has no crf; leave it out")
    if codec.preset is None and preset is not None:
        raise ValueError(f"{codec.encoder} has no presets; leave it out")
    if codec.crf is not None:
        options[codec.crf_option] = f"{codec.crf if crf is None else crf:g}"
    if codec.preset is not None:
        options["preset"] = preset or codec.preset
    if codec.hdr_option and (words := HDR_WORDS[codec.encoder](hdr)):
        options[codec.hdr_option] = ":".join(filter(None, [options.get(codec.hdr_option), *words]))
    for name, value in (own or {}).items():
        joined = [options[name], value] if name.endswith("-params") and name in options else [value]
        options[name] = ":".join(joined)
    return options


def _pix_fmt(format: str) -> str:
    """Returns FFmpeg's name of a VapourSynth format; float formats become 16-bit integer formats."""
    match = re.fullmatch(r"(YUV4\d\dP|Gray|RGB)(\d+|S|H)", format)
    assert match is not None, format
    family, depth = match.groups()
    bits = 16 if depth in ("S", "H") else int(depth) // (3 if family == "RGB" else 1)
    name = {"Gray": "gray", "RGB": "gbrp"}.get(family, family.lower())
    return name if bits == 8 else f"{name}{bits}le"


def _of_one_kind(known: Sequence[str], wanted: str) -> list[str]:
    """Returns the formats of the wanted colour family, or all if there are none; of these, those with enough bits, if any."""
    formats = {name: vs_format(name) for name in [*known, wanted]}
    kind = [name for name in known if formats[name].color_family == formats[wanted].color_family] or list(known)
    bits = formats[wanted].bits_per_sample
    return [name for name in kind if formats[name].bits_per_sample >= bits] or kind


def _mastering(hdr: Mapping[str, Sequence[float]], point: Callable[[float], str], light: Callable[[float], str]) -> str:
    """Formats the mastering display's metadata as x264, x265 and SVT-AV1 read it; empty if the metadata is incomplete."""
    try:
        red, green, blue = zip(hdr["MasteringDisplayPrimariesX"], hdr["MasteringDisplayPrimariesY"], strict=True)
        white = hdr["MasteringDisplayWhitePointX"][0], hdr["MasteringDisplayWhitePointY"][0]
        most, least = hdr["MasteringDisplayMaxLuminance"][0], hdr["MasteringDisplayMinLuminance"][0]
    except KeyError:
        return ""
    named = {"G": green, "B": blue, "R": red, "WP": white}
    points = "".join(f"{name}({point(x)},{point(y)})" for name, (x, y) in named.items())
    return f"{points}L({light(most)},{light(least)})"


def _light_levels(hdr: Mapping[str, Sequence[float]]) -> str:
    if "ContentLightLevelMax" not in hdr:
        return ""
    return f"{hdr['ContentLightLevelMax'][0]:.0f},{hdr.get('ContentLightLevelAverage', [0])[0]:.0f}"


def _hdr_words(display: str, levels: str, in_integers: bool) -> Callable[[Mapping[str, Sequence[float]]], list[str]]:
    """Returns a function that formats HDR10 metadata as an encoder's options.

    Args:
        display: name of the option for the mastering display.
        levels: name of the option for the light levels.
        in_integers: write integers, in units of 0.00002 and 0.0001 cd/m2, instead of decimal numbers.
    """

    def words(hdr: Mapping[str, Sequence[float]]) -> list[str]:
        if in_integers:
            mastering = _mastering(hdr, lambda v: f"{v * 50000:.0f}", lambda v: f"{v * 10000:.0f}")
        else:
            mastering = _mastering(hdr, lambda v: f"{v:.5f}", lambda v: f"{v:.4f}")
        light = _light_levels(hdr)
        return [f"{name}={value}" for name, value in ((display, mastering), (levels, light)) if value]

    return words


HDR_WORDS = {
    "libx264": _hdr_words("mastering-display", "cll", in_integers=True),
    "libx265": _hdr_words("master-display", "max-cll", in_integers=True),
    "libsvtav1": _hdr_words("mastering-display", "content-light", in_integers=False),
}
