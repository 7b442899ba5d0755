"""Checks, restores and measures clips."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from vsedvr.atomic import whole_folder
from vsedvr.data.clip import Frame
from vsedvr.data.pairs import ClipPair, open_pair
from vsedvr.evaluation.pair_restorer import Restore
from vsedvr.evaluation.scoring import Score, Scoring, Temporal
from vsedvr.evaluation.temporal import measure_temporal

__all__ = [
    "Scores",
    "check_not_saved",
    "evaluate",
    "evaluate_clip",
    "mean_score",
    "open_pairs",
]

OnFrame = Callable[[ClipPair, int, Frame], None]
"""A function that is called with every restored frame: clip, frame number, frame."""

Scores = Mapping[int, Score]
"""Scores of a clip by frame number."""


def _nothing(pair: ClipPair, n: int, restored: Frame) -> None:
    """Ignores a restored frame."""


def evaluate(restore: Restore, pairs: Sequence[ClipPair], scoring: Scoring, save: Path | None = None) -> dict[str, Scores]:
    """Restores clips and measures them.

    Args:
        restore: a PairRestorer, or the baseline.
        pairs: clips to restore.
        scoring: which pixels and frames are scored, and how.
        save: folder for all restored frames (see evaluate_clip), or None.

    Returns:
        Scores by clip name and frame number.

    Raises:
        FileExistsError: if a clip is in the folder already.
    """
    if save:
        check_not_saved(save, pairs)
    return {pair.name: evaluate_clip(restore, pair, scoring, save) for pair in pairs}


def evaluate_clip(
    restore: Restore, pair: ClipPair, scoring: Scoring, save: Path | None = None, on_frame: OnFrame = _nothing
) -> Scores:
    """Restores a clip and measures it.

    Args:
        restore: a PairRestorer, or the baseline.
        pair: clip to restore.
        scoring: which pixels and frames are scored, and how. Other frames are restored only if they are saved.
        save: folder for all restored frames, as <save>/<clip>/00000000.png and so on, which can be the input of a second stage.
            The clip appears there when it is complete. None saves nothing.
        on_frame: called with every restored frame.

    Returns:
        Scores by frame number.

    Raises:
        FileExistsError: if the clip is in the folder already.
    """
    counted = scoring.counted(pair.num_frames)
    scores: dict[int, Score] = {}
    measure = _Measure(pair, scoring)
    with _saving(save, pair.name) as folder:
        for n in range(pair.num_frames) if folder else counted:
            restored = restore(pair, n)
            if folder:
                Image.fromarray(restored).save(folder / f"{n:08}.png", compress_level=3)
            if n in counted:
                scores[n] = measure(n, restored)
            on_frame(pair, n, restored)
    pair.close()
    return scores


class _Measure:
    """Measures the frames of a clip, which must come in order. It keeps only the previous frame."""

    def __init__(self, pair: ClipPair, scoring: Scoring) -> None:
        self.pair = pair
        self.scoring = scoring
        self.before: tuple[Frame, Frame] | None = None
        """The previous frame: restored, and ground truth."""

    def __call__(self, n: int, restored: Frame) -> Score:
        gt = self.pair.gt_frame(n)
        score = self.scoring.measure(restored, gt)
        if not self.scoring.temporal:
            return score
        before, self.before = self.before, (restored, gt)
        if before is None or self.pair.scene_starts(n, n):
            return score
        return score._replace(temporal=measure_temporal((before[0], restored), (before[1], gt), self.scoring))


def open_pairs(
    paths: Mapping[str, tuple[Path, Path | None]],
    scoring: Scoring,
    scale: int,
    max_frames: int | None = None,
    on_clip: Callable[[str], None] = lambda name: None,
) -> list[ClipPair]:
    """Opens all clips and checks all that can be checked before the first frame is restored.

    The checks are: lengths, sizes of all frames, headers of all pictures, whether videos can be decoded to their ends, and
    whether enough frames and pixels are scored.

    Args:
        paths: paths of ground truth and low quality by the clip's name (see find.find_pairs).
        scoring: which pixels and frames are scored.
        scale: factor by which the ground truth is larger.
        max_frames: maximum number of frames of each clip, from the beginning.
        on_clip: called with the name of each checked clip.

    Raises:
        ValueError, FileNotFoundError: if a clip cannot be used; the message names all such clips, each with its reason.
    """
    pairs: list[ClipPair] = []
    errors: list[Exception] = []
    for name, both in paths.items():
        try:
            pair = open_pair(name, both, None, scale, max_frames)
            pair.check_sizes()
            _check_counts(pair, scoring)
            pairs.append(pair)
        except (OSError, ValueError) as error:
            errors.append(error)
        on_clip(name)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ValueError(f"{len(errors)} of {len(paths)} clips cannot be used:\n" + "\n".join(map(str, errors)))
    return pairs


def _check_counts(pair: ClipPair, scoring: Scoring) -> None:
    """Checks whether enough frames and pixels of a clip are scored.

    Raises:
        ValueError: if no frame is scored, or too few pixels; the message names the clip.
    """
    height, width = (side // pair.scale * pair.scale for side in pair.gt.size)
    try:
        scoring.counted(pair.num_frames)
        scoring.check_size(height, width)
    except ValueError as error:
        raise ValueError(f"clip {pair.name}: {error}") from error


def check_not_saved(save: Path, pairs: Iterable[ClipPair]) -> None:
    """Checks that a folder does not contain restored frames of these clips already.

    Raises:
        FileExistsError: if one of the clips is in it.
    """
    for pair in pairs:
        if (save / pair.name).exists():
            raise FileExistsError(f"{save / pair.name} exists already; remove it, or save to another folder")


def mean_score(scores: Iterable[Score]) -> Score:
    """Returns the mean of scores, over frames or over clips; for temporal consistency, over those scores that have it."""
    scores = list(scores)
    psnr, ssim = np.mean([(score.psnr, score.ssim) for score in scores], axis=0)
    measured = [score.temporal for score in scores if score.temporal]
    temporal = Temporal(*map(float, np.mean(measured, axis=0))) if measured else None
    return Score(float(psnr), float(ssim), temporal)


@contextmanager
def _saving(save: Path | None, name: str) -> Iterator[Path | None]:
    """Gives a temporary folder for a clip, which is moved to its place when the block ends; None if nothing is saved."""
    if save is None:
        yield None
        return
    with whole_folder(save / name) as temporary:
        yield temporary
