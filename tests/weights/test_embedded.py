"""The model card in the wheel is short and complete, and has the measured figures."""

import re
from pathlib import Path

import vsedvr
from vsedvr.weights import EMBEDDED

ROOT = Path(__file__).parents[2]
FOLDER = Path(vsedvr.__file__).parent / "weights/embedded"
CARD = (FOLDER / "README.md").read_text()


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]


def test_the_wheel_gets_models_their_hashes_their_card_and_attributions_only() -> None:
    models = {f"{name}.safetensors" for name in EMBEDDED}
    assert {path.name for path in FOLDER.iterdir()} == {"README.md", "DATA.md", "SHA256SUMS", *models}
    assert len(CARD.splitlines()) <= 45


def test_every_model_is_on_the_card_for_what_load_model_says() -> None:
    purposes = {name: row for name, *row in rows(CARD.partition("Gain")[0])[1:]}
    assert list(purposes) == list(EMBEDDED)


def test_gains_are_those_that_were_measured() -> None:
    measured = rows((ROOT / "benchmarks/quality/models.md").read_text())[1:]
    claimed = rows(CARD.partition("Gain")[2])[1:]
    assert {row[0] for row in claimed} == EMBEDDED.keys()
    for model, *cells in claimed:
        gains = [row[5] for row in measured if row[0] == model]
        shown = [gain for cell in (cells[1], cells[3]) for gain in cell.split(" / ")]
        assert sorted(shown) == sorted(gains), model
        clips = (cells[0].split(",")[0], cells[2])
        by_clip = {clip: [row[5] for row in measured if row[0] == model and row[2].startswith(clip)] for clip in clips}
        assert [cells[1].split(" / "), cells[3].split(" / ")] == list(by_clip.values()), model


def test_links_of_card_and_diary_lead_somewhere() -> None:
    for path in (FOLDER / "README.md", ROOT / "docs/training-diary.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), target
    assert {path.stem for path in (ROOT / "docs/training-logs").glob("*.csv")} == EMBEDDED.keys()
