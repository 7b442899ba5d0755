"""Measures how much alignment, fusion, depth, a second stage and training data contribute: the paper's table 4 for `small`.

    python -m benchmarks.quality.ablation --root data --test valid=data/valid --output runs/ablation

Every network is trained with the preset `small` on clips and stills below --root, for the same number of iterations, on the
same samples in the same order, and measured on the first frames of the clips of each --test. Finished trainings are not
repeated, and interrupted ones are resumed. The table is written to ablation.md beside this script.
"""

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.quality.trainings import mean_psnr, open_test, training_options
from vsedvr import EDVR
from vsedvr.atomic import write_whole
from vsedvr.data.clip import FrameFolder, find_clips
from vsedvr.data.pairs import ClipPair, open_pair
from vsedvr.evaluation.complexity import measure_complexity
from vsedvr.evaluation.evaluate import evaluate
from vsedvr.evaluation.pair_restorer import PairRestorer, Restore, baseline
from vsedvr.evaluation.scoring import Scoring
from vsedvr.evaluation.table import markdown_table
from vsedvr.model.blocks import SLOPE, DCNPack, lrelu, make_conv
from vsedvr.model.pcd import FrameFeatures
from vsedvr.train.dataset import TrainingData
from vsedvr.train.loop import Trainer
from vsedvr.train.preset import Preset, parse_preset, read_preset
from vsedvr.train.processes import Processes
from vsedvr.train.sources import find_scenes
from vsedvr.train.state import load_state

CPU = torch.device("cpu")
TABLE = Path(__file__).with_suffix(".md")
Y = Scoring(y_channel=True)


@dataclass(frozen=True)
class Variant:
    """One row of the table: a training that differs from that of the preset `small`."""

    name: str
    changes: tuple[str, ...] = ()
    """Changes to the preset, in the form that --set takes."""
    one_level: bool = False
    """Whether a single deformable convolution at full size replaces PCD."""


FULL = Variant("PCD, TSA")
VARIANTS = (
    Variant("one deformable convolution, no TSA", ("network.with_tsa=false",), one_level=True),
    Variant("PCD, no TSA", ("network.with_tsa=false",)),
    FULL,
    Variant("PCD, TSA, 5 reconstruction blocks", ("network.num_reconstruct_block=5",)),
    Variant("PCD, TSA, trained on clips only", ("data.stills=[]",)),
    Variant("PCD, TSA, trained on stills only", ("data.gt=[]",)),
)
SECOND_STAGE = Variant("two stages: PCD, TSA, then 5 blocks on its results")


class LeftOut(nn.Module):
    """Replaces a convolution and its LeakyReLU by the identity."""

    def forward(self, x: Tensor, slope: float = 1) -> Tensor:
        return x


class Halved(nn.Module):
    """Replaces a convolution with stride 2 and its LeakyReLU by the mean of each 2x2 positions."""

    def forward(self, x: Tensor, slope: float = 1) -> Tensor:
        return F.avg_pool2d(x, 2)


class OneLevelAlignment(nn.Module):
    """A single deformable convolution at full size: PCD without its pyramid and without its cascade."""

    def __init__(self, num_feat: int, deformable_groups: int) -> None:
        super().__init__()
        self.nbr_share = make_conv(num_feat, num_feat)
        self.ref_share = make_conv(num_feat, num_feat)
        self.offset_conv2 = make_conv(num_feat, num_feat)
        self.dcn_pack = DCNPack(num_feat, deformable_groups, SLOPE)

    def prepare(self, feat_l1: Tensor, feat_l2: Tensor, feat_l3: Tensor) -> FrameFeatures:
        return FrameFeatures((feat_l1,), (self.nbr_share(feat_l1),), (self.ref_share(feat_l1),), feat_l1.new_empty(0))

    def forward(self, nbr: FrameFeatures, ref: FrameFeatures) -> Tensor:
        offset = lrelu(self.offset_conv2(lrelu(nbr.offset_nbr[0] + ref.offset_ref[0])))
        return self.dcn_pack(nbr.feat[0], offset)


def main(argv: Sequence[str] | None = None) -> None:
    args = training_options(__doc__, TABLE, frames=5).parse_args(argv)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("vsedvr").setLevel(logging.INFO)
    tests = dict(open_test(test, args.output / "cache", args.frames) for test in args.test)
    models = {variant: train(variant, first_stage(variant, args), args) for variant in VARIANTS}
    rows = [["bicubic", "", "", *(measure(baseline, pairs) for pairs in tests.values())]]
    for variant, model in models.items():
        figures = [measure(PairRestorer(model, CPU, torch.float32), pairs) for pairs in tests.values()]
        rows.append([variant.name, *size(model), *figures])
    rows.append(two_stages(models[FULL], tests, args))
    write_whole(args.table, page(rows, list(tests), args))


def first_stage(variant: Variant, args: argparse.Namespace) -> Preset:
    """Returns the preset of a variant: `small` with the iterations and changes of the command line, and the variant's own."""
    budget = (f"train.iterations={args.iterations}", f"train.periods=[{args.iterations}]")
    return read_preset("small", [*budget, *args.set, *variant.changes])


def train(variant: Variant, preset: Preset, args: argparse.Namespace) -> EDVR:
    """Trains a network, or resumes its training; returns the network with the moving average of its weights."""
    output = args.output / "".join(c if c.isalnum() else "_" for c in variant.name)
    data = TrainingData(preset, args.root, args.output / "cache")
    torch.manual_seed(preset.train.seed)
    model = EDVR(preset.network)
    if variant.one_level:
        use_one_level(model)
    state = load_state(output / "last.pt") if (output / "last.pt").exists() else None
    trainer = Trainer(preset, data, output, Processes(0, 1, CPU), model=model, state=state)
    trainer.run()
    return trainer.learner.ema


def use_one_level(model: EDVR) -> None:
    """Replaces PCD by one deformable convolution. The upper levels, which are no longer used, get no weights."""
    model.pcd_align = OneLevelAlignment(model.config.num_feat, model.config.deformable_groups)  # type: ignore[assignment]
    for level in ("l2", "l3"):
        setattr(model, f"conv_{level}_1", Halved())
        setattr(model, f"conv_{level}_2", LeftOut())


def two_stages(first: EDVR, tests: dict[str, list[ClipPair]], args: argparse.Namespace) -> list[str]:
    """Trains a second network on results of the first one for the training clips; returns the row of both in a chain."""
    preset = first_stage(FULL, args)
    restore(first, training_clips(preset, args), args.output / "stage1" / "train")
    second = train(SECOND_STAGE, second_stage(preset, args.output / "stage1" / "train"), args)
    row = [SECOND_STAGE.name, *size(first, second)]
    for name, pairs in tests.items():
        results = restore(first, pairs, args.output / "stage1" / name)
        row.append(measure(PairRestorer(second, CPU, torch.float32), results))
    return row


def training_clips(preset: Preset, args: argparse.Namespace) -> list[ClipPair]:
    """Returns the clips that the preset trains on, named as pairs of data.gt and data.lq are."""
    cache = args.output / "cache"
    names = {str(path): name for folder in preset.data.gt for name, path in find_clips(args.root / folder).items()}
    clips = dict.fromkeys(scene.gt for scene in find_scenes(preset.data, preset.network, args.root, cache))
    return [open_pair(names[clip], (Path(clip), None), cache, 4, preset.data.max_frames) for clip in clips]


def restore(first: EDVR, pairs: Sequence[ClipPair], folder: Path) -> list[ClipPair]:
    """Restores clips with the first stage, unless this was done before; returns them with the results as low quality."""
    missing = [pair for pair in pairs if not (folder / pair.name).exists()]
    evaluate(PairRestorer(first, CPU, torch.float32), missing, Y, save=folder)
    return [dataclasses.replace(pair, lq=FrameFolder(folder / pair.name)) for pair in pairs]


def second_stage(preset: Preset, lq: Path) -> Preset:
    """Returns the preset of the second stage: 5 blocks, scale 1, and the folder of results as low quality."""
    tables = preset.as_dict()
    tables["network"] |= {"scale": 1, "num_reconstruct_block": 5}
    tables["data"] |= {"lq": [str(lq.absolute())], "stills": [], "reduce": 1}
    return parse_preset({**tables, "degradation": []})


def measure(restore: Restore, pairs: Sequence[ClipPair]) -> str:
    """Returns the cell of the table with the PSNR of luma in dB."""
    return f"{mean_psnr(restore, pairs):.2f}"


def size(first: EDVR, second: EDVR | None = None) -> list[str]:
    """Returns two cells of the table, for all stages: millions of parameters, and GMACs from a 180x144 to a 720x576 frame."""
    stages = [measure_complexity(first, 144, 180), *([measure_complexity(second, 576, 720)] if second else [])]
    return [f"{sum(stage.parameters for stage in stages) / 1e6:.2f}", f"{sum(stage.macs for stage in stages) / 1e9:.1f}"]


def page(rows: Sequence[Sequence[str]], tests: Sequence[str], args: argparse.Namespace) -> str:
    """Returns the Markdown page with the table: what was measured, and how to measure it again."""
    changes = "".join(f" --set {change}" for change in args.set)
    return f"""# Ablation
{args.iterations} iterations each of the preset `small`, on the same samples; PSNR of luma in dB on the first {args.frames}
frames of each clip, bicubic x4. GMACs for 180x144. So short a training tells which part helps early, not what it reaches. By:
`python -m benchmarks.quality.ablation --iterations {args.iterations} --frames {args.frames}{changes}`
(with --root, --test and --output).

{markdown_table([["network", "M parameters", "GMACs", *tests], *rows])}
"""


if __name__ == "__main__":
    main()
