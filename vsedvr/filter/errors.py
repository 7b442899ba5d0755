"""Makes the errors that users see: one line that begins with "edvr:"."""

import vapoursynth as vs

__all__ = ["edvr_error"]


def edvr_error(error: Exception, context: str = "") -> vs.Error:
    """Makes a one-line vapoursynth.Error "edvr: ..." from another error.

    Args:
        error: the original error. PyTorch's own errors are many lines long; only the first line is kept.
        context: text to put before the error's message.
    """
    lines = str(error).split("\n")
    text = lines[0] if isinstance(error, RuntimeError) else " ".join(lines)
    return vs.Error(f"edvr: {context}{text.strip() or type(error).__name__}")
