import csv
import io
import json

import pytest

from vsedvr.compare.metrics import MAX_PSNR
from vsedvr.evaluation.complexity import Complexity
from vsedvr.evaluation.published import Published
from vsedvr.evaluation.report import Method, Report
from vsedvr.evaluation.scoring import Score, Scoring, Temporal

BICUBIC = Method("bicubic", {"a": {0: Score(20, 0.5), 1: Score(22, 0.6)}, "b": {0: Score(31, 0.9)}})
MODEL = Method(
    "small",
    {"a": {0: Score(24, 0.7), 1: Score(26, 0.8)}, "b": {0: Score(MAX_PSNR, 1)}},
    Complexity(1_234_567, int(40e9), int(2e9), 0, int(5.31e9)),
)
KNOWN = Published("Known", Score(25.0, 0.75), "A Paper", {"a": Score(21.0, 0.55), "b": Score(31, 0.91), "c": Score(23, 0.79)})
OTHER = Published("Other", Score(26.0, 0.77), "B Paper")


def report(all_clips: tuple[str, ...] = ("a", "b", "c"), **changes: object) -> Report:
    fields = {
        "title": "set",
        "scoring": Scoring(y_channel=True),
        "source": "C Paper",
        "input_size": (180, 144),
        "methods": [BICUBIC, MODEL],
        "published": [KNOWN, OTHER],
        "all_clips": all_clips,
    }
    return Report(**{**fields, **changes})  # type: ignore[arg-type]


def row(table: str, name: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(name)]
    return line.split()[1:]


def test_means_are_over_frames_then_over_clips() -> None:
    assert BICUBIC.clip_means == {"a": Score(21, 0.55), "b": Score(31, 0.9)}
    assert BICUBIC.mean == pytest.approx(Score(26, 0.725))


def test_the_table_has_figures_sizes_and_what_was_published() -> None:
    table = report().table()
    assert table.startswith("set: PSNR in dB / SSIM of luma, all frames, no border left out (as C Paper)\n2 of 3 clips\n")
    assert row(table, "bicubic") == ["21.00/0.5500", "31.00/0.9000", "26.00/0.7250"]
    assert row(table, "small") == ["1,234,567", "47.3", "25.00/0.7500", "100.00/1.0000", "62.50/0.8750"]
    assert row(table, "Known") == ["21.00/0.5500", "31.00/0.9100", "26.00/0.7300", "A", "Paper"], "the mean of a and b"
    assert " ".join(row(table, "Other")) == "- - - B Paper (26.00/0.7700 over all 3 clips)"
    assert "180x144" in table


def test_the_published_mean_stands_where_all_clips_do() -> None:
    table = report(("a", "b")).table()
    assert "clips" not in table
    assert row(table, "Known")[2] == "25.00/0.7500"
    assert row(table, "Other")[2] == "26.00/0.7700"


def test_the_headline_says_what_was_left_out() -> None:
    table = report(scoring=Scoring(border=8, left_out=(2, 3)), source="").table()
    assert "SSIM of RGB, without the first 2 and the last 3 frames, 8 pixels of border left out\n" in table


def test_of_many_clips_only_the_mean_is_in_the_table() -> None:
    many = Method("bicubic", {str(n): {0: Score(20 + n, 0.5)} for n in range(9)})
    assert row(report(methods=[many], published=[], all_clips=()).table(), "bicubic") == ["24.00/0.5000"]


def test_json_has_everything_and_is_json() -> None:
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    content = json.loads(report().json(), parse_constant=no_constant)
    small = content["methods"][1]
    assert small["parameters"] == 1_234_567
    assert small["macs"] == sum(small["macs_by_phase"].values()) == 47_310_000_000
    assert small["clips"]["a"]["frames"]["1"] == {"psnr": 26, "ssim": 0.8}
    assert small["clips"]["b"]["frames"]["0"]["psnr"] == 100
    assert content["methods"][0]["mean"]["psnr"] == 26
    assert content["scoring"] == {
        "y_channel": True,
        "border": 0,
        "left_out": [0, 0],
        "temporal": False,
        "source": "C Paper",
    }
    assert content["published"][0]["clips"]["c"] == {"psnr": 23, "ssim": 0.79}


def test_csv_has_a_line_for_every_frame() -> None:
    rows = list(csv.DictReader(io.StringIO(report().csv())))
    assert len(rows) == 6
    assert rows[4] == {"method": "small", "clip": "a", "frame": "1", "psnr": "26.000000", "ssim": "0.800000"}
    assert float(rows[5]["psnr"]) == MAX_PSNR


STEADY = Method("input", {"a": {0: Score(20, 0.5), 1: Score(22, 0.6, Temporal(0.5, 0.0012, 0.0004))}, "b": {0: Score(31, 1)}})
SHAKY = Method("small", {"a": {0: Score(24, 0.7), 1: Score(26, 0.8, Temporal(1.25, 0.002, 0.0004))}, "b": {0: Score(40, 1)}})


def temporal_report() -> Report:
    return report(scoring=Scoring(temporal=True), methods=[STEADY, SHAKY])


def test_temporal_consistency_has_a_table_of_its_own() -> None:
    table = temporal_report().table()
    assert "lower is better" in table
    below = table.split("Temporal consistency: tOF in pixels / warped difference x 1000")[1]
    assert row(below, "input") == ["0.500/1.200", "-", "0.500/1.200"], "a clip of one frame has none"
    assert row(below, "small") == ["1.250/2.000", "-", "1.250/2.000"]
    assert row(below, "ground truth") == ["truth", "0.000/0.400", "-", "0.000/0.400"]
    assert "Known" not in below
    assert "Temporal" not in report().table()


def test_files_have_temporal_consistency_where_it_was_measured() -> None:
    content = json.loads(temporal_report().json())
    frames = content["methods"][1]["clips"]["a"]["frames"]
    assert frames["1"]["temporal"] == {"tof": 1.25, "warped_difference": 0.002, "gt_warped_difference": 0.0004}
    assert "temporal" not in frames["0"]
    assert content["methods"][0]["mean"]["temporal"]["tof"] == 0.5
    rows = list(csv.DictReader(io.StringIO(temporal_report().csv())))
    assert rows[4]["tof"] == "1.25"
    assert rows[4]["warped_difference"] == "0.002"
    assert rows[3]["tof"] == rows[5]["gt_warped_difference"] == ""
    assert "tof" not in report().csv()
