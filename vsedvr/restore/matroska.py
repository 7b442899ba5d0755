"""Writes what PyAV cannot pass to FFmpeg's Matroska writer: the pixel aspect ratio and HDR10 metadata.

Both belong in the header of the video track (RFC 9559), which is rewritten in place. For this, the track gets a long name when
the file is written, and later the missing elements take the space of that name.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

__all__ = ["RESERVED", "complete_header"]

RESERVED = "\u00a0" * 100
"""Text of 200 bytes that is appended to the name of the video track, to reserve space for the missing elements."""

SEGMENT, TRACKS, TRACK, NAME, VIDEO, COLOUR = 0x18538067, 0x1654AE6B, 0xAE, 0x536E, 0xE0, 0x55B0
CRC, VOID = 0xBF, 0xEC
CHECKSUM_BYTES = 6
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
IS_A_RATIO = 3
"""Value of DisplayUnit which says that display width and height only tell their ratio."""
MASTERING, MAX_CLL, MAX_FALL = 0x55D0, 0x55BC, 0x55BD
POINTS = {"MasteringDisplayPrimariesX": (0x55D1, 0x55D3, 0x55D5), "MasteringDisplayPrimariesY": (0x55D2, 0x55D4, 0x55D6)}
NUMBERS = {
    "MasteringDisplayWhitePointX": 0x55D7,
    "MasteringDisplayWhitePointY": 0x55D8,
    "MasteringDisplayMaxLuminance": 0x55D9,
    "MasteringDisplayMinLuminance": 0x55DA,
}


def complete_header(path: Path, display: Fraction | None, hdr: Mapping[str, Sequence[float]]) -> None:
    """Writes the missing elements into a file whose video track's name ends in RESERVED.

    Args:
        path: path of the file, which is complete otherwise.
        display: width of the displayed picture divided by its height; None if it need not be written.
        hdr: HDR10 metadata, as in Source.hdr.

    Raises:
        ValueError: if the file has no tracks, or the reserved space is too small.
    """
    with open(path, "r+b") as file:
        head = file.read(1 << 20)
        tracks_at, tracks = _find_tracks(head)
        file.seek(tracks_at)
        file.write(_completed_tracks(tracks, display, hdr))


def _find_tracks(head: bytes) -> tuple[int, bytes]:
    """Returns the position and the content of the element Tracks."""
    at = 0
    while at < len(head):
        id, start, size = _header(head, at)
        if id == TRACKS:
            return start, head[start : start + size]
        at = start if id == SEGMENT else start + size
    raise ValueError("the file has no tracks")


def _completed_tracks(tracks: bytes, display: Fraction | None, hdr: Mapping[str, Sequence[float]]) -> bytes:
    """Returns the content of Tracks with the missing elements added, in the same length."""
    completed = b""
    for id, payload in _elements(tracks):
        if id == TRACK and RESERVED.encode() in payload:
            payload = _completed_track(payload, display, hdr)
        if id != CRC:
            completed += _element(id, payload)
    if tracks[0] != CRC:
        return completed + _void(len(tracks) - len(completed))
    completed += _void(len(tracks) - len(completed) - CHECKSUM_BYTES)
    return _element(CRC, struct.pack("<I", zlib.crc32(completed))) + completed


def _completed_track(track: bytes, display: Fraction | None, hdr: Mapping[str, Sequence[float]]) -> bytes:
    """Returns the content of a TrackEntry with the missing elements added and the reserved space removed."""
    parts = []
    for id, payload in _elements(track):
        if id == NAME:
            payload = payload.replace(RESERVED.encode(), b"")
        elif id == VIDEO:
            payload = _completed_video(payload, display, hdr)
        if payload or id != NAME:
            parts.append(_element(id, payload))
    return b"".join(parts)


def _completed_video(video: bytes, display: Fraction | None, hdr: Mapping[str, Sequence[float]]) -> bytes:
    elements = dict(_elements(video))
    if display is not None:
        elements |= {DISPLAY_WIDTH: _unsigned(display.numerator), DISPLAY_HEIGHT: _unsigned(display.denominator)}
        elements[DISPLAY_UNIT] = _unsigned(IS_A_RATIO)
    if hdr:
        elements[COLOUR] = elements.get(COLOUR, b"") + _hdr(hdr)
    return b"".join(_element(id, payload) for id, payload in elements.items())


def _hdr(hdr: Mapping[str, Sequence[float]]) -> bytes:
    mastering = [(id, hdr[name][k]) for name, ids in POINTS.items() if name in hdr for k, id in enumerate(ids)]
    mastering += [(id, hdr[name][0]) for name, id in NUMBERS.items() if name in hdr]
    levels = {MAX_CLL: "ContentLightLevelMax", MAX_FALL: "ContentLightLevelAverage"}
    light = b"".join(_element(id, _unsigned(round(hdr[name][0]))) for id, name in levels.items() if name in hdr)
    return light + _element(MASTERING, b"".join(_element(id, struct.pack(">f", value)) for id, value in mastering))


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """Reads the header of an element: returns its id, where its content begins, and the length of the content in bytes."""
    length = 9 - data[at].bit_length()
    start = at + length
    width = 9 - data[start].bit_length()
    size = int.from_bytes(data[start : start + width]) & ~(1 << 7 * width)
    return int.from_bytes(data[at:start]), start + width, size


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        id, start, size = _header(data, at)
        found.append((id, data[start : start + size]))
        at = start + size
    return found


def _element(id: int, payload: bytes) -> bytes:
    size = len(payload)
    width = next(width for width in range(1, 9) if size < (1 << 7 * width) - 1)
    return _unsigned(id) + (size | 1 << 7 * width).to_bytes(width) + payload


def _unsigned(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8))


def _void(length: int) -> bytes:
    """Returns an element without meaning that takes `length` bytes in all."""
    if length < 2:
        raise ValueError("there is no room left in the header")
    width = 1 if length < 100 else 2
    size = length - 1 - width
    return bytes([VOID]) + (size | 1 << 7 * width).to_bytes(width) + bytes(size)
