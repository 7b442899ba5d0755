"""The benchmarks of the field: where their clips are, and how they are scored."""

from dataclasses import dataclass
from pathlib import Path

from vsedvr.data.find import PairPaths, find_pairs
from vsedvr.evaluation.scoring import Scoring

__all__ = ["BENCHMARKS", "Benchmark"]


@dataclass(frozen=True)
class Benchmark:
    """A data set: where its clips are, and how it is scored."""

    gt: str
    """Folder of the ground truth below the root; if it does not exist, the root itself."""
    lq: str
    """Folder of the low quality below the root; if it does not exist, frames are reduced from the ground truth."""
    scoring: Scoring
    """Rules of scoring: which pixels and frames are compared."""
    padding: str
    """Way to fill in missing frames at the ends of a clip, one of timeline.PADDINGS."""
    source: str
    """Name of the project that scores in this way."""
    clips: tuple[str, ...] = ()
    """Names of all clips of the benchmark; () if it consists of whatever clips are in the folder."""
    clip_list: str = ""
    """Path below the root of a file that lists all clips, one per line."""
    scale: int = 4
    """Factor by which the ground truth is larger than the low quality."""

    def find(self, root: Path, lq: Path | None = None) -> PairPaths:
        """Finds the clips of the data set that exist below a folder.

        Args:
            root: folder of the data set.
            lq: another folder of low-quality clips, such as the results of a first stage.

        Returns:
            Paths of ground truth and low quality by the clip's name.

        Raises:
            FileNotFoundError: if the root does not exist, or none of the clips does.
            ValueError: if a clip has no low quality.
        """
        if not root.is_dir():
            raise FileNotFoundError(f"there is no folder {root}")
        gt = root / self.gt if (root / self.gt).is_dir() else root
        if lq is None and (root / self.lq).is_dir():
            lq = root / self.lq
        if lq is None and self.scale == 1:
            raise FileNotFoundError(f"the input is missing: there is no folder {root / self.lq}")
        names = self.names(root)
        if not names:
            return find_pairs(gt, lq)
        found = [name for name in names if (gt / name).is_dir()]
        if not found:
            raise FileNotFoundError(f"none of the clips {', '.join(names[:4])} is in {gt}")
        lacking = next((name for name in found if lq and not (lq / name).is_dir()), None)
        if lacking:
            raise ValueError(f"clip {lacking} is in {gt} but not in {lq}")
        return {name: (gt / name, lq and lq / name) for name in found}

    def names(self, root: Path) -> tuple[str, ...]:
        """Returns the names of all clips of the data set, even if they do not exist; () if the data set has no fixed list.

        Raises:
            FileNotFoundError: if the list that comes with the data set is missing.
        """
        if not self.clip_list:
            return self.clips
        path = root / self.clip_list
        if not path.is_file():
            raise FileNotFoundError(f"the list of clips {path} is missing; it comes with the data set")
        return tuple(path.read_text().split())


VID4 = ("calendar", "city", "foliage", "walk")
REDS4 = ("000", "011", "015", "020")
RGB, Y = Scoring(), Scoring(y_channel=True)
BASICSR = "BasicSR, docs/ModelZoo.md"

BENCHMARKS = {
    "vid4": Benchmark("GT", "BIx4", Y, "reflection_circle", BASICSR, VID4),
    "reds4": Benchmark("train_sharp", "train_sharp_bicubic/X4", RGB, "reflection_circle", BASICSR, REDS4),
    "reds4-blur-bicubic": Benchmark("train_sharp", "train_blur_bicubic/X4", RGB, "replicate", BASICSR, REDS4),
    "reds4-blur": Benchmark("train_sharp", "train_blur", RGB, "replicate", BASICSR, REDS4, scale=1),
    "reds4-blur-comp": Benchmark("train_sharp", "train_blur_comp", RGB, "replicate", BASICSR, REDS4, scale=1),
    "vimeo90k-t": Benchmark(
        "sequences",
        "BIx4",
        Scoring(y_channel=True, left_out=(3, 3)),  # of the frames im1 to im7 only im4 counts
        "reflection_circle",
        "mmagic, configs/basicvsr",
        clip_list="sep_testlist.txt",
    ),
    "spmcs": Benchmark("GT", "BIx4", Y, "reflection_circle", "as Vid4; papers differ"),
    "udm10": Benchmark("GT", "BIx4", Y, "reflection_circle", "mmagic, configs/basicvsr"),
}
"""The benchmarks by name.

Layouts are as distributed: REDS and Vimeo-90K as their archives unpack; the others as a folder GT of clips, and BIx4 beside it.

The clips of reds4 are those on which EDVR was tested; they were taken out of the training set of REDS.
"""
