"""Reads a VapourSynth script, whose output 0 is the film."""

import runpy
from fractions import Fraction

import vapoursynth as vs

from vsedvr.restore.facts import Source, colour, hdr_metadata, reason

__all__ = ["read_script", "script_clip"]


def read_script(path: str) -> Source:
    """Runs a script and reads facts of its output 0, with the colour of frame 0.

    Raises:
        ValueError: if the script fails, or sets no output 0 of constant format, size and rate.
    """
    clip = script_clip(path)
    if not clip.fps:
        raise ValueError(f"output 0 of {path} has no constant rate; set it in the script: clip.std.AssumeFPS(fpsnum=25)")
    try:
        props = clip.get_frame(0).props
    except vs.Error as error:
        raise ValueError(f"frame 0 of {path}: {reason(error)}") from error
    return Source(
        kind="script",
        path=path,
        width=clip.width,
        height=clip.height,
        format=clip.format.name,
        rate=clip.fps.as_integer_ratio(),
        constant_rate=True,
        time_base=(1 / Fraction(clip.fps)).as_integer_ratio(),
        timestamps=list(range(clip.num_frames)),
        end=clip.num_frames,
        origin=0,
        aspect=(props.get("_SARNum", 1) or 1, props.get("_SARDen", 1) or 1),
        props=colour(props),
        hdr=hdr_metadata(props),
        missing=[],
        key_frames=[],
    )


def script_clip(path: str) -> vs.VideoNode:
    """Runs a script and returns its output 0. It runs in this process, with globals of its own and with vspipe's __name__."""
    vs.clear_outputs()
    try:
        runpy.run_path(path, run_name="__vapoursynth__")
        outputs = vs.get_outputs()
        if 0 not in outputs:
            raise ValueError("it sets no output 0; clip.set_output() does")
        clip = outputs[0].clip if isinstance(outputs[0], vs.VideoOutputTuple) else outputs[0]
        if not isinstance(clip, vs.VideoNode) or clip.format is None or not clip.width:
            raise ValueError("its output 0 is no video of constant format and size")
    except Exception as error:
        raise ValueError(f"the script {path} failed: {type(error).__name__}: {error}") from error
    finally:
        vs.clear_outputs()
    return clip
