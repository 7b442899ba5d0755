from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import MemoryClip, moving_frames, random_model, write_frames
from vsedvr.data.clip import Frame, open_clip
from vsedvr.data.pairs import Pair, to_tensor
from vsedvr.evaluation.evaluate import Restorer, baseline, evaluate, mean_score
from vsedvr.evaluation.metrics import MAX_PSNR, Protocol, Score
from vsedvr.infer import clip_windows
from vsedvr.model import EDVR, EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
CPU = torch.device("cpu")


def pair_of(num_frames: int = 7, scene_starts: tuple[int, ...] = (0,), name: str = "clip", first: int = 0) -> Pair:
    frames = moving_frames(first + num_frames, 48, 64)[first:]
    lq = MemoryClip((frame[::4, ::4].copy() for frame in frames), scene_starts)
    return Pair(name, MemoryClip(frames), lq, 4, num_frames)


def restorer(model: EDVR, **options: str | tuple[int, int]) -> Restorer:
    return Restorer(model, CPU, torch.float32, **options)  # type: ignore[arg-type]


def by_the_network(model: EDVR, pair: Pair, indices: list[int]) -> Frame:
    """The whole window through the network, in 8 bits."""
    lq = torch.stack([to_tensor(pair.lq_frame(i)) for i in indices])[None]
    with torch.inference_mode():
        restored = model(lq)[0].clamp(0, 1)
    return np.rint(restored.permute(1, 2, 0).numpy() * 255).astype(np.uint8)


@pytest.mark.parametrize("padding", [None, "replicate"])
def test_frames_are_those_of_the_network_on_whole_windows(padding: str | None) -> None:
    model, pair = random_model(X4), pair_of()
    restore = restorer(model, padding=padding or "reflection_circle")
    for n in range(pair.num_frames):
        expected = by_the_network(model, pair, clip_windows(X4, 7, padding).indices(n))
        assert abs(restore(pair, n).astype(int) - expected).max() <= 1
    if padding is None:
        assert (restorer(model)(pair, 0) == restore(pair, 0)).all(), "the default is what published models are tested with"
        assert (restorer(model, padding="replicate")(pair, 0) != restore(pair, 0)).any()


def test_a_clip_does_not_depend_on_the_one_before() -> None:
    model = random_model(X4)
    restore, pairs = restorer(model), [pair_of(name="a"), pair_of(name="b", first=5), pair_of(3, name="c", first=2)]
    for pair in pairs:
        fresh = restorer(model)
        for n in range(pair.num_frames):
            np.testing.assert_array_equal(restore(pair, n), fresh(pair, n))


def test_windows_stay_within_a_scene() -> None:
    model, pair = random_model(X4), pair_of(scene_starts=(0, 3))
    expected = by_the_network(model, pair, [3, 3, 3, 4, 5])
    assert abs(restorer(model)(pair, 3).astype(int) - expected).max() <= 1


def test_tiles_are_what_was_asked_for() -> None:
    model, pair = random_model(X4), pair_of()
    restore = restorer(model, tile=(8, 8))
    restore(pair, 2)
    assert restore.running
    assert restore.running.engine.tiling
    assert restore.running.engine.tiling.tile == (8, 8)


def test_scores_are_those_of_the_restored_frames() -> None:
    pair, protocol = pair_of(), Protocol(y_channel=True, border=2, left_out=(2, 1))
    seen: list[int] = []
    scores = evaluate(baseline, [pair], protocol, on_frame=lambda pair, n, restored: seen.append(n))
    assert list(scores["clip"]) == seen == [2, 3, 4, 5]
    assert scores["clip"][4] == protocol.measure(baseline(pair, 4), pair.gt_frame(4))


def test_the_baseline_of_equal_sizes_is_the_input() -> None:
    frames = MemoryClip(moving_frames(2, 16, 16))
    pair = Pair("clip", frames, frames, 1, 2)
    assert baseline(pair, 1) is frames[1]
    assert evaluate(baseline, [pair], Protocol())["clip"][0].psnr == MAX_PSNR


def test_means_are_over_clips_whatever_their_lengths() -> None:
    assert mean_score([Score(20, 0.5), Score(30, 0.7)]) == pytest.approx((25, 0.6))


def test_saved_frames_are_the_restored_ones_and_all_of_them(tmp_path: Path) -> None:
    pair = pair_of(name="a/walk")
    restored: dict[int, Frame] = {}
    evaluate(
        baseline, [pair], Protocol(left_out=(3, 3)), tmp_path / "save/bicubic", lambda _, n, frame: restored.update({n: frame})
    )
    saved = open_clip(tmp_path / "save/bicubic/a/walk", tmp_path)
    assert [path.name for path in sorted((tmp_path / "save/bicubic/a/walk").iterdir())][-1] == "00000006.png"
    assert len(saved) == len(restored) == 7
    for n in range(7):
        np.testing.assert_array_equal(saved[n], restored[n])
    with pytest.raises(FileExistsError, match="walk exists already"):
        evaluate(baseline, [pair], Protocol(), tmp_path / "save/bicubic")


def test_an_interrupted_clip_is_not_there(tmp_path: Path) -> None:
    def interrupted(pair: Pair, n: int) -> Frame:
        if pair.name == "second" and n == 3:
            raise KeyboardInterrupt
        assert [path.name for path in (tmp_path / "save").rglob("*.png") if "second" in path.parts] == []
        return baseline(pair, n)

    with pytest.raises(KeyboardInterrupt):
        evaluate(interrupted, [pair_of(name="first"), pair_of(name="second")], Protocol(), tmp_path / "save/x")
    assert [path.name for path in (tmp_path / "save/x").iterdir()] == ["first"]
    assert len(list((tmp_path / "save/x/first").iterdir())) == 7
    assert [path.name for path in (tmp_path / "save").iterdir()] == ["x"]


def test_reducing_happens_on_the_way(tmp_path: Path) -> None:
    write_frames(tmp_path / "gt", moving_frames(3, 48, 64))
    pair = Pair("gt", open_clip(tmp_path / "gt", tmp_path), None, 4, 3)
    assert restorer(random_model(X4))(pair, 1).shape == (48, 64, 3)
