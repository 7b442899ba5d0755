"""Tells of every model that is known by name how large it is, how much it computes, and what was published of it: zoo.md.

    python -m benchmarks.quality.zoo

Parameters and GMACs are counted; files and published figures are those of vsedvr/weights/zoo.toml. GMACs are billions of
multiply-accumulates of all convolutions for a frame of 320x180 pixels. Unlike in papers, the features of a frame count once,
because the filter keeps them for the next windows.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vsedvr import EDVR
from vsedvr.atomic import write_whole
from vsedvr.evaluation.complexity import measure_complexity
from vsedvr.evaluation.table import markdown_table
from vsedvr.weights.zoo import ZOO, Entry

TABLE = Path(__file__).with_suffix(".md")
HEIGHT, WIDTH = 180, 320


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE, help="where the table goes")
    args = parser.parse_args(argv)
    write_whole(args.table, page([row(name, entry) for name, entry in ZOO.items()]))


def row(name: str, entry: Entry) -> list[str]:
    """Returns the table's row of a model."""
    counted = measure_complexity(EDVR(entry.network), HEIGHT, WIDTH)
    macs = counted.macs - counted.extract * (1 - 1 / entry.network.num_frame)
    published = ", ".join(f"{f.benchmark} {f.channel} {f.psnr:.2f} / {f.ssim:.4f}" for f in entry.figures)
    return [name, f"{counted.parameters / 1e6:.2f}", f"{entry.megabytes:.1f}", f"{macs / 1e9:.1f}", published]


def page(rows: Sequence[Sequence[str]]) -> str:
    """Returns the Markdown page with the table."""
    return f"""# All models that are known by name
Millions of parameters, size of the file in MB, billions of multiply-accumulates for a frame of {WIDTH}x{HEIGHT} pixels (of the
input), where the features of each frame are computed once, and PSNR in dB and SSIM as published. By
`python -m benchmarks.quality.zoo`.

{markdown_table([["model", "M parameters", "MB", "GMACs", "published"], *rows])}
"""


if __name__ == "__main__":
    main()
