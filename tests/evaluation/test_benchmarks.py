from pathlib import Path

import pytest

from conftest import moving_frames, write_frames
from vsedvr.evaluation.benchmarks import BENCHMARKS
from vsedvr.timeline import PADDINGS


def clip(folder: Path) -> Path:
    write_frames(folder, moving_frames(1, 12, 12))
    return folder


def test_vid4_as_far_as_it_is_there(tmp_path: Path) -> None:
    for name in ("walk", "calendar", "another"):
        clip(tmp_path / "GT" / name)
        clip(tmp_path / "BIx4" / name)
    found = BENCHMARKS["vid4"].find(tmp_path)
    assert found == {name: (tmp_path / "GT" / name, tmp_path / "BIx4" / name) for name in ("calendar", "walk")}
    (tmp_path / "BIx4/walk/00000000.png").unlink()
    (tmp_path / "BIx4/walk").rmdir()
    with pytest.raises(ValueError, match=r"clip walk is in .*GT but not in .*BIx4"):
        BENCHMARKS["vid4"].find(tmp_path)


def test_reds_as_distributed_gives_the_four_test_clips(tmp_path: Path) -> None:
    for name in ("000", "001", "011", "015", "020"):
        for folder in ("train_sharp", "train_sharp_bicubic/X4", "train_blur"):
            clip(tmp_path / folder / name)
    found = BENCHMARKS["reds4"].find(tmp_path)
    assert list(found) == ["000", "011", "015", "020"]
    assert found["011"] == (tmp_path / "train_sharp/011", tmp_path / "train_sharp_bicubic/X4/011")
    assert BENCHMARKS["reds4-blur"].find(tmp_path)["000"][1] == tmp_path / "train_blur/000"
    assert BENCHMARKS["reds4-blur-bicubic"].find(tmp_path)["000"][1] is None, "reduced where it is absent"
    with pytest.raises(FileNotFoundError, match="train_blur_comp"):
        BENCHMARKS["reds4-blur-comp"].find(tmp_path)


def test_vimeo_takes_the_clips_of_its_list_and_only_im4(tmp_path: Path) -> None:
    vimeo = BENCHMARKS["vimeo90k-t"]
    for name in ("00001/0001", "00001/0266", "00002/0003"):
        clip(tmp_path / "sequences" / name)
    with pytest.raises(FileNotFoundError, match=r"sep_testlist\.txt is missing"):
        vimeo.find(tmp_path)
    (tmp_path / "sep_testlist.txt").write_text("00001/0266\n00002/0003\n\n")
    assert vimeo.find(tmp_path) == {name: (tmp_path / "sequences" / name, None) for name in ("00001/0266", "00002/0003")}
    assert list(vimeo.scoring.counted(7)) == [3]


def test_other_sets_are_folders_of_clips(tmp_path: Path) -> None:
    clip(tmp_path / "archpeople")
    assert BENCHMARKS["udm10"].find(tmp_path) == {"archpeople": (tmp_path / "archpeople", None)}


def test_the_results_of_a_first_stage_take_the_place_of_the_input(tmp_path: Path) -> None:
    clip(tmp_path / "GT/walk")
    clip(tmp_path / "stage1/walk")
    assert BENCHMARKS["vid4"].find(tmp_path, tmp_path / "stage1") == {"walk": (tmp_path / "GT/walk", tmp_path / "stage1/walk")}


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        BENCHMARKS["vid4"].find(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"none of the clips calendar, city, foliage, walk is in"):
        BENCHMARKS["vid4"].find(tmp_path)


def test_scoring_is_that_of_the_papers() -> None:
    """Vid4, Vimeo-90K-T and UDM10 are scored in luma, REDS4 in RGB, without leaving out a border."""
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.scoring.y_channel == (not name.startswith("reds4"))
        assert benchmark.scoring.border == 0
        assert benchmark.padding in PADDINGS
