"""Reads, checks and completes the frame props that tell how samples are coded, frame by frame.

The resizer gets only the props that a conversion needs, as they were read here. It would refuse frames for other props too,
such as a transfer that it does not know, although no conversion of the filter depends on them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import vapoursynth as vs

from vsedvr.filter.errors import edvr_error

__all__ = ["MATRICES", "TagReader", "Tags"]

MATRICES = {"709": 1, "fcc": 4, "470bg": 5, "170m": 6, "240m": 7, "ycgco": 8, "2020ncl": 9}
"""Numbers in ITU-T H.273 of the matrices that the resizer can convert with, by the resizer's names."""

OTHER_MATRICES = {0: "RGB", 3: "reserved", 10: "2020cl", 12: "chromancl", 13: "chromacl", 14: "ICtCp"}
UNKNOWN_MATRICES = {None, vs.MATRIX_RGB, vs.MATRIX_UNSPECIFIED}
"""Values of _Matrix that YUV cannot have, which therefore count as a missing tag."""

PRIMARIES_WITH_MATRIX = {1, 4, 5, 6, 7, 9}
"""Numbers of primaries whose matrix has the same number in ITU-T H.273."""

LOCATIONS = range(6)
"""Chroma locations that the resizer knows."""

WAY_OUT = (
    'give matrix="709" (HD) or "170m" (SD; "470bg" for PAL), or set the prop: clip.std.SetFrameProps(_Matrix=1), '
    "_Matrix=6 or _Matrix=5"
)


class Tags(NamedTuple):
    """Tags of a frame, which tell how its samples are coded, as the numbers of the frame props."""

    matrix: int | None
    """Matrix of a YUV frame, or of the YUV that is made from an RGB or GRAY frame; None if no matrix is needed."""
    range: int
    location: int | None
    """Location of chroma samples; None if it is not known, which counts as left."""


@dataclass
class TagReader:
    """Reads the tags of a clip's frames.

    A missing tag is taken from the argument `matrix`, or from frame 0 if `look_at_first` was called.
    """

    format: vs.VideoFormat
    """Format of the clip."""
    matrix: int | None = None
    """Matrix of frames that have no tag of their own."""
    needs_matrix: bool = True
    """Whether a matrix is needed, because YUV becomes RGB or RGB becomes YUV."""
    first: Tags | None = None
    """Tags of frame 0, used for frames without tags; None until `look_at_first` is called."""

    def look_at_first(self, clip: vs.VideoNode) -> None:
        """Renders frame 0 of the clip and keeps its tags.

        Raises:
            ValueError: if it cannot be rendered, or the filter cannot work with it.
        """
        try:
            frame = clip.get_frame(0)
        except vs.Error as error:
            reason = str(error).strip().rpartition("\n")[2]  # after the traceback of a source in Python
            raise ValueError(f"frame 0 of the clip cannot be rendered: {reason}") from None
        self.first = self.read(0, frame.props)

    def read(self, n: int, props: vs.FrameProps) -> Tags:
        """Reads the tags of frame n from its props.

        Raises:
            ValueError: if the filter cannot work with the frame (interlaced, or a tag unknown or out of range).
        """
        if field := _number(n, props, "_FieldBased"):
            raise ValueError(
                f"frame {n} is interlaced (its _FieldBased is {field}); deinterlace the clip first, or set "
                "the prop if it is not true: clip.std.SetFrameProps(_FieldBased=0)"
            )
        return Tags(self._read_matrix(n, props), self._read_range(n, props), self._read_location(n, props))

    def read_frame(self, n: int, frame: vs.VideoFrame) -> Tags:
        """Reads a frame's tags in a callback, where errors go to the user: raises vapoursynth.Error "edvr: ..."."""
        try:
            return self.read(n, frame.props)
        except ValueError as error:
            raise edvr_error(error) from None

    def tagged(self, clip: vs.VideoNode) -> vs.VideoNode:
        """Returns the clip with only those props that a conversion needs, and _Alpha."""

        def tag(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
            tags = self.read_frame(n, f)
            frame = f.copy()
            frame.props.clear()
            frame.props["_Range"] = tags.range
            if self.format.color_family == vs.YUV and tags.matrix is not None:
                frame.props["_Matrix"] = tags.matrix
            if _is_subsampled(self.format) and tags.location is not None:
                frame.props["_ChromaLocation"] = tags.location
            if "_Alpha" in f.props:
                frame.props["_Alpha"] = f.props["_Alpha"]
            return frame

        return clip.std.ModifyFrame(clip, tag)

    def _read_matrix(self, n: int, props: vs.FrameProps) -> int | None:
        if not self.needs_matrix:
            return None
        if self.format.color_family != vs.YUV:
            return self._matrix_to_make_yuv(props)
        own = _number(n, props, "_Matrix")
        if own in MATRICES.values():
            return own
        if own not in UNKNOWN_MATRICES:
            name = f" ({OTHER_MATRICES[own]})" if own in OTHER_MATRICES else ""
            known = ", ".join(f"{number} ({name})" for name, number in MATRICES.items())
            raise ValueError(
                f"_Matrix of frame {n} is {own}{name}, which the resizer cannot convert to RGB; convert the clip first, or "
                f"correct the prop, to one of {known}"
            )
        if self.matrix is not None:
            return self.matrix
        if self.first is not None:
            return self.first.matrix
        tag = vs.MATRIX_UNSPECIFIED if own is None else own
        raise ValueError(f"clip is YUV and its matrix is not known (_Matrix of frame {n} is {int(tag)}); {WAY_OUT}")

    def _matrix_to_make_yuv(self, props: vs.FrameProps) -> int:
        """Chooses the matrix of YUV output that is made from RGB or GRAY.

        GRAY may have a _Matrix of its own. RGB has _Primaries; a _Matrix left over from before its conversion is not true.
        """
        own, primaries = props.get("_Matrix"), props.get("_Primaries")
        if self.format.color_family == vs.GRAY and isinstance(own, int) and own in MATRICES.values():
            return own
        if self.matrix is not None:
            return self.matrix
        if isinstance(primaries, int) and primaries in PRIMARIES_WITH_MATRIX:
            return primaries
        return vs.MATRIX_BT709

    def _read_range(self, n: int, props: vs.FrameProps) -> int:
        own = _number(n, props, "_Range")
        if own is not None and own not in (vs.RANGE_LIMITED, vs.RANGE_FULL):
            raise ValueError(f"_Range of frame {n} is {own}; it must be 0 (limited) or 1 (full). Correct the prop first")
        if own is not None:
            return own
        if self.first is not None:
            return self.first.range
        return vs.RANGE_FULL if self.format.color_family == vs.RGB else vs.RANGE_LIMITED

    def _read_location(self, n: int, props: vs.FrameProps) -> int | None:
        own = props.get("_ChromaLocation")
        if isinstance(own, int) and own in LOCATIONS:
            return own
        if own is not None and _is_subsampled(self.format):
            raise ValueError(f"_ChromaLocation of frame {n} is {own!r}; it must be within 0..5. Correct the prop first")
        return self.first.location if self.first is not None else None


def _number(n: int, props: vs.FrameProps, name: str) -> int | None:
    value = props.get(name)
    if value is None or isinstance(value, int):
        return value
    raise ValueError(f"{name} of frame {n} is {value!r}; it must be a number. Correct the prop first")


def _is_subsampled(format: vs.VideoFormat) -> bool:
    return bool(format.subsampling_w or format.subsampling_h)
