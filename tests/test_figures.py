"""Every figure that README.md and docs/ give was measured: it stands in a table of benchmarks/.

A figure is a number with a decimal point. A section of a page says where its figures come from by a link to a Markdown file
below benchmarks/. Then each figure of that section, in its tables and in its text, must stand in one of the linked files, as it
is or rounded. Where the first cell of a row is a name that the linked tables have cells for, such as a model's, the figure must
stand in a row of that name; an empty first cell means the name above it.

In a section without such a link, no table may have figures, and no text may have one with the unit of something measured.

What does not count: blocks of code, `code`, targets of links, versions of three and more parts, and numbers joined to a word by
a hyphen. Figures that are measured or computed elsewhere are named in ELSEWHERE, with the place: for a whole section by its
heading, else one by one. An entry that nothing needs any more is an error as well, so that the list stays short.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ONCE = "a diary: measured once, between two runs, by scripts that were not kept, which the page says"
ELSEWHERE = {
    "README.md": {
        "30.63": "printed by examples/picture.py",
        "32.85": "printed by examples/picture.py",
    },
    "docs/ablation.md": {
        **dict.fromkeys(("29.78", "30.39", "0.61", "0.14"), "published, table 4 of the paper"),
        **dict.fromkeys(("0.6", "0.1", "0.06", "0.16", "0.35", "1.6"), "a difference of two rows of a linked table"),
        "2.6": "a ratio of two rows of the linked table",
    },
    "docs/evaluation.md": {
        "20.39": "published, vsedvr/evaluation/published.py",
        "26.10": "published, vsedvr/evaluation/published.py",
    },
    "docs/gpu.md": {
        "How much memory does it take?": "computed; tests/infer/test_memory.py computes it again",
    },
    "docs/training-diary.md": {
        "Architectures": ONCE,
        "How far the final clips influenced the models": ONCE,
        "Runs": ONCE,
        "small": ONCE,
        "x2": ONCE,
        "real": ONCE,
        "denoise": ONCE,
        "compression and compression_light": ONCE,
        "deblur and deblur_long": ONCE,
    },
}

NUMBER = r"(?<![\w.])(?<!\w-)[-+\u2212]?\d+\.\d+(?!\.?\d)"
FIGURE = re.compile(NUMBER)
UNITS = "dB|x|times|%|s|ms|seconds|minutes|fps|frames|iterations|KB|MB|GB|KiB|MiB|GiB"
MEASURED = re.compile(rf"{NUMBER}(?= ?(?:{UNITS})(?!\w))")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass
class Section:
    heading: str
    lines: list[str] = field(default_factory=list)

    def links(self, page: Path) -> list[Path]:
        """The Markdown files below benchmarks/ that the section links to."""
        targets = [page.parent / target.split("#")[0] for line in self.lines for target in LINK.findall(line)]
        resolved = [target.resolve() for target in targets if target.suffix == ".md"]
        return [target for target in resolved if target.is_relative_to(ROOT / "benchmarks")]

    def figures(self) -> Iterator[tuple[str, str, bool]]:
        """Yields each figure, the name of its row ("" in text), and whether text may not have it without a source."""
        name = ""
        for line in self.lines:
            if not line.lstrip().startswith("|"):
                name = ""
                measured = {found.start() for found in MEASURED.finditer(plain(line))}
                yield from (("", found.group(), found.start() in measured) for found in FIGURE.finditer(plain(line)))
                continue
            cells = cells_of(line)
            name = cells[0] or name
            yield from ((name, figure, True) for figure in FIGURE.findall(plain(line)))


def sections(text: str) -> list[Section]:
    """The page taken apart at its headings, without blocks of code."""
    found, in_code = [Section("")], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif in_code:
            continue
        elif heading := re.match(r"#+ +(.*)", line):
            found.append(Section(heading.group(1)))
        else:
            found[-1].lines.append(line)
    return found


def plain(line: str) -> str:
    """The line without code and targets of links; bold signs go too, since `**1.5**` is a figure."""
    return re.sub(r"`[^`]*`", "", LINK.sub("]", line)).replace("*", " ")


def cells_of(line: str) -> list[str]:
    return [cell.strip(" *`") for cell in line.strip().strip("|").split("|")]


@cache
def table_rows(path: Path) -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    """Returns, for each line of a file below benchmarks/, its cells ("" in text) and its figures."""
    return tuple(
        (frozenset(cells_of(line) if line.startswith("|") else ()), frozenset(FIGURE.findall(line.replace("*", " "))))
        for line in path.read_text(encoding="utf-8").splitlines()
    )


def stands_in(figure: str, name: str, paths: list[Path]) -> bool:
    rows = [row for path in paths for row in table_rows(path)]
    named = [row for row in rows if name and name in row[0]]
    return any(is_rounded(figure, measured) for _, figures in named or rows for measured in figures)


def is_rounded(figure: str, measured: str) -> bool:
    """Whether a figure is another one with as many decimals or fewer; halves may have been rounded up or down."""
    decimals, of_measured = (len(number.partition(".")[2]) for number in (figure, measured))
    difference = abs(value(figure) - value(measured))
    return decimals <= of_measured and difference < 0.5 * 10**-decimals * (1 + 1e-6)


def value(figure: str) -> float:
    return float(figure.replace("\u2212", "-"))


def without_source(page: Path, text: str, elsewhere: dict[str, str]) -> tuple[list[str], set[str]]:
    """Returns what is wrong with a page, one sentence each, and the entries of `elsewhere` that the page needs."""
    wrong, needed = [], set()
    for section in sections(text):
        paths = section.links(page)
        for path in paths:
            if not path.is_file():
                wrong.append(f"{section.heading!r} links to {path.name}, which is not there")
        paths = [path for path in paths if path.is_file()]
        for name, figure, must_have_source in section.figures():
            if paths and stands_in(figure, name, paths):
                continue
            if not paths and not must_have_source:
                continue
            entry = next((entry for entry in (section.heading, figure) if entry in elsewhere), None)
            if entry is not None:
                needed.add(entry)
                continue
            of_row = f" of {name!r}" if name else ""
            files = ", ".join(path.name for path in paths) or "no table of benchmarks/ that the section links to"
            wrong.append(f"{section.heading!r}: {figure}{of_row} stands in {'no row of ' if paths else ''}{files}")
    return wrong, needed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_figures_of_a_page_were_measured(page: Path) -> None:
    elsewhere = ELSEWHERE.get(page.relative_to(ROOT).as_posix(), {})
    wrong, needed = without_source(page, page.read_text(encoding="utf-8"), elsewhere)
    assert wrong == []
    assert elsewhere.keys() - needed == set(), "entries of ELSEWHERE that the page does not need"


def test_pages_of_elsewhere_exist() -> None:
    assert ELSEWHERE.keys() <= {page.relative_to(ROOT).as_posix() for page in PAGES}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page beside a folder benchmarks/ with one table; gives the page's path."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "t.md").write_text("Also 7.25.\n\n| model | dB |\n|---|---|\n| a | 1.25 |\n| b | -0.049 |\n")
    return tmp_path / "README.md"


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("[t](benchmarks/t.md)\n| a | 1.25 |\n| | 1.3 |\n| b | **-0.05** / -0.049 |\n| c | 7.25 and 1.2 |", []),
        ("[t](benchmarks/t.md)\n| a | 1.26 |\n| | -0.05 |\n| b | 0.05 |\n| c | 7.250 |", ["1.26", "-0.05", "0.05", "7.250"]),
        ("[t](benchmarks/t.md): 1.25 dB, not 1.35; version 0.1.0, H.264, Apache-2.0, `2.5`, [2](https://x.org/3.5).", ["1.35"]),
        ("[t](benchmarks/t.md)\n```\n9.5\n```\n# Other\n| a | 1.25 |", ["1.25"]),
        ("Python 3.12 or newer; 2.5 dB, 1.5x, 1.5 times, 0.75 fps and 2.5x.", ["2.5", "1.5", "1.5", "0.75", "2.5"]),
        ("[t](benchmarks/lost.md)", ["lost.md"]),
        ("[t](https://x.org/benchmarks/t.md)\n| a | 1.25 |", ["1.25"]),
    ],
)
def test_a_figure_that_nobody_measured_is_found(table: Path, text: str, figures: list[str]) -> None:
    wrong, _ = without_source(table, text, {})
    assert len(wrong) == len(figures)
    assert all(figure in line for figure, line in zip(figures, wrong, strict=True))


def test_what_is_measured_elsewhere_is_said(table: Path) -> None:
    text = "# One\n| a | 1.5 |\n# Two\n| a | 2.5 | 3.5 |"
    wrong, needed = without_source(table, text, {"2.5": "elsewhere", "One": "elsewhere", "9.5": "elsewhere"})
    assert len(wrong) == 1
    assert "3.5 of 'a' stands in no table" in wrong[0]
    assert needed == {"One", "2.5"}
