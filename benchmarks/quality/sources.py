"""How clips become like the sources that people have, for the figures of `real`: blurred, with grain, compressed, or clean."""

from vsedvr.train.blur import Bicubic, GaussianBlur
from vsedvr.train.coding import Compression, Mpeg2
from vsedvr.train.degradation import Degradation
from vsedvr.train.noise import Grain

__all__ = ["CASES", "SCALE"]

SCALE = 2
"""How many times smaller than the truth the sources are."""
BEFORE = (GaussianBlur((0.6, 0.6)), Bicubic(SCALE), Grain((3, 3), (2, 2), (0.5, 0.5)))
"""What a source went through before it was compressed."""
CASES: dict[str, tuple[Degradation, ...]] = {
    "clean": (Bicubic(SCALE),),
    **{f"MPEG-2, q {q}": (*BEFORE, Mpeg2((q, q))) for q in (4, 8)},
    **{f"H.264, crf {crf}": (*BEFORE, Compression(crf=(crf, crf))) for crf in (23, 28)},
}
"""Names of the sources, and how they are made. They were fixed before `real` was trained."""
