from pathlib import Path

import numpy as np
import pytest
import torch
from videos import write_rgb

from conftest import MemoryClip, moving_frames, random_model, write_frames
from vsedvr.compare.metrics import MAX_PSNR
from vsedvr.data.clip import Frame, open_clip
from vsedvr.data.pairs import ClipPair, to_tensor
from vsedvr.evaluation.evaluate import evaluate, evaluate_clip, mean_score, open_pairs
from vsedvr.evaluation.pair_restorer import PairRestorer, baseline
from vsedvr.evaluation.scoring import Score, Scoring, Temporal
from vsedvr.infer import clip_windows
from vsedvr.model import EDVR, EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
CPU = torch.device("cpu")


def pair_of(num_frames: int = 7, scene_starts: tuple[int, ...] = (0,), name: str = "clip", first: int = 0) -> ClipPair:
    frames = moving_frames(first + num_frames, 48, 64)[first:]
    lq = MemoryClip((frame[::4, ::4].copy() for frame in frames), scene_starts)
    return ClipPair(name, MemoryClip(frames), lq, 4, num_frames)


def restorer(model: EDVR, **options: str | tuple[int, int]) -> PairRestorer:
    return PairRestorer(model, CPU, torch.float32, **options)  # type: ignore[arg-type]


def by_the_network(model: EDVR, pair: ClipPair, indices: list[int]) -> Frame:
    """Restores the whole window with the network, in 8 bits."""
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
    assert restore.running.engines[0].tiling
    assert restore.running.engines[0].tiling.tile == (8, 8)


def test_scores_are_those_of_the_restored_frames() -> None:
    pair, scoring = pair_of(), Scoring(y_channel=True, border=2, left_out=(2, 1))
    seen: list[int] = []
    scores = evaluate_clip(baseline, pair, scoring, on_frame=lambda pair, n, restored: seen.append(n))
    assert list(scores) == seen == [2, 3, 4, 5]
    assert scores[4] == scoring.measure(baseline(pair, 4), pair.gt_frame(4))


def test_the_baseline_of_equal_sizes_is_the_input() -> None:
    frames = MemoryClip(moving_frames(2, 16, 16))
    pair = ClipPair("clip", frames, frames, 1, 2)
    assert baseline(pair, 1) is frames[1]
    assert evaluate(baseline, [pair], Scoring())["clip"][0].psnr == MAX_PSNR


def test_means_are_over_clips_whatever_their_lengths() -> None:
    assert mean_score([Score(20, 0.5), Score(30, 0.7)]) == pytest.approx(Score(25, 0.6))


def test_the_mean_of_temporal_consistency_is_over_what_has_one() -> None:
    scores = [Score(20, 0.5), Score(30, 0.7, Temporal(0.5, 0.01, 0.02)), Score(31, 0.9, Temporal(1.5, 0.03, 0.02))]
    assert mean_score(scores).temporal == pytest.approx(Temporal(1, 0.02, 0.02))
    assert mean_score(scores).psnr == 27
    assert mean_score(scores[:1]).temporal is None


def test_saved_frames_are_the_restored_ones_and_all_of_them(tmp_path: Path) -> None:
    pair = pair_of(name="a/walk")
    restored: dict[int, Frame] = {}
    evaluate_clip(
        baseline, pair, Scoring(left_out=(3, 3)), tmp_path / "save/bicubic", lambda _, n, frame: restored.update({n: frame})
    )
    saved = open_clip(tmp_path / "save/bicubic/a/walk", tmp_path)
    assert [path.name for path in sorted((tmp_path / "save/bicubic/a/walk").iterdir())][-1] == "00000006.png"
    assert len(saved) == len(restored) == 7
    for n in range(7):
        np.testing.assert_array_equal(saved[n], restored[n])
    with pytest.raises(FileExistsError, match="walk exists already"):
        evaluate(baseline, [pair], Scoring(), tmp_path / "save/bicubic")


def test_an_interrupted_clip_is_not_there(tmp_path: Path) -> None:
    def interrupted(pair: ClipPair, n: int) -> Frame:
        if pair.name == "second" and n == 3:
            raise KeyboardInterrupt
        assert [path.name for path in (tmp_path / "save").rglob("*.png") if "second" in path.parts] == []
        return baseline(pair, n)

    with pytest.raises(KeyboardInterrupt):
        evaluate(interrupted, [pair_of(name="first"), pair_of(name="second")], Scoring(), tmp_path / "save/x")
    assert [path.name for path in (tmp_path / "save/x").iterdir()] == ["first"]
    assert len(list((tmp_path / "save/x/first").iterdir())) == 7
    assert [path.name for path in (tmp_path / "save").iterdir()] == ["x"]


def test_reducing_happens_on_the_way(tmp_path: Path) -> None:
    write_frames(tmp_path / "gt", moving_frames(3, 48, 64))
    pair = ClipPair("gt", open_clip(tmp_path / "gt", tmp_path), None, 4, 3)
    assert restorer(random_model(X4))(pair, 1).shape == (48, 64, 3)


def test_all_clips_are_checked_before_anything_is_restored(tmp_path: Path) -> None:
    frames = moving_frames(4, 48, 64)
    write_frames(tmp_path / "good", frames)
    write_frames(tmp_path / "odd", [*frames[:3], frames[3][:40]])
    write_frames(tmp_path / "short", frames[:1])
    write_frames(tmp_path / "tiny", [frame[:8] for frame in frames])
    (tmp_path / "none").mkdir()
    names: list[str] = []
    paths = {name: (tmp_path / name, None) for name in ("good", "odd", "short", "tiny", "none", "missing")}
    with pytest.raises(ValueError, match=r"^5 of 6 clips cannot be used:\n") as error:
        open_pairs(paths, Scoring(left_out=(1, 0)), 4, on_clip=names.append)
    assert names == list(paths)
    reasons = ("clip odd: frame 3 (", "clip short: of 1 frames", "clip tiny: a picture of 64x8", "no pictures", "there is no")
    for line, reason in zip(str(error.value).splitlines()[1:], reasons, strict=True):
        assert line.startswith(reason)
    (pair,) = open_pairs({"good": paths["good"]}, Scoring(left_out=(1, 0)), 4)
    assert pair.num_frames == 4
    with pytest.raises(ValueError, match=r"^clip odd: frame 3"):
        open_pairs({name: paths[name] for name in ("good", "odd")}, Scoring(), 4)
    assert len(open_pairs({name: paths[name] for name in ("good", "odd")}, Scoring(), 4, 3)) == 2


def test_videos_are_streamed_through_the_windows(tmp_path: Path) -> None:
    """Evaluating a video, with a cut at which windows end, gives the same as its frames in memory."""
    frames = [*moving_frames(6, 48, 64), *(255 - frame for frame in moving_frames(6, 48, 64, (2, 0)))]
    path = write_rgb(tmp_path / "film.mkv", frames, "ffv1", {"g": "4"}, "bgr0")
    (streamed,) = open_pairs({"film": (path, None)}, Scoring(), 4)
    in_memory = ClipPair("film", MemoryClip(frames, [0, 6]), None, 4, 12)
    model = random_model(X4)
    scores = [evaluate_clip(restorer(model), pair, Scoring()) for pair in (streamed, in_memory)]
    assert scores[0] == scores[1]
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]
