"""Opens video files: chooses the stream that players show, and explains FFmpeg's errors in words."""

from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

__all__ = ["open_video"]

REASONS: dict[type[FFmpegError], str] = {
    av.error.InvalidDataError: "it is damaged or no video",
    av.error.FileNotFoundError: "there is no such file",
    av.error.IsADirectoryError: "it is a folder",
    av.error.PermissionError: "reading it is not permitted",
    av.error.DecoderNotFoundError: "there is no decoder for its codec",
    av.error.PatchWelcomeError: "it uses something that FFmpeg does not support",
    av.error.MemoryError: "there is not enough memory",
}
"""Explanations of FFmpeg's errors."""


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Opens a video file, and chooses the stream that players show, not a cover picture.

    Raises:
        ValueError: if it cannot be opened or has no video; the message names it.
    """
    try:
        container = av.open(path)
    except FFmpegError as error:
        raise ValueError(f"cannot read the video {path}: {_reason(error)}") from error
    try:
        return container, _shown_stream(container, path)
    except BaseException:
        container.close()
        raise


def _shown_stream(container: InputContainer, path: Path) -> VideoStream:
    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        raise ValueError(f"{path} has no video stream")
    moving = [stream for stream in videos if stream.frames != 1] or videos  # a single picture is a cover, even if not marked
    best = container.streams.best("video")
    stream = next((stream for stream in moving if best is not None and stream.index == best.index), moving[0])
    if stream.codec_context is None:
        raise ValueError(f"cannot read the video {path}: there is no decoder for its codec")
    return stream


def _reason(error: FFmpegError) -> str:
    words = next((words for kind, words in REASONS.items() if isinstance(error, kind)), None)
    return words or (error.strerror or type(error).__name__).lower()
