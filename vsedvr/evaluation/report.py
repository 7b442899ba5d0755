"""Results of an evaluation, as a table to read, as JSON and as CSV."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vsedvr.evaluation.complexity import Complexity
from vsedvr.evaluation.evaluate import Scores, mean_score
from vsedvr.evaluation.published import Published
from vsedvr.evaluation.scoring import Score, Scoring, Temporal
from vsedvr.evaluation.table import aligned_table

__all__ = ["Method", "Report"]

PHASES = ("extract", "align", "fuse", "reconstruct")
MAX_COLUMNS = 8
"""Maximum number of clips for which a table has columns; with more clips it has only the mean."""
WARPED_SCALE = 1000
"""Factor of the warped difference in tables, as in papers, because it is in the order of thousandths."""


@dataclass(frozen=True)
class Method:
    """A model, or the baseline, with its scores."""

    name: str
    scores: Mapping[str, Scores]
    """Scores by clip name and frame number."""
    complexity: Complexity | None = None

    @property
    def clip_means(self) -> dict[str, Score]:
        """Mean score of each clip, by its name."""
        return {clip: mean_score(scores.values()) for clip, scores in self.scores.items()}

    @property
    def mean(self) -> Score:
        """Mean score over clips, all with the same weight whatever their lengths."""
        return mean_score(self.clip_means.values())


@dataclass(frozen=True)
class Report:
    """Measured scores of all methods so far, and published scores to compare with."""

    title: str
    """Name of the data set, or of the files."""
    scoring: Scoring
    source: str
    """Name of the project that scores in this way; "" if none is known."""
    input_size: tuple[int, int]
    """(width, height) in pixels of the input for which multiply-accumulates are counted."""
    methods: list[Method]
    published: Sequence[Published] = ()
    all_clips: Sequence[str] = ()
    """Names of all clips of the data set, including those that were not evaluated."""
    precision: str = "float32"
    """Floating-point type in which models were computed."""

    @property
    def clips(self) -> list[str]:
        """Returns the names of the clips that were evaluated."""
        return list(self.methods[0].scores)

    def table(self) -> str:
        """Returns the scores as a table for a terminal."""
        columns = self.clips if len(self.clips) <= MAX_COLUMNS else []
        head = ["", "parameters", "GMACs", *columns, "mean", ""]
        rows = [
            [method.name, *_size(method.complexity), *_cells(method.clip_means, columns), _cell(method.mean), ""]
            for method in self.methods
        ]
        published = [self._published_row(row, columns) for row in self.published]
        if published:
            published.insert(0, ["published", *[""] * (len(head) - 1)])
        width, height = self.input_size
        note = f"GMACs: 10^9 multiply-accumulates for a frame of {width}x{height}, each window from scratch"
        parts = [self._headline(), aligned_table([head, *rows, *published], left=(0, -1)), note]
        return "\n".join([*parts, *(self._temporal_parts(columns) if self.scoring.temporal else [])]) + "\n"

    def json(self) -> str:
        """Returns everything, with means, as strict JSON. After an interruption, methods may lack clips."""
        content = {
            "title": self.title,
            "scoring": {**asdict(self.scoring), "source": self.source},
            "precision": self.precision,
            "input_size": self.input_size,
            "methods": [_as_dict(method) for method in self.methods],
            "published": self.published,
        }
        return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"

    def csv(self) -> str:
        """Returns all scores as CSV: a header, then a line for each method, clip and frame. Missing values are empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        temporal = Temporal._fields if self.scoring.temporal else ()
        writer.writerow(["method", "clip", "frame", "psnr", "ssim", *temporal])
        for method in self.methods:
            for clip, scores in method.scores.items():
                for n, (psnr, ssim, of_frame) in scores.items():
                    figures = [f"{value:.6g}" for value in of_frame] if of_frame else [""] * len(temporal)
                    writer.writerow([method.name, clip, n, f"{psnr:.6f}", f"{ssim:.6f}", *figures])
        return text.getvalue()

    def _headline(self) -> str:
        scoring = self.scoring
        first, last = scoring.left_out
        frames = f"without the first {first} and the last {last} frames" if first or last else "all frames"
        border = f"{scoring.border} pixels of border left out" if scoring.border else "no border left out"
        channels = "luma" if scoring.y_channel else "RGB"
        source = f" (as {self.source})" if self.source else ""
        lacking = [clip for clip in self.all_clips if clip not in self.clips]
        part = f"\n{len(self.clips)} of {len(self.all_clips)} clips" if lacking else ""
        return f"{self.title}: PSNR in dB / SSIM of {channels}, {frames}, {border}{source}{part}"

    def _temporal_parts(self, columns: Sequence[str]) -> list[str]:
        """Returns the part of the table about temporal consistency, which follows PSNR and SSIM."""
        heading = (
            f"\nTemporal consistency: tOF in pixels / warped difference x {WARPED_SCALE}; lower is better, "
            "but what is below the ground truth is smoother than it"
        )
        rows = [_temporal_row(method.name, method, columns, _temporal_cell) for method in self.methods]
        gt = _temporal_row("ground truth", self.methods[0], columns, _gt_cell)
        return [heading, aligned_table([["", *columns, "mean"], *rows, gt])]

    def _published_row(self, row: Published, columns: Sequence[str]) -> list[str]:
        mean = self._mean(row)
        source = row.source if mean else f"{row.source} ({_cell(row.mean)} over all {len(self.all_clips)} clips)"
        return [row.method, "", "", *_cells(row.clips, columns), _cell(mean), source]

    def _mean(self, row: Published) -> Score | None:
        """Returns the mean of published scores over the evaluated clips; None if it cannot be told."""
        if set(self.clips) == set(self.all_clips):
            return row.mean
        if set(self.clips) <= row.clips.keys():
            return mean_score(row.clips[clip] for clip in self.clips)
        return None


def _size(complexity: Complexity | None) -> list[str]:
    return [f"{complexity.parameters:,}", f"{complexity.macs / 1e9:.1f}"] if complexity else ["", ""]


def _cells(scores: Mapping[str, Score], clips: Sequence[str]) -> list[str]:
    return [_cell(scores.get(clip)) for clip in clips]


def _cell(score: Score | None) -> str:
    return f"{score.psnr:.2f}/{score.ssim:.4f}" if score else "-"


def _temporal_row(name: str, method: Method, clips: Sequence[str], cell: Callable[[Score | None], str]) -> list[str]:
    means = method.clip_means
    return [name, *(cell(means.get(clip)) for clip in clips), cell(method.mean)]


def _temporal_cell(score: Score | None) -> str:
    temporal = score and score.temporal
    return f"{temporal.tof:.3f}/{WARPED_SCALE * temporal.warped_difference:.3f}" if temporal else "-"


def _gt_cell(score: Score | None) -> str:
    """Returns the values that an exact restoration would have."""
    temporal = score and score.temporal
    return f"0.000/{WARPED_SCALE * temporal.gt_warped_difference:.3f}" if temporal else "-"


def _as_dict(method: Method) -> dict[str, Any]:
    complexity = method.complexity
    return {
        "name": method.name,
        "parameters": complexity and complexity.parameters,
        "macs": complexity and complexity.macs,
        "macs_by_phase": complexity and {phase: getattr(complexity, phase) for phase in PHASES},
        "mean": method.mean,
        "clips": {clip: {"mean": mean, "frames": method.scores[clip]} for clip, mean in method.clip_means.items()},
    }


def _plain(content: Any) -> Any:
    """Returns the content with named tuples as mappings, which json.dumps would write as lists, and without None in them."""
    if isinstance(content, tuple) and hasattr(content, "_asdict"):
        content = {name: value for name, value in content._asdict().items() if value is not None}
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    return [_plain(value) for value in content] if isinstance(content, list | tuple) else content
