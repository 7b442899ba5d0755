"""Compares one network that enlarges 4 times with two networks in a chain that take as many operations.

    OMP_NUM_THREADS=1 python -m benchmarks.quality.cascade --root data --test DAVIS=davis --output runs/cascade

The three ways to enlarge 4 times:
- "x4 at once": one network;
- "x2 and x2 again": a network that enlarges twice, and another one that enlarges its result twice;
- "x1, then x4": a network that keeps the size restores the small frames, and another one enlarges its result 4 times. The first
  one gives the small frame plus a residual, as every EDVR of scale 1 does.

What is the same for all three, so that the way is what differs:
- Multiply-accumulates of all convolutions for one restored frame, to 3 % (see `gmacs`). Features of a frame count once in each
  stage, because the engine keeps them for the next windows. All layers cost about the same in all networks: where features are
  twice as wide and high, there are half as many channels (64 at a quarter of the size, where a network of scale 1 works; 16;
  8). The budget is met by the number of residual blocks.
- The five source frames of a result: a network alone has a window of 5 frames, two in a chain have windows of 3.
- Training: a chain is trained as a whole, from its source frames to the loss of its last result; a first stage that keeps the
  small size could not be trained alone, because the small frames are all the truth there is at their size. Data, order of the
  samples, batch, number of iterations, learning rates and loss are those of every training with the same seed.

First weights are random, but a stage of scale 1 begins as every such preset does (vsedvr.train.carry). Each way is trained with
several seeds, which decide first weights and samples. The result is the moving average of the weights; nothing is chosen by
the test clips. It runs in the engine, in float32: results between two stages are clamped to [0, 1] and not rounded.

PSNR is that of luma, on the first --frames frames of each clip (at least 5) without two at either end, whose windows would
reach beyond the clip. Seconds are CPU time of one thread: of the steps of a training (without the preparation of samples, which
is the same for all), and of the engine for a frame of 180x144.

Finished trainings are not repeated. The table is written to cascade.md beside this script.
"""

import argparse
import functools
import itertools
import json
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.quality.trainings import mean_psnr, open_test, training_options
from benchmarks.timing import medians
from vsedvr import EDVR, EDVRConfig, load_model
from vsedvr.atomic import write_whole
from vsedvr.data.pairs import ClipPair
from vsedvr.evaluation.complexity import measure_complexity
from vsedvr.evaluation.pair_restorer import PairRestorer, baseline
from vsedvr.evaluation.table import markdown_table
from vsedvr.infer import build_stages, in_stages
from vsedvr.model.pcd import FrameFeatures
from vsedvr.ops.findings import processor
from vsedvr.train.carry import carry_pixels
from vsedvr.train.dataset import TrainingData
from vsedvr.train.learner import Learner
from vsedvr.train.loader import open_batches
from vsedvr.train.preset import Preset, read_preset
from vsedvr.train.processes import Processes
from vsedvr.train.state import save_model

CPU = torch.device("cpu")
TABLE = Path(__file__).with_suffix(".md")
WIDTH, HEIGHT = 180, 144
"""Size in pixels of the small frame for which operations are counted and seconds measured: Vid4's."""
PADDED = 2
"""Number of frames at either end of a clip whose windows reach beyond it."""


def stage_config(scale: int, num_feat: int, num_frame: int, blocks: int) -> EDVRConfig:
    """Returns the configuration of one network, with what is the same in all of them."""
    return EDVRConfig(
        scale=scale,
        num_feat=num_feat,
        num_frame=num_frame,
        deformable_groups=2,
        num_extract_block=1,
        num_reconstruct_block=blocks,
        num_tail_feat=min(num_feat, 16),
    )


ONCE = "x4 at once"
WAYS = {
    ONCE: (stage_config(4, 16, 5, blocks=28),),
    "x2 and x2 again": (stage_config(2, 16, 3, blocks=6), stage_config(2, 8, 3, blocks=6)),
    "x1, then x4": (stage_config(1, 64, 3, blocks=6), stage_config(4, 16, 3, blocks=6)),
}
"""Networks of each way, in the order in which they restore."""


ALONE = Processes(0, 1, CPU)
logger = logging.getLogger("vsedvr")

Key = tuple[str, int]
"""A training: the name of the way, and the seed."""


class Trained(NamedTuple):
    """The finished training of a way with one seed."""

    stages: list[EDVR]
    seconds: float
    """CPU time of the training's steps."""


class Chain(nn.Module):
    """One network, or two of which the second one restores results of the first, in a form that can be trained as a whole."""

    def __init__(self, stages: Sequence[EDVR]) -> None:
        super().__init__()
        self.stages: Sequence[EDVR] = nn.ModuleList(stages)  # type: ignore[assignment]

    def forward(self, lq: Tensor) -> Tensor:
        """Restores the centre frame of lq, (b, frames, 3, h, w), which are as many frames as the result depends on."""
        first, *others = self.stages
        frames = restore_inner(first, lq.unbind(1))
        for stage in others:
            frames = restore_inner(stage, [frame.clamp(0, 1) for frame in frames])
        (restored,) = frames
        return restored


def restore_inner(model: EDVR, frames: Sequence[Tensor]) -> list[Tensor]:
    """Restores all frames whose windows are within the given ones; features of each frame are computed once."""
    features = [model.extract(frame) for frame in frames]
    center, length = model.config.center, model.config.num_frame

    def restore(window: Sequence[FrameFeatures], frame: Tensor) -> Tensor:
        return model.reconstruct(model.fuse([model.align(nbr, window[center]) for nbr in window]), frame)

    return [restore(features[n : n + length], frames[n + center]) for n in range(len(frames) - length + 1)]


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    trained = {(way, seed): train(way, seed, args) for seed in range(args.seeds) for way in WAYS}
    tests = dict(open_test(test, args.output / "cache", args.frames) for test in args.test)
    psnr = {test: {key: measure(each.stages, pairs) for key, each in trained.items()} for test, pairs in tests.items()}
    before = {test: mean_psnr(baseline, pairs, PADDED) for test, pairs in tests.items()}
    write_whole(args.table, page(trained, psnr, before, args))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_options(__doc__, TABLE, frames=9)
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings of each way")
    return parser.parse_args(argv)


def new_stages(way: str, seed: int) -> list[EDVR]:
    """Makes the untrained networks of a way; the seed decides their weights."""
    torch.manual_seed(seed)
    stages = [EDVR(config) for config in WAYS[way]]
    for stage in stages:
        if stage.config.scale == 1:
            carry_pixels(stage)
    return stages


def train(way: str, seed: int, args: argparse.Namespace) -> Trained:
    """Trains the networks of a way, unless this was done before."""
    output = args.output / f"{way.replace(' ', '_').replace(',', '')}_{args.iterations}_{seed}"
    stages = new_stages(way, seed)
    paths = [output / f"stage{n}.safetensors" for n in range(1, len(stages) + 1)]
    finished = output / "seconds.json"
    if finished.exists():
        return Trained([load_model(path) for path in paths], json.loads(finished.read_text()))
    preset = training_preset(seed, args)
    learner = Learner(Chain(stages), preset.train, ALONE)  # type: ignore[arg-type]  # what it needs of an EDVR, a Chain has
    seconds = teach(learner, TrainingData(preset, args.root, args.output / "cache"), f"{way}, seed {seed}")
    output.mkdir(parents=True, exist_ok=True)
    averaged: Chain = learner.ema  # type: ignore[assignment]
    for path, stage in zip(paths, averaged.stages, strict=True):
        save_model(path, stage, {"preset": preset.as_dict(), "way": way})
    write_whole(finished, json.dumps(seconds))
    return Trained([load_model(path) for path in paths], seconds)


def training_preset(seed: int, args: argparse.Namespace) -> Preset:
    """Returns the preset `small` with the budget of this comparison. Of its network samples need window and scale only."""
    budget = (f"iterations={args.iterations}", f"periods=[{args.iterations}]", "batch=4", "precision='fp32'", "workers=0")
    return read_preset("small", [*(f"train.{each}" for each in budget), f"train.seed={seed}", *args.set])


def teach(learner: Learner, data: TrainingData, name: str) -> float:
    """Trains for all iterations; returns the CPU time of the steps in seconds."""
    seconds = 0.0
    with open_batches(data, learner.config, ALONE, 0) as batches:
        for lq, gt in batches:
            begin = time.process_time()
            loss = learner.step(lq, gt)
            seconds += time.process_time() - begin
            if learner.iteration % learner.config.log_every == 0:
                logger.info("%s: iteration %d, loss %.4f, %.0f s", name, learner.iteration, loss, seconds)
    return seconds


def measure(stages: Sequence[EDVR], pairs: Sequence[ClipPair]) -> float:
    """Returns the PSNR in dB that one network reaches, or two in a chain."""
    first, *others = stages
    return mean_psnr(PairRestorer(first, CPU, torch.float32, refine=others[0] if others else None), pairs, PADDED)


def gmacs(stages: Sequence[EDVR]) -> float:
    """Returns 10^9 multiply-accumulates that one more frame of a clip takes: features of one frame in each stage."""
    total, factor = 0, 1
    for stage in stages:
        counted = measure_complexity(stage, factor * HEIGHT, factor * WIDTH)
        total += counted.macs - counted.extract + counted.extract // stage.config.num_frame
        factor *= stage.config.scale
    return total / 1e9


def millions(stages: Sequence[EDVR]) -> float:
    """Returns the number of parameters of all stages together, in millions."""
    return sum(parameter.numel() for stage in stages for parameter in stage.parameters()) / 1e6


def next_frame(stages: Sequence[EDVR]) -> Callable[[], Tensor]:
    """Returns a function that restores the next frame of an endless clip of noise, each time it is called."""
    frames = torch.rand(8, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    windows = [functools.partial(window_of, stage.config) for stage in stages]
    engines = build_stages(stages, CPU, torch.float32, (HEIGHT, WIDTH))
    restore = in_stages(engines, windows, lambda n: frames[n % len(frames)])
    numbers = itertools.count(PADDED)
    return lambda: restore(next(numbers))


def window_of(config: EDVRConfig, n: int) -> Sequence[int]:
    """Returns the numbers of the frames that frame n is restored from, where no end of the clip is near."""
    return range(n - config.center, n - config.center + config.num_frame)


def page(
    trained: Mapping[Key, Trained],
    psnr: Mapping[str, Mapping[Key, float]],
    before: Mapping[str, float],
    args: argparse.Namespace,
) -> str:
    """Returns the Markdown page with the tables: what was measured, and how to measure it again."""
    seeds = range(args.seeds)
    frame_seconds = medians({way: next_frame(trained[way, 0].stages) for way in WAYS}, 9, clock=time.process_time)
    rows = [["bicubic", *(f"{value:.2f}" for value in before.values()), "", "", "", ""]]
    for way in WAYS:
        stages = trained[way, 0].stages
        reached = [spread([psnr[test][way, seed] for seed in seeds]) for test in psnr]
        seconds = statistics.mean(trained[way, seed].seconds for seed in seeds)
        size = [f"{millions(stages):.2f}", f"{gmacs(stages):.2f}"]
        rows.append([way, *reached, *size, f"{frame_seconds[way]:.3f}", f"{seconds:.0f}"])
    by_seed = [[way, test, *(with_gain(way, seed, psnr[test]) for seed in seeds)] for test in psnr for way in WAYS]
    head = ["way", *psnr, "M parameters", "GMACs", "seconds a frame", "seconds of training"]
    changes = "".join(f" --set {change}" for change in args.set)
    return f"""# x4 at once, or in two stages
{args.seeds} trainings of each way, with {args.iterations} iterations of 4 samples each. PSNR of luma in dB on frames {PADDED}
to {args.frames - PADDED - 1} of each clip, bicubic x4: mean over the trainings ± their standard deviation. GMACs of a frame of
{WIDTH}x{HEIGHT}, with the features of one frame in each stage. Seconds are CPU time of one thread, {processor()}. The
docstring of cascade.py tells what is the same for all ways. By:
`OMP_NUM_THREADS=1 python -m benchmarks.quality.cascade --iterations {args.iterations} --frames {args.frames}{changes}`
(with --root, --test and --output).

{markdown_table([head, *rows])}

Each training by itself: the seed decides first weights and samples; in brackets the gain over {ONCE} with the same seed.

{markdown_table([["way", "clips", *(f"seed {seed}" for seed in seeds)], *by_seed])}
"""


def with_gain(way: str, seed: int, psnr: Mapping[Key, float]) -> str:
    """Returns a cell with the PSNR of one training, and its gain over x4 at once with the same seed."""
    value, gain = psnr[way, seed], psnr[way, seed] - psnr[ONCE, seed]
    return f"{value:.2f}" if way == ONCE else f"{value:.2f} ({gain:+.2f})"


def spread(values: Sequence[float]) -> str:
    """Returns a cell with the mean and the standard deviation of several trainings' results."""
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values) if len(values) > 1 else 0:.2f}"


if __name__ == "__main__":
    main()
