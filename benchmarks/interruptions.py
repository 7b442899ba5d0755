"""Kills real runs of `vsedvr restore` at random moments, goes on each time, and compares the film with an undisturbed run's.

python benchmarks/interruptions.py FILM [--kills 20] [--model small] prints a table in Markdown. Equal means: the same frames,
sample for sample, with the same timestamps, and the same packets of sound and subtitles.
"""

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av


def command(film: Path, output: Path, args: argparse.Namespace) -> list[str]:
    options = [
        "--model",
        args.model,
        "--device",
        args.device,
        "--codec",
        "ffv1",
        "--segment-seconds",
        str(args.segment_seconds),
    ]
    return [sys.executable, "-m", "vsedvr", "restore", str(film), str(output), "--quiet", *options]


def content(path: Path) -> dict[int, list[tuple[int | None, str]]]:
    """Returns time and hash of every packet, by number of the stream."""
    with av.open(str(path)) as container:
        found: dict[int, list[tuple[int | None, str]]] = {stream.index: [] for stream in container.streams}
        for packet in container.demux():
            if packet.size:
                found[packet.stream_index].append((packet.pts, hashlib.sha256(bytes(packet)).hexdigest()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--model", default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--segment-seconds", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="interruptions-"))
    undisturbed, output = folder / "undisturbed.mkv", folder / "killed.mkv"
    start = time.monotonic()
    subprocess.run(command(args.film, undisturbed, args), check=True)
    whole = time.monotonic() - start
    expected = content(undisturbed)
    moments = random.Random(args.seed)
    print(f"An undisturbed run takes {whole:.1f} s.\n")
    print("| kill | after | segments there | film equal in the end |\n|---|---|---|---|", flush=True)
    rows: list[str] = []
    kills = 0
    while kills < args.kills or rows:
        seconds = moments.uniform(0, whole * 1.05) if kills < args.kills else 10 * whole + 60
        process = subprocess.Popen(command(args.film, output, args))
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            parts = output.with_name(output.name + ".parts")
            segments = sum(path.stem.isdigit() for path in parts.iterdir()) if parts.exists() else 0
            rows.append(f"| {kills} | {seconds:.2f} s | {segments} |")
            if not output.exists():
                continue
            status = 0  # the film was in its place already, and only the process had not ended yet
        equal = status == 0 and content(output) == expected
        print("\n".join(f"{row} {'yes' if equal else f'NO (status {status})'} |" for row in rows), flush=True)
        rows = []
        output.unlink(missing_ok=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
