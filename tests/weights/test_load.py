import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import vsedvr
from conftest import TINY, random_model
from oracle import DATA, array, meta, weights
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.weights import EMBEDDED, CheckpointError, load_model
from vsedvr.weights.formats import to_basicsr


@pytest.fixture(scope="module")
def sound() -> dict[str, Tensor]:
    return random_model().state_dict()


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def error_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


class TestAnyEdvrCheckpoint:
    @pytest.mark.parametrize(
        "config",
        [
            TINY,
            EDVRConfig(3, 3, 12, 7, 3, 2, 4),
            EDVRConfig(3, 3, 8, 5, 2, 1, 1, scale=2, num_tail_feat=5),
            EDVRConfig(3, 3, 6, 3, 6, 0, 0, with_tsa=False, num_tail_feat=9),
            EDVRConfig(3, 3, 4, 5, 1, 1, 1, with_predeblur=True),
            EDVRConfig(3, 3, 4, 5, 2, 1, 12, with_predeblur=True, scale=1),
        ],
    )
    def test_every_hyper_parameter_is_read_from_the_shapes(self, tmp_path: Path, config: EDVRConfig) -> None:
        model = load_model(save(tmp_path / "m.pth", random_model(config).state_dict()))
        assert model.config == config
        assert not model.training
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())

    @pytest.mark.parametrize("name", ["edvr_m", "edvr_m_wotsa", "srblur_l", "deblur_l"])
    @pytest.mark.parametrize("form", ["basicsr", "old_edvr", "mmagic"])
    def test_key_lists_of_the_published_networks(self, name: str, form: str) -> None:
        rows = json.loads((DATA / "keys" / f"{name}.json").read_text())["keys"]
        if rows[0][form] is None:
            assert form == "mmagic", "only mmagic lacks the networks with predeblur"
            return
        names = to_basicsr(row[form].removeprefix("generator.") for row in rows)
        assert list(names.values()) == [row["basicsr"] for row in rows]

    def test_key_list_of_the_second_stage_that_only_the_old_code_has(self) -> None:
        names = to_basicsr(json.loads((DATA / "keys" / "old_sr_stage2.json").read_text()))
        with torch.device("meta"):
            model = EDVR(EDVRConfig(num_feat=128, num_reconstruct_block=20, scale=1))
        assert set(names.values()) == set(model.state_dict())

    @pytest.mark.parametrize("form", ["basicsr", "old_edvr", "mmagic"])
    def test_the_same_network_in_three_formats(self, tmp_path: Path, form: str) -> None:
        state_dict = load_file(weights("formats"))
        rows = {row["basicsr"]: row for row in json.loads((DATA / "keys" / "edvr_m.json").read_text())["keys"]}
        names = {key: rows[key][form] for key in state_dict}
        content: dict[str, Any] = {names[key]: value for key, value in state_dict.items()}
        if form == "mmagic":
            discriminator = {"discriminator.conv.weight": torch.zeros(1)}
            content = {"meta": {"iter": 7}, "state_dict": {**content, **discriminator, "step_counter": torch.tensor(3)}}
        model = load_model(save(tmp_path / "m.pth", content))
        assert model.config == EDVRConfig(**meta("formats")["arch"])
        with torch.inference_mode():
            assert (model(array("formats", "input")) - array("formats", "output")).abs().max() < 1e-5

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda sound, wrong: {"params": wrong, "params_ema": sound},
            lambda sound, wrong: {"params": sound},
            lambda sound, wrong: {"state_dict": sound, "optimizer": {"state": {}}, "epoch": 3},
            lambda sound, wrong: {"state_dict": {f"module.generator.{key}": value for key, value in sound.items()}},
            lambda sound, wrong: {f"generator.module.{key}": value for key, value in sound.items()},
            lambda sound, wrong: {key.replace("conv_offset", "conv_offset_mask"): value for key, value in sound.items()},
            lambda sound, wrong: {key: value.double() for key, value in sound.items()},
        ],
    )
    @pytest.mark.parametrize("suffix", ["pth", "pt", "ckpt"])
    def test_wrappers_and_prefixes(self, tmp_path: Path, sound: dict[str, Tensor], wrap: Any, suffix: str) -> None:
        wrong = {key: torch.zeros_like(value) for key, value in sound.items()}
        model = load_model(save(tmp_path / f"m.{suffix}", wrap(sound, wrong)))
        assert all(torch.equal(value, sound[key]) for key, value in model.state_dict().items())

    def test_old_torch_files_and_misnamed_safetensors(self, tmp_path: Path, sound: dict[str, Tensor]) -> None:
        torch.save(sound, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
        save_file({key: value.half() for key, value in sound.items()}, tmp_path / "half.pth")
        assert torch.equal(load_model(tmp_path / "old.pth").conv_hr.weight, sound["conv_hr.weight"])
        assert torch.equal(load_model(str(tmp_path / "half.pth")).conv_hr.weight, sound["conv_hr.weight"].half().float())

    def test_centre_frame(self, tmp_path: Path, sound: dict[str, Tensor]) -> None:
        path = save(tmp_path / "m.pth", sound)
        assert load_model(path, center_frame_idx=1).config.center == 1
        with pytest.raises(ValueError, match=r"center_frame_idx must be within 0\.\.4, got 5") as caught:
            load_model(path, center_frame_idx=5)
        assert not isinstance(caught.value, CheckpointError)

    @pytest.mark.parametrize("name", EMBEDDED)
    def test_embedded_models(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert load_model(name).config.scale == {"small": 4, "x2": 2, "real": 2}.get(name, 1)

    def test_embedded_files_are_small_and_tell_what_made_them(self) -> None:
        files = {path.stem: path for path in (Path(vsedvr.__file__).parent / "weights" / "embedded").glob("*.safetensors")}
        assert files.keys() == EMBEDDED.keys()
        for path in files.values():
            assert path.stat().st_size <= 3_000_000
            with safe_open(path, "pt") as file:
                record = json.loads(file.metadata()["training"])
                assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118 (no mapping)
            assert len(record["data"]) == 64
            assert "/" not in record["preset"]["train"]["init"]


class TestWhatIsNoEdvrCheckpoint:
    def test_no_such_file(self) -> None:
        with pytest.raises(FileNotFoundError, match=r"no checkpoint at 'missing\.pth'; embedded models: small"):
            load_model("missing.pth")

    def test_nothing_in_a_pickle_is_executed(self, tmp_path: Path, sound: dict[str, Tensor]) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "executed"),)

        for legacy in (False, True):
            path = tmp_path / f"evil{legacy}.pth"
            torch.save({"params": sound, "meta": Evil()}, path, _use_new_zipfile_serialization=not legacy)
            assert "could run code" in error_of(path)
        (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil()))
        assert "could run code" in error_of(tmp_path / "plain.pth")
        assert not (tmp_path / "executed").exists()

    @pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
    def test_truncated(self, tmp_path: Path, sound: dict[str, Tensor], kind: str, share: float) -> None:
        path = tmp_path / "cut.pth"
        if kind == "safetensors":
            save_file(sound, path)
        else:
            torch.save(sound, path, _use_new_zipfile_serialization=kind == "zip")
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        assert "damaged or truncated" in error_of(path)

    @pytest.mark.parametrize("content", [{}, {"params": {}}, [1, 2], {"epoch": 3, "name": "EDVR"}, torch.zeros(3)])
    def test_no_state_dict(self, tmp_path: Path, content: Any) -> None:
        assert "holds no tensors" in error_of(save(tmp_path / "m.pth", content))

    def test_a_pickle_that_contains_itself(self, tmp_path: Path) -> None:
        endless: dict[str, Any] = {}
        endless["params"] = endless
        assert "holds no tensors" in error_of(save(tmp_path / "m.pth", endless))

    def test_a_feature_extractor_without_a_tail(self, tmp_path: Path, sound: dict[str, Tensor]) -> None:
        tail = ("reconstruction", "upconv", "conv_hr", "conv_last")
        part = {key: value for key, value in sound.items() if not key.startswith(tail)}
        assert "feature extractor without reconstruction" in error_of(save(tmp_path / "m.pth", part))

    @pytest.mark.parametrize(
        "key",
        [
            "conv_l2_1.weight",
            "conv_first.weight",
            "conv_last.weight",
            "pcd_align.dcn_pack.l1.conv_offset.weight",
            "pcd_align.cas_dcnpack.bias",
            "fusion.feat_fusion.weight",
            "fusion.temporal_attn1.weight",
            "reconstruction.0.conv2.bias",
        ],
    )
    def test_missing_keys(self, tmp_path: Path, sound: dict[str, Tensor], key: str) -> None:
        text = error_of(save(tmp_path / "m.pth", {k: v for k, v in sound.items() if k != key}))
        assert f"misses {key}" in text

    def test_unexpected_keys(self, tmp_path: Path, sound: dict[str, Tensor]) -> None:
        more = {f"extra{k}.weight": torch.zeros(1) for k in range(5)}
        text = error_of(save(tmp_path / "m.pth", {**sound, **more}))
        assert "unexpected extra0.weight, extra1.weight, extra2.weight and 2 more" in text

    @pytest.mark.parametrize(
        ("key", "shape", "message"),
        [
            ("conv_l3_1.weight", (8, 8, 1, 1), r"wrong shapes in conv_l3_1.weight (expected (8, 8, 3, 3), got (8, 8, 1, 1))"),
            ("conv_l2_1.weight", (0, 8, 3, 3), "num_feat must be at least 1, got 0"),
            ("conv_l2_1.weight", (8,), "other than 4 dimensions in conv_l2_1.weight"),
            ("fusion.feat_fusion.weight", (8, 32, 1, 1), "num_frame must be odd and at least 3, got 4"),
            ("pcd_align.dcn_pack.l1.conv_offset.weight", (81, 8, 3, 3), "num_feat 8 is not a multiple of deformable_groups 3"),
        ],
    )
    def test_wrong_shapes(
        self, tmp_path: Path, sound: dict[str, Tensor], key: str, shape: tuple[int, ...], message: str
    ) -> None:
        assert message in error_of(save(tmp_path / "m.pth", {**sound, key: torch.zeros(shape)}))

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_numbers_that_are_none(self, tmp_path: Path, sound: dict[str, Tensor], value: float) -> None:
        bias = sound["conv_hr.bias"].clone()
        bias[3] = value
        assert "NaN or Inf in conv_hr.bias" in error_of(save(tmp_path / "m.pth", {**sound, "conv_hr.bias": bias}))

    def test_integers(self, tmp_path: Path, sound: dict[str, Tensor]) -> None:
        bias = sound["conv_hr.bias"].int()
        assert "integers in conv_hr.bias" in error_of(save(tmp_path / "m.pth", {**sound, "conv_hr.bias": bias}))


class TestArguments:
    def test_all_that_is_a_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class PathLike:
            def __fspath__(self) -> bytes:
                return os.fsencode(tmp_path / "mödel 模型.pth")

        save(tmp_path / "mödel 模型.pth", random_model().state_dict())
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        home = Path("~/mödel 模型.pth")
        for path in (
            home,
            str(home),
            os.fsencode(home),
            PathLike(),
            "mödel 模型.pth",
            b"./m\xc3\xb6del \xe6\xa8\xa1\xe5\x9e\x8b.pth",
        ):
            assert load_model(path).config == TINY

    def test_a_file_with_the_name_of_an_embedded_model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        torch.save(random_model().state_dict(), "small")
        for path in ("./small", Path("small"), b"small"):
            assert load_model(path).config == TINY
        assert load_model("small").config != TINY

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (
                random_model().state_dict(),
                "got a OrderedDict; save it with torch.save and give the path, or put it into a network",
            ),
            ({"params": {}}, "got a dict"),
            (random_model(), "got a network (EDVR); an EDVR needs no loading"),
            (torch.nn.DataParallel(random_model()), "got a network (DataParallel)"),
            (None, "got a value of the type NoneType"),
            (1, "got a value of the type int"),
            (torch.zeros(1000), "got a value of the type Tensor"),
            ("https://example.com/edvr.pth", "not an address; download it"),
            ("file:///C:/edvr.pth", "not an address"),
        ],
    )
    def test_what_is_no_path(self, model: Any, message: str) -> None:
        with pytest.raises(ValueError, match=r"^a model is ") as caught:
            load_model(model)
        assert message in str(caught.value)
        assert len(str(caught.value)) < 250, "a network is not printed"

    @pytest.mark.parametrize(
        ("given", "hint"),
        [
            ("Small", "did you mean 'small'?"),
            (" deblur\n", "did you mean 'deblur'?"),
            ('"here.pth"', "did you mean 'here.pth'?"),
        ],
    )
    def test_what_was_probably_meant(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, hint: str) -> None:
        monkeypatch.chdir(tmp_path)
        Path("here.pth").touch()
        with pytest.raises(FileNotFoundError) as caught:
            load_model(given)
        assert str(caught.value).endswith(hint)

    @pytest.mark.parametrize("given", ["", "\0", "a" * 5000, b"\xff\xfe", "missing/folder/m.pth"])
    def test_paths_that_cannot_be(self, given: str | bytes) -> None:
        with pytest.raises(FileNotFoundError, match="no checkpoint at") as caught:
            load_model(given)
        assert len(str(caught.value)) < 500


HASHES = """
import hashlib, sys, warnings
import torch
warnings.simplefilter("ignore")
settings = [
    "torch.set_default_dtype(torch.float16)",
    "torch.set_default_dtype(torch.bfloat16)",
    "torch.set_default_dtype(torch.float64)",
    "torch.set_default_device('meta')",
    "torch.set_default_tensor_type(torch.DoubleTensor)",
    "",
]
for setting in settings:
    exec(setting)
    from vsedvr.weights import load_model
    hashes = []
    for path in sys.argv[1:]:
        weights = load_model(path).state_dict()
        assert all(value.dtype == torch.float32 and value.device.type == "cpu" for value in weights.values())
        hashes.append(hashlib.sha256(b"".join(value.numpy().tobytes() for value in weights.values())).hexdigest())
    print(*hashes)
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
"""


def test_settings_of_the_process_change_no_bit(tmp_path: Path) -> None:
    """Another program in the process may have changed PyTorch's defaults."""
    double = {key: value.double() for key, value in random_model().state_dict().items()}
    save(tmp_path / "zip.pth", double)
    save(tmp_path / "arrays.pth", {key: value.numpy() for key, value in double.items()})
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(double))
    paths = ["small", *(str(tmp_path / name) for name in ("zip.pth", "arrays.pth", "plain.pth"))]
    done = subprocess.run([sys.executable, "-c", HASHES, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert len(set(lines)) == 1
    assert len(set(lines[0].split()[1:])) == 1, "three ways to write one network"
