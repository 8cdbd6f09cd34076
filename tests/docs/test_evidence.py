"""The evidence: its generated tables are those of the results that are kept, and the docs' table is taken from them."""

from __future__ import annotations

import importlib.util
import re
import runpy
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / "experiments" / "evidence"
NAMES = sorted(path.parent.name for path in (EVIDENCE / "results").glob("*/cells.jsonl"))


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_tables", ROOT / "experiments" / "evidence_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| \n").split("|")]


def test_there_are_results() -> None:
    assert {"assist", "sib200"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_up_to_date(name: str, tables: ModuleType) -> None:
    """Results that were added without writing the tables again would be missing from what people read."""
    text = (EVIDENCE / f"{name}.md").read_text("utf-8")
    fingerprint = tables.fingerprint(EVIDENCE / "results" / name)
    again = re.search("`(python experiments/evidence_tables[^`]*)`", text)
    assert again is not None
    assert fingerprint in text, f"run: {again[1]}"


def test_the_figure_is_that_of_the_results() -> None:
    """Results that were added without drawing it again would be missing from the page's first figure."""
    draw = runpy.run_path(str(ROOT / "experiments" / "evidence_figure.py"))
    assert (ROOT / "docs" / "images" / "evidence.svg").read_text("utf-8") == draw["figure"](), draw["__doc__"]
    kept = pq.read_table(EVIDENCE / "results" / "assist" / "rows.parquet")
    rows = kept.group_by(["strategy", "budget"]).aggregate([("exact", "mean")]).to_pylist()
    exact = {(row["strategy"], row["budget"]): row["exact_mean"] for row in rows}
    marks = draw["marks"](EVIDENCE / "results" / "assist", "exact", 100)
    for budget in (1000, 2000, 4000):
        mark = marks["compass", budget]
        assert mark.trainings == 9
        assert mark.value == pytest.approx(100 * (exact["compass", budget] - exact["random", budget]))
    assert not draw["marks"](EVIDENCE / "results" / "none", "exact", 100)
    # What is far from the others would make them one point: it is written beside an arrow.
    for value, arrow in ((-705.0, True), (-150.0, False)):
        values = {"compass": (40.0, 25.0), "tsds": (42.0, 24.0), "target-only": (value, 233.0)}
        far = {(name, "6,000 tokens"): draw["Mark"](*of, 9) for name, of in values.items()}
        drawn = "\n".join(draw["_panel"](draw["PANELS"][3], far, 0.0, 0.0))
        assert ("−705 ± 233" in drawn) is ("polygon" in drawn) is arrow
        assert drawn.count("<circle") == 3 - arrow


def test_means_are_those_of_the_results() -> None:
    """An independent mean over trainings: each counts once."""
    rows = pq.read_table(EVIDENCE / "results" / "assist" / "rows.parquet")
    by_cell = rows.group_by(["strategy", "language", "seed", "budget"]).aggregate([("exact", "mean")])
    means = by_cell.group_by("strategy").aggregate([("exact_mean", "mean")]).to_pydict()
    exact = dict(zip(means["strategy"], means["exact_mean_mean"], strict=True))
    lines = [cells(line) for line in (EVIDENCE / "assist.md").read_text("utf-8").splitlines() if "**all**" in line]
    assert len(lines) > 12
    for _, strategy, _, shown, *_ in lines:
        assert abs(exact[strategy.strip("`")] - float(shown)) < 0.00051, strategy


def test_the_docs_show_the_generated_figures() -> None:
    generated = {
        name: [figure.replace(" *", "").replace("*", "") for figure in figures]
        for name, figures in (
            (line[1], line[3:])
            for line in map(cells, (EVIDENCE / "assist.md").read_text("utf-8").splitlines())
            if line[0] == "**all**"
        )
    }
    page = (ROOT / "docs" / "evidence.md").read_text("utf-8")
    shown = [cells(line) for line in page.splitlines() if re.match(r"\| `", line)]
    assert len(shown) == 13
    for name, *figures in shown:
        assert [figure for figure in figures if figure] == [f.strip() for f in generated[name] if f.strip()], name


def test_the_readme_shows_the_generated_figures() -> None:
    """README's table is a selection of the generated one: exact match, and intent accuracy in brackets."""
    by_language: dict[tuple[str, str], str] = {}
    language = ""
    for line in (EVIDENCE / "assist.md").read_text("utf-8").partition("## By language")[2].splitlines():
        if line.startswith("## "):
            break
        if re.match(r"\| *(\w\w)? *\| `", line):
            own, name, exact, intent, *_ = (cell.strip() for cell in line[1:].split("|"))
            language = own or language
            by_language[language, name] = f"{exact} ({float(intent):.2f})".replace("0.", ".")
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    shown = [cells(line) for line in readme if re.match(r"\| \w+ \| \.", line)]
    names = {"Welsh": "cy", "Greek": "el", "Nepali": "ne"}
    assert {row[0] for row in shown} == set(names)
    for row in shown:
        expected = [by_language[names[row[0]], f"`{name}`"] for name in ("random", "tsds", "compass")]
        assert row[1:4] == expected
