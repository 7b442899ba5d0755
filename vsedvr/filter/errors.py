"""What users are told when something is wrong: one line that begins with "edvr:"."""

import vapoursynth as vs

__all__ = ["edvr_error"]


def edvr_error(error: Exception, context: str = "") -> vs.Error:
    """The error for the user.

    Args:
        error: what went wrong. Of PyTorch's own errors, which go on for many lines, the first line is kept.
        context: stands before it.
    """
    lines = str(error).split("\n")
    text = lines[0] if isinstance(error, RuntimeError) else " ".join(lines)
    return vs.Error(f"edvr: {context}{text.strip() or type(error).__name__}")
