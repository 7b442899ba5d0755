"""Published scores on the benchmarks, to compare with measured ones.

It has only figures whose source can be looked up: a table in a paper or in a project's documentation. Figures of the EDVR paper
are listed only if a second source or a measurement of ours confirms them.
"""

from collections.abc import Mapping
from typing import NamedTuple

from vsedvr.evaluation.benchmarks import REDS4, VID4
from vsedvr.evaluation.scoring import Score

__all__ = ["PUBLISHED", "Published"]


class Published(NamedTuple):
    """Published scores of a method on a benchmark."""

    method: str
    mean: Score
    """Mean score over all clips of the benchmark."""
    source: str
    """Publication in which the scores are found."""
    clips: Mapping[str, Score] = {}
    """Scores of single clips, if they were published."""


def _scores(clips: tuple[str, ...], text: str) -> dict[str, Score]:
    """Reads the scores of clips from a text that lists PSNR/SSIM of each clip in order."""
    pairs = (entry.split("/") for entry in text.split())
    return {clip: Score(float(psnr), float(ssim)) for clip, (psnr, ssim) in zip(clips, pairs, strict=True)}


BASICSR = "BasicSR, docs/ModelZoo.md"
EVTEXTURE = "EvTexture (Kai et al. 2024), table 1"
SEECLEAR = "SeeClear (Tang et al. 2024), table 1"
TTVSR = "TTVSR (Liu et al. 2022), table of REDS4"
MMAGIC = "mmagic, configs/{}/README.md"

PUBLISHED: dict[str, list[Published]] = {
    "vid4": [
        # City and foliage are left out, because `vsedvr eval vid4` did not confirm the paper's figures for these two
        Published(
            "Bicubic",
            Score(23.78, 0.6347),
            f"EDVR (Wang et al. 2019); mean: {SEECLEAR}",
            _scores(("calendar", "walk"), "20.39/0.5720 26.10/0.7974"),
        ),
        Published("TOFlow", Score(25.89, 0.7651), BASICSR),
        Published("EDVR-M", Score(27.10, 0.8186), SEECLEAR),
        Published("EDVR-L", Score(27.35, 0.8264), BASICSR),
        Published(
            "EDVR-L, run again",
            Score(27.30, 0.8242),
            EVTEXTURE,
            _scores(VID4, "23.98/0.8143 27.83/0.8112 26.34/0.7560 31.06/0.9153"),
        ),
        Published("BasicVSR", Score(27.28, 0.8248), MMAGIC.format("basicvsr")),
        Published("IconVSR", Score(27.42, 0.8297), MMAGIC.format("iconvsr")),
        Published("BasicVSR++", Score(27.79, 0.8401), MMAGIC.format("basicvsr_pp")),
    ],
    "reds4": [
        Published("Bicubic", Score(26.14, 0.7292), SEECLEAR),
        Published("DUF", Score(28.63, 0.8251), TTVSR),
        Published("EDVR-M", Score(30.53, 0.8699), BASICSR),
        Published("EDVR-L", Score(31.09, 0.8800), TTVSR, _scores(REDS4, "28.01/0.8250 32.17/0.8864 34.06/0.9206 30.09/0.8881")),
        Published("MuCAN", Score(30.88, 0.8750), TTVSR, _scores(REDS4, "27.99/0.8219 31.84/0.8801 33.90/0.9170 29.78/0.8811")),
        Published(
            "BasicVSR", Score(31.42, 0.8909), TTVSR, _scores(REDS4, "28.39/0.8429 32.46/0.8975 34.22/0.9237 30.60/0.8996")
        ),
        Published("IconVSR", Score(31.67, 0.8948), TTVSR),  # the published scores of its clips have another mean
        Published("BasicVSR++", Score(32.39, 0.9069), EVTEXTURE),
    ],
    "reds4-blur-bicubic": [Published("EDVR-L", Score(28.88, 0.8361), BASICSR)],
    "reds4-blur": [Published("EDVR-L", Score(34.80, 0.9487), BASICSR)],
    "reds4-blur-comp": [Published("EDVR-L", Score(30.24, 0.8567), BASICSR)],
    "vimeo90k-t": [
        Published("EDVR-L", Score(37.61, 0.9489), EVTEXTURE),
        Published("BasicVSR", Score(37.18, 0.9450), EVTEXTURE),
        Published("IconVSR", Score(37.47, 0.9476), EVTEXTURE),
        Published("BasicVSR++", Score(37.79, 0.9500), EVTEXTURE),
    ],
}
