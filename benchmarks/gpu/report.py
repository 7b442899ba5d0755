"""Reports of the GPU check, as Markdown and as JSON."""

import json
import math
import re
from pathlib import Path
from typing import Any

from vsedvr.atomic import write_whole
from vsedvr.evaluation.table import markdown_table
from vsedvr.ops import cuda_dcn

__all__ = ["Report", "card_kind", "markdown", "shortfalls", "write"]

Report = dict[str, Any]
"""Figures and texts by part: card, kind, versions, finished, prims, tests, sanitizer, problems, ceilings, operator, network,
filter, first_frame. The parts that hold figures are missing or empty until they are measured."""

DATA_CENTRE, GEFORCE = "data centre", "GeForce or workstation"

OPERATOR = 1.7 if cuda_dcn.OPERATOR == "mma" else 2.3
"""Gain of the operator on a data centre's card; the larger one is that of the kernels with their samples in registers."""

EXPECTED = {
    "operator": (
        "operator against torchvision in fp16",
        {DATA_CENTRE: OPERATOR, GEFORCE: 1.9},
    ),
    "network": ("engine against the plain form in fp16", {DATA_CENTRE: 3.0, GEFORCE: 1.9}),
    "filter": ("filter against cccv as installed", {DATA_CENTRE: 4.0, GEFORCE: 3.0}),
}
"""Of each part what is compared, and how many times as fast vsedvr should be by a model of the kind of card.

These figures are computed, not measured: from counts of kernels, bytes and operations, and the instructions of the operator's
loop. On a data centre's card the loop is bound by its instructions, on a GeForce by tensor cores, which there add to float32 at
half rate. With one kernel for each pass over memory and all neighbours at once small pictures gain most where the card
waits for launches, which a GeForce seldom does; without them the network was 1.5 times as fast as the plain form."""


def card_kind(capability: tuple[int, int]) -> str:
    """The kind of card, by compute capability: what EXPECTED goes by."""
    return DATA_CENTRE if capability in {(7, 0), (8, 0), (9, 0), (10, 0), (10, 3)} else GEFORCE


def shortfalls(report: Report) -> list[str]:
    """Names the rows that gain less than EXPECTED: a reason to look for why, not an error."""
    short = []
    for part, (what, ratios) in EXPECTED.items():
        ratio = ratios[report["kind"]]
        for row in report.get(part, []):
            if row["ratio"] < ratio:
                name = " ".join(str(row[key]) for key in ("channels", "model", "size") if key in row)
                short.append(f"{what}, {name}: {row['ratio']:.1f}x, {ratio}x expected")
    return short


def markdown(report: Report) -> str:
    """Formats the report as Markdown: problems first, then a table for each part that has figures."""
    parts = [f"# {report['card']}\n`make gpu-check`; {report['versions']}; medians, each ratio within one run."]
    states = ("Inline PTX", "prims"), ("Tests", "tests"), ("Compute-sanitizer", "sanitizer")
    parts.append(" ".join(f"{name}: {report[key]}." for name, key in states))
    if not report["finished"]:
        parts.append("**Not finished: not all figures are here.**")
    if report["problems"]:
        parts.append("\n".join(f"- **{problem}**" for problem in report["problems"]))
    elif report["finished"]:
        parts.append("All answers are right.")
    if report.get("operator"):
        parts.append(_operator(report))
    if report.get("network"):
        parts += [_network(report), _memory(report)]
    if report.get("first_frame"):
        times = ", ".join(f"{seconds:.1f} s ({state})" for state, seconds in report["first_frame"].items())
        parts.append(f"Time to the first frame of EDVR-M at 960x540, fp16, weights in memory: {times}.")
    if report.get("filter"):
        parts.append(_filter(report))
    if short := shortfalls(report):
        parts.append(f"Less than the model of a {report['kind']} card expects:\n\n" + "\n".join(f"- {line}" for line in short))
    return "\n\n".join(parts) + "\n"


def write(report: Report, folder: Path) -> Path:
    """Writes <card>.md and <card>.json into a folder, each whole or not at all, in place of older ones.

    Returns:
        The path of <card>.md.
    """
    stem = re.sub(r"[^a-z0-9]+", "-", report["card"].lower()).strip("-")
    for suffix, text in ((".json", json.dumps(_without_nan(report), indent=1) + "\n"), (".md", markdown(report))):
        write_whole(folder / f"{stem}{suffix}", text)
    return folder / f"{stem}.md"


def _operator(report: Report) -> str:
    names = list(dict.fromkeys(name for row in report["operator"] for name in row["ms"]))
    lines = [
        [
            row["channels"],
            row["size"],
            *(_number(row["ms"].get(name), 3) for name in names),
            _ratio(row["ratio"]),
            *(_percent(row[share]) for share in ("share_of_matrix", "share_of_copy")),
        ]
        for row in report["operator"]
    ]
    limits = report["ceilings"]
    return (
        f"Deformable convolution, milliseconds; the ratio is torchvision fp16 over fp16. Of what fp16 could reach: "
        f"{limits['matrix'] / 1e12:.0f} TFLOP/s in a product of matrices, {limits['copy'] / 1e9:.0f} GB/s in a copy.\n\n"
        + markdown_table([["channels", "size", *names, "ratio", "of the product", "of the copy"], *lines])
    )


def _network(report: Report) -> str:
    names = list(dict.fromkeys(name for row in report["network"] for name in row["fps"]))
    lines = [
        [
            row["model"],
            row["size"],
            *(_number(row["fps"].get(name), 2) for name in names),
            _ratio(row["ratio"]),
            _percent(row["share_of_matrix"]),
            *(_number(row["psnr"].get(name), 0) for name in ("fp16", "bf16", "plain fp16")),
        ]
        for row in report["network"]
    ]
    head = ["x4", "input", *names, "ratio", "of the product", "fp16 dB", "bf16 dB", "plain dB"]
    return "Frames a second; the ratio is fp16 over plain fp16, dB are to fp32.\n\n" + markdown_table([head, *lines])


def _memory(report: Report) -> str:
    lines = [
        [row["model"], row["size"], name, *(f"{memory[key] >> 20}" for key in ("measured", "estimate"))]
        for row in report["network"]
        for name, memory in row["memory"].items()
    ]
    return "GPU memory beside the weights, MiB.\n\n" + markdown_table(
        [["x4", "input", "precision", "measured", "estimate"], *lines]
    )


def _filter(report: Report) -> str:
    names = list(dict.fromkeys(name for row in report["filter"] for name in row["fps"]))
    lines = [
        [row["size"], *(_number(row["fps"].get(name), 2) for name in names), _ratio(row["ratio"])] for row in report["filter"]
    ]
    return "The filter, EDVR-M, RGBH, frames a second.\n\n" + markdown_table([["input", *names, "ratio"], *lines])


def _number(value: float | None, digits: int) -> str:
    """Formats a figure for a cell: empty if it was not measured; NaN means too little memory."""
    if value is None:
        return ""
    return "out of memory" if math.isnan(value) else f"{value:.{digits}f}"


def _ratio(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}x"


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.0f} %"


def _without_nan(value: Any) -> Any:
    """Returns the same content with None instead of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
