"""The ablation runs from end to end, at a size too small for meaningful figures."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import ablation
from conftest import write_frames

SMALL: dict[str, dict[str, object]] = {
    "network": {"num_feat": 8, "deformable_groups": 2, "num_extract_block": 1, "num_tail_feat": 8},
    "data": {"patch": 32, "reduce": 1.0, "interval": [1]},
    "train": {"batch": 1, "workers": 0, "precision": "fp32"},
}


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_every_variant_is_trained_measured_and_not_trained_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_frames(tmp_path / "clips" / "a", rng.integers(256, size=(5, 48, 56, 3), dtype=np.uint8))
    write_frames(tmp_path / "test" / "b", rng.integers(256, size=(5, 50, 66, 3), dtype=np.uint8))
    (tmp_path / "stills").mkdir()
    Image.fromarray(rng.integers(256, size=(64, 64, 3), dtype=np.uint8)).save(tmp_path / "stills" / "c.png")
    changes = [f"--set={table}.{key}={value}" for table, values in SMALL.items() for key, value in values.items()]
    paths = [
        "--root",
        tmp_path,
        "--test",
        f"noise={tmp_path / 'test'}",
        "--output",
        tmp_path / "runs",
        "--table",
        tmp_path / "t.md",
    ]
    arguments = [*map(str, paths), "--iterations", "1", "--frames", "1", *changes]

    ablation.main(arguments)
    table = (tmp_path / "t.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[1:]] == ["bicubic", *(v.name for v in (*ablation.VARIANTS, ablation.SECOND_STAGE))]
    assert all(re.fullmatch(r"\d+\.\d\d", row[-1]) for row in rows[1:])
    macs = {row[0]: float(row[2]) for row in rows[2:]}
    assert macs["one deformable convolution, no TSA"] < macs["PCD, no TSA"] < macs["PCD, TSA"]
    assert macs["PCD, TSA, 5 reconstruction blocks"] < macs["PCD, TSA"] < macs[ablation.SECOND_STAGE.name]

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("last.pt")}
    assert len(written) == len(rows) - 2
    ablation.main(arguments)
    assert (tmp_path / "t.md").read_text() == table
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("last.pt")}
