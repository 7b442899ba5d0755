"""All presets of the package, and errors in presets."""

from pathlib import Path

import pytest

from vsedvr.model import EDVR, EDVRConfig
from vsedvr.train.blur import Bicubic
from vsedvr.train.noise import Noise
from vsedvr.train.preset import parse_preset, preset_names, read_preset

TEXT = """
[network]
num_feat = 8
deformable_groups = 2
[data]
gt = ["a", "b"]
patch = 64
interval = [1, 2]
[[degradation]]
kind = "bicubic"
[[degradation]]
kind = "noise"
sigma = [5, 10.5]
[train]
iterations = 10
periods = [4, 6]
restart_weights = [1, 0.5]
lr = 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_of_the_package_is_sound_and_survives_its_record(name: str) -> None:
    preset = read_preset(name)
    assert preset.name == name
    assert parse_preset(preset.as_dict()) == preset


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("edvr_m_x4_reds", 3_300_131), ("edvr_m_wotsa_x4_reds", 2_996_259), ("edvr_l_deblur_reds", 23_602_019)],
)
def test_the_papers_presets_build_the_published_networks(name: str, parameters: int) -> None:
    assert sum(value.numel() for value in EDVR(read_preset(name).network).parameters()) == parameters


def test_a_file_becomes_what_it_says_and_defaults(path: Path) -> None:
    preset = read_preset(str(path))
    assert preset.name == "mine"
    assert preset.network == EDVRConfig(num_feat=8, deformable_groups=2)
    assert preset.data.gt == ("a", "b")
    assert preset.degradation == (Bicubic(4), Noise((5.0, 10.5)))
    assert preset.train.lr == 1.0
    assert isinstance(preset.train.lr, float)
    assert preset.train.periods == (4, 6)
    assert preset.train.batch == 32
    assert parse_preset(preset.as_dict()) == preset


def test_changes_come_in_place_of_the_file(path: Path) -> None:
    changes = [
        "train.batch=4",
        "train.init= runs/a b.safetensors",
        "data.gt=['x', \"y\"]",
        "train.lr = 2e-4",
        "data.reverse=true",
    ]
    preset = read_preset(str(path), [*changes, "network.center_frame_idx=1", "train.betas=[0, 0.5]"])
    assert (preset.train.batch, preset.train.init, preset.train.lr) == (4, "runs/a b.safetensors", 2e-4)
    assert preset.data.gt == ("x", "y")
    assert preset.data.reverse is True
    assert preset.network.center_frame_idx == 1
    assert preset.train.betas == (0.0, 0.5)


def test_a_change_of_a_degradation_names_its_kind(path: Path) -> None:
    with path.open("a") as file:
        file.write("\n[[degradation]]\nkind = 'noise'\nsigma = [1, 2]\n")
    preset = read_preset(str(path), ["noise.sigma=[3, 4]"])
    assert preset.degradation == (Bicubic(4), Noise((3.0, 4.0)), Noise((3.0, 4.0)))


def test_a_change_of_a_degradation_of_the_ground_truth_names_its_kind_after_gt(path: Path) -> None:
    with path.open("a") as file:
        file.write("\n[[gt_degradation]]\nkind = 'noise'\nsigma = [1, 2]\n")
    preset = read_preset(str(path), ["gt_noise.sigma=[3, 4]"])
    assert preset.degradation == (Bicubic(4), Noise((5.0, 10.5)))
    assert preset.gt_degradation == (Noise((3.0, 4.0)),)


@pytest.mark.parametrize("degradation", ["degradation = 3", "degradation = ['noise']", ""])
def test_a_change_of_a_degradation_that_is_not_there(tmp_path: Path, degradation: str) -> None:
    (tmp_path / "mine.toml").write_text(degradation)
    with pytest.raises(ValueError, match=r"no \[\[degradation\]\] of this preset is of the kind noise; there are"):
        read_preset(str(tmp_path / "mine.toml"), ["noise.sigma=[3, 4]"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("motion_blur.exposure=[0.5, 1]", r"is of the kind motion_blur; there are \['bicubic', 'noise'\]"),
        ("noise.sigmas=[5, 6]", r"degradation noise has no sigmas; there are sigma"),
        ("noise.sigma=[6, 5]", r"noise: sigma must rise from at least 0, got \(6\.0, 5\.0\)"),
        ("noise", r"a change is written table\.key=value.*got 'noise'"),
        ("train.bacth=4", r"train has no bacth; there are batch, betas"),
        ("trian.batch=4", r"a preset has no trian; there are data, degradation"),
        ("batch=4", r"a change is written table\.key=value.*got 'batch=4'"),
        ("train.batch", r"a change is written table\.key=value.*got 'train\.batch'"),
        ("degradation.kind=noise", r"a change is written table\.key=value.*got 'degradation\.kind=noise'"),
        ("name.x=1", r"a change is written table\.key=value.*got 'name\.x=1'"),
        ("train.batch=four", r"train\.batch must be int, got 'four'"),
        ("train.batch=4.5", r"train\.batch must be int, got 4\.5"),
        ("train.batch=true", r"train\.batch must be int, got True"),
        ("train.lr='1'", r"train\.lr must be float, got '1'"),
        ("train.betas=0.9", r"train\.betas must be an array of float, got 0\.9"),
        ("train.betas=[0.9]", r"train\.betas must have 2 values, got \[0\.9\]"),
        ("train.periods=[5, 5.5]", r"train\.periods must be int, got 5\.5"),
        ("train.periods=[10]", r"train\.periods \(10,\) and train\.restart_weights \(1\.0, 0\.5\) differ in length"),
        ("train.iterations=11", r"train\.periods end at iteration 10, before train\.iterations 11"),
        ("train.periods=[0, 60]", r"train\.periods must be numbers from 1 on, got \(0, 60\)"),
        ("train.periods=[]", r"train\.periods must be numbers from 1 on, got \(\)"),
        ("train.seed=-1", r"train\.seed must be at least 0, got -1"),
        ("train.iterations=0", r"train\.iterations must be at least 1, got 0"),
        ("train.workers=-1", r"train\.workers must be at least 0 and finite, got -1"),
        ("train.body_lr_mul=nan", r"train\.body_lr_mul must be at least 0 and finite, got nan"),
        ("train.colour_weight=-1", r"train\.colour_weight must be at least 0 and finite, got -1"),
        ("train.lr=0", r"train\.lr must be above 0 and finite, got 0"),
        ("train.lr=nan", r"train\.lr must be above 0 and finite, got nan"),
        ("train.loss_eps=0", r"train\.loss_eps must be above 0 and finite, got 0"),
        ("train.ema_decay=1", r"train\.ema_decay must be at least 0 and below 1, got 1"),
        ("train.precision=fp8", r"train\.precision must be one of fp32, bf16, fp16, got 'fp8'"),
        ("train.loss=mse", r"train\.loss must be one of charbonnier, luma, luma_psnr, got 'mse'"),
        ("train.loss_reduction=median", r"train\.loss_reduction must be one of sum, mean, got 'median'"),
        ("data.gt=a", r"data\.gt must be an array of str, got 'a'"),
        ("data.gt=[1]", r"data\.gt must be str, got 1"),
        ("data.lq=['a']", r"data\.lq must have one folder for each of data\.gt, got 1 for 2"),
        ("data.clean_share=-0.1", r"data\.clean_share must be within 0\.\.1, got -0\.1"),
        ("data.gt_degradation_share=2", r"data\.gt_degradation_share must be within 0\.\.1, got 2"),
        ("gt_noise.sigma=[1, 2]", r"no \[\[gt_degradation\]\] of this preset is of the kind noise; there are \[\]"),
        ("data.stills_share=1.5", r"data\.stills_share must be within 0\.\.1, got 1\.5"),
        ("data.speed=[0, 12]", r"data\.speed must rise from above 0, got \(0\.0, 12\.0\)"),
        ("data.speed=[12, 3]", r"data\.speed must rise from above 0, got \(12\.0, 3\.0\)"),
        ("data.contrast=[0, 1]", r"data\.contrast must rise from above 0, got \(0\.0, 1\.0\)"),
        ("data.contrast=[1, nan]", r"data\.contrast must rise from above 0, got \(1\.0, nan\)"),
        ("data.contrast=[2, 1]", r"data\.contrast must rise from above 0, got \(2\.0, 1\.0\)"),
        ("data.interval=[0]", r"data\.interval must be numbers from 1 on, got \(0,\)"),
        ("data.interval=[]", r"data\.interval must be numbers from 1 on, got \(\)"),
        ("data.reduce=0.5", r"data\.reduce must be at least 1, got 0\.5"),
        ("data.reduce=nan", r"data\.reduce must be at least 1, got nan"),
        ("data.patch=0", r"data\.patch must be at least 1, got 0"),
        ("data.patch=60", r"data\.patch must be a multiple of 16 for this network, got 60"),
        ("network.num_frame=4", r"num_frame must be odd and at least 3, got 4"),
        ("network.center_frame_idx=x", r"network\.center_frame_idx must be int \| None, got 'x'"),
        ("network.scale=2", r"the degradation reduces 4 times, but the network enlarges 2 times \(network\.scale\)"),
        ("network.scale=3", "scale must be 1, 2 or 4, got 3"),
    ],
)
def test_what_makes_no_sense_is_named(path: Path, change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_preset(str(path), [change])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "noise"', 'kind = "snow"', r"degradation\.kind must be one of bicubic, .*, got 'snow'"),
        ('kind = "noise"', "", r"degradation\.kind must be one of bicubic, .*, got None"),
        ("sigma = [5, 10.5]", "sigma = 25.0", r"degradation noise\.sigma must be an array of float, got 25\.0"),
        ("sigma = [5, 10.5]", "sigma = [5]", r"degradation noise\.sigma must have 2 values, got \[5\]"),
        ("sigma = [5, 10.5]", "sigma = [10, 5]", r"noise: sigma must rise from at least 0, got \(10\.0, 5\.0\)"),
        ("sigma = [5, 10.5]", "strength = 1", r"degradation noise has no strength; there are sigma"),
        ("[network]", "network = 3\n[other]", r"a preset has no other"),
        ("[network]\nnum_feat = 8\ndeformable_groups = 2", "network = 3", r"network must be a table, \[network\], got 3"),
        ("[data]", "[daat]", r"a preset has no daat; there are data"),
        ("lr = 1", "lr = ", r"mine\.toml: .*line"),
        ("lr = 1", "lr = 1\nlr = 2", r"mine\.toml: .*line"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(path: Path, old: str, new: str, message: str) -> None:
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_preset(str(path))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, "x has neither data.lq nor a [[degradation]]"),
        ({"data": {"gt": ["a"], "lq": ["b"], "stills": ["c"]}}, "x has no [[degradation]] for data.stills"),
        ({"data": {"gt": ["a"], "lq": ["b"], "reduce": 2}}, "data.reduce cannot go with data.lq"),
        ({"data": {"gt": ["a"], "lq": ["b"], "contrast": [1, 2]}}, "data.contrast cannot go with data.lq"),
        ({"data": {"gt": ["a"], "lq": ["b"], "clean_share": 0.2}}, "data.clean_share cannot go with data.lq"),
        ({"degradation": {"kind": "noise"}}, "degradation must be an array of tables, [[degradation]]"),
        ({"degradation": ["noise"]}, "degradation.kind must be one of"),
        ({"data": {"gt": ["a"], "lq": ["b"]}, "gt_degradation": [{"kind": "grain"}]}, "cannot go with data.lq"),
        (
            {"degradation": [{"kind": "motion_blur"}, {"kind": "bicubic"}], "gt_degradation": [{"kind": "grain"}]},
            "[[gt_degradation]] cannot go with motion_blur",
        ),
        ({"degradation": [{"kind": "bicubic"}], "gt_degradation": [{"kind": "bicubic"}]}, "must keep the size"),
        ({"gt_degradation": {"kind": "noise"}}, "gt_degradation must be an array of tables, [[gt_degradation]]"),
        ({"gt_degradation": ["noise"]}, "gt_degradation.kind must be one of"),
    ],
)
def test_parts_that_do_not_go_together_are_named(tables: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared below, without escapes)
        parse_preset({"name": "x", **tables})
    assert message in str(caught.value)


def test_a_preset_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"no preset 'edwr'; there are .*small"):
        read_preset("edwr")
