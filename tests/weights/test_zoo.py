"""The table of all models: complete, sound, and in keeping with the rest of the package."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from vsedvr.evaluation.benchmarks import BENCHMARKS
from vsedvr.evaluation.published import PUBLISHED
from vsedvr.infer import published_padding
from vsedvr.model import EDVR
from vsedvr.timeline import PADDINGS
from vsedvr.train.preset import preset_names, read_preset
from vsedvr.weights import ZOO, known_padding, load_model
from vsedvr.weights.zoo import Entry, entry_of, models_folder

PUBLIC = {name: entry for name, entry in ZOO.items() if not entry.is_embedded}
SIZES = {
    "M": 3_300_131,
    "M woTSA": 2_996_259,
    "L": 20_633_827,
    "L woTSA": 19_419_875,
    "L of 7 frames": 20_699_363,
    "SRblur L": 23_306_851,
    "deblur L": 23_602_019,
    "stage 2": 15_025_635,
    "stage 2 with predeblur": 17_698_659,
}
"""Parameters of the published networks, counted in the reference code."""


def count(entry: Entry) -> int:
    return sum(parameter.numel() for parameter in EDVR(entry.network, device="meta").parameters())


def test_every_public_checkpoint_is_there() -> None:
    by_publisher = {title: [e for e in PUBLIC.values() if e.title == title] for title in ("BasicSR", "EDVR (2019)", "mmagic")}
    assert {title: len(entries) for title, entries in by_publisher.items()} == {"BasicSR": 7, "EDVR (2019)": 11, "mmagic": 4}
    assert len([entry for entry in PUBLIC.values() if entry.refines]) == 4
    assert len({entry.file.lower() for entry in ZOO.values()}) == len(ZOO)
    assert {count(entry) for entry in PUBLIC.values()} == set(SIZES.values())


@pytest.mark.parametrize("entry", ZOO.values(), ids=ZOO)
def test_an_entry_is_sound(entry: Entry) -> None:
    assert entry.padding in PADDINGS
    assert entry.padding == published_padding(entry.network), "the rule for unknown models agrees with the table"
    assert entry.network.center == entry.network.num_frame // 2
    assert entry.keys in ("BasicSR", "EDVR of 2019", "mmagic")
    bytes_of_weights = count(entry) * (2 if entry.is_embedded else 4)
    assert entry.megabytes == pytest.approx(bytes_of_weights / 1e6, rel=0.03, abs=0.05)
    assert all(urlsplit(url).scheme == "https" and urlsplit(url).hostname for url in entry.urls)
    if entry.is_embedded:
        assert load_model(entry.name).config == entry.network
        return
    assert len(entry.sha256) in (0, 8, 64)
    if entry.sha256:
        assert f"-{entry.sha256[:8]}.pth" in entry.file
    assert entry.page.startswith("https://")
    assert not entry.refines or ZOO[entry.refines].network.with_predeblur == entry.network.with_predeblur
    assert not entry.refines or entry.network.scale == 1


def test_names_are_those_of_the_presets() -> None:
    """A preset trains the network of the model with its name."""
    shared = [name for name in preset_names() if name in PUBLIC]
    assert len(shared) >= 9
    for name in shared:
        assert read_preset(name).network == ZOO[name].network


def test_figures_are_those_of_the_evaluation() -> None:
    seen = 0
    for entry in PUBLIC.values():
        for figure in entry.figures:
            benchmark = BENCHMARKS[figure.benchmark]
            assert benchmark.scale == entry.network.scale
            assert benchmark.padding == entry.padding
            if entry.title == "BasicSR" and (figure.channel == "y") == benchmark.scoring.y_channel:
                method = "EDVR-M" if entry.network.num_feat == 64 else "EDVR-L"
                (row,) = (row for row in PUBLISHED[figure.benchmark] if row.method == method)
                assert (row.mean.psnr, row.mean.ssim) == (figure.psnr, figure.ssim), entry.name
                seen += 1
    assert seen == 7


def test_the_table_of_the_documentation_is_that_of_the_zoo() -> None:
    lines = (Path(__file__).parents[2] / "docs/models.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    rows = [row for row in cells if row[0] in ZOO]
    assert [row[0] for row in rows] == [entry.name for entry in ZOO.values() if entry.title in ("vsedvr", "BasicSR")]
    for name, _, parameters, megabytes, _, _, figure, licence in rows:
        entry = ZOO[name]
        network = EDVR(entry.network, device="meta")
        assert float(parameters) == pytest.approx(sum(p.numel() for p in network.parameters()) / 1e6, abs=0.0051)
        assert float(megabytes) == pytest.approx(entry.megabytes, abs=0.051)
        assert licence == entry.licence
        if entry.is_embedded:
            continue
        known = {f"{row.psnr:.2f} / {row.ssim:.4f}" for row in entry.figures}
        assert " / ".join(figure.split()[-3::2]) in known or (not known and not figure)


def test_the_models_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VSEDVR_MODELS", str(tmp_path))
    assert models_folder() == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("VSEDVR_MODELS", "~/models")
    assert models_folder() == tmp_path / "models"
    for value in ("", None):
        monkeypatch.setenv("VSEDVR_MODELS", value) if value is not None else monkeypatch.delenv("VSEDVR_MODELS")
        assert models_folder().parts[-2:] == ("vsedvr", "models")
        assert not str(models_folder()).startswith("~")


def test_a_model_is_known_by_its_name_and_by_its_published_file() -> None:
    blur = ZOO["edvr_l_x4_reds_blur"]
    for known in (blur.name, blur.file, f"/elsewhere/{blur.file}", Path(blur.file), blur.file.encode()):
        assert entry_of(known) == blur
        assert known_padding(known) == "replicate"
    for unknown in ("other.pth", Path(blur.name), None, EDVR(ZOO["small"].network, device="meta"), "x/small.safetensors"):
        assert entry_of(unknown) is None
        assert known_padding(unknown) is None
