"""The table of all models is that of the zoo as it is."""

import pytest

from benchmarks.quality import zoo
from vsedvr.evaluation.table import markdown_row
from vsedvr.weights.zoo import ZOO


def test_every_model_has_a_row() -> None:
    names = [line.split(" | ")[0].removeprefix("| ") for line in zoo.TABLE.read_text().splitlines() if line.startswith("| ")]
    assert names == ["model", *ZOO]


@pytest.mark.parametrize("name", ["small", "denoise", "edvr_m_x4_reds"])
def test_rows_are_counted_anew(name: str) -> None:
    assert markdown_row(zoo.row(name, ZOO[name])) in zoo.TABLE.read_text().splitlines()


def test_macs_are_the_networks_less_what_is_computed_once() -> None:
    """EDVR-M takes 8,452 thousand MACs for a pixel of the input, 1,967 for the features of 5 frames and 4,065 for PCD."""
    macs = float(zoo.row("edvr_m_x4_reds", ZOO["edvr_m_x4_reds"])[3]) * 1e9 / (320 * 180) / 1e3
    assert 8452 - (1967 + 4065) * 4 / 5 < macs < 8452 - 1967 * 4 / 5
