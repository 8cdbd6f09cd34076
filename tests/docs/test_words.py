"""The pages use the words of the glossary: those of version 0.1 are explained there and used nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compass.config import gone_options
from compass.selection import describe_strategies
from compass.selection.catalogue import Description

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GONE = re.compile(
    r"\b(data|rows) at hand\b|\bkinds? of answers?\b|\bbeside the point\b|\bfamiliarity\b|\blooks? come\b|\babroad\b"
    r"|\bwhat_hinders\b|\blest\b|\btakes? turns\b",
    re.I,
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_private_words_are_gone(page: Path) -> None:
    """A newcomer must not learn a private language first."""
    text = page.read_text("utf-8")
    if page.name == "glossary.md":
        text = text.partition("## Retired words")[0]
    found = [(text.count("\n", 0, match.start()) + 1, match[0]) for match in GONE.finditer(text)]
    assert found == []


@pytest.mark.parametrize("strategy", describe_strategies(), ids=lambda strategy: strategy.name)
def test_private_words_are_gone_from_the_list_of_strategies(strategy: Description) -> None:
    """`compass strategies` prints the first sentences of docstrings."""
    assert GONE.findall(" ".join([strategy.picks, *map(str, strategy.parameters)])) == []


HISTORY = ("evidence.md", "glossary.md", "selection.md")
"""Pages that say what was measured with options of version 0.1."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_removed_options_are_not_recommended(page: Path) -> None:
    """An option that is refused must not stand in a guide."""
    named = set(re.findall(r"`(?:--)?([a-z][a-z_-]+)", page.read_text("utf-8")))
    found = {
        name
        for name, gone in gone_options().items()
        if not gone.parameter[0] and {name, name.replace("_", "-")} & named
    }
    assert page.name in HISTORY or not found, f"{sorted(found)}: what replaces them is in config/gone.py"
