"""Writes the files of an evaluation while it runs, so that an interruption loses none of the finished scores."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vsedvr.atomic import write_whole
from vsedvr.compare.drawing import png
from vsedvr.data.clip import Frame
from vsedvr.data.pairs import ClipPair
from vsedvr.evaluation.complexity import Complexity
from vsedvr.evaluation.evaluate import Scores, evaluate_clip
from vsedvr.evaluation.pair_restorer import Restore
from vsedvr.evaluation.pictures import Details, plot_psnr
from vsedvr.evaluation.report import Method, Report

__all__ = ["Results"]

SHARE = 20
"""Writing scores takes at most 1 / SHARE of the time; writing them after each of thousands of short clips would take more."""


class Results:
    """Measures methods and keeps the results in a folder: results.json, results.csv, psnr.png and details/<clip>.png."""

    def __init__(self, folder: Path, report: Report) -> None:
        """
        Args:
            folder: folder for the files; created when there is something to write.
            report: report without methods; they are added as they are measured.
        """
        self.folder = folder
        self.report = report
        self.details = Details(report.scoring)
        self._next_time = 0.0

    def measure(
        self,
        name: str,
        restore: Restore,
        pairs: Sequence[ClipPair],
        complexity: Complexity | None = None,
        save: Path | None = None,
        on_step: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Measures a method on all clips. The scores of a clip are in the files soon after the clip is finished.

        Args:
            name: name of the method.
            restore: a PairRestorer, or the baseline.
            pairs: clips to restore.
            complexity: complexity of the network; None for the baseline.
            save: folder for all restored frames (see evaluate_clip), or None.
            on_step: called for every frame with a text that names method and clip.
        """
        scores: dict[str, Scores] = {}
        self.report.methods.append(Method(name, scores, complexity))

        def on_frame(pair: ClipPair, n: int, restored: Frame) -> None:
            self.details.add(name, pair, n, restored)
            on_step(f"{name}, {pair.name}")

        for pair in pairs:
            scores[pair.name] = evaluate_clip(restore, pair, self.report.scoring, save, on_frame)
            self._keep_scores()

    def write(self) -> bool:
        """Writes all files with the results so far. Returns whether there are any."""
        if not any(method.scores for method in self.report.methods):
            return False
        self._write_scores()
        write_whole(self.folder / "psnr.png", plot_psnr(self.report.methods))
        for clip, sheet in self.details.sheets().items():
            write_whole(self.folder / "details" / f"{clip.replace('/', '-')}.png", png(sheet))
        return True

    def _keep_scores(self) -> None:
        """Writes the scores so far, unless they were written a moment ago (see SHARE)."""
        start = time.monotonic()
        if start < self._next_time:
            return
        self._write_scores()
        now = time.monotonic()
        self._next_time = now + SHARE * (now - start)

    def _write_scores(self) -> None:
        write_whole(self.folder / "results.json", self.report.json())
        write_whole(self.folder / "results.csv", self.report.csv())
