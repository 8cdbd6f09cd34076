"""The page on data says what the table of shapes says."""

from __future__ import annotations

from pathlib import Path

import pytest

from compass.data.readers.shapes import ANSWER_FIELDS, COMMON_FIELDS, SHAPES

PAGE = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text("utf-8")


def test_the_table_of_shapes_is_the_readers() -> None:
    """Breaks if a shape is added, or changes its columns or its place, and the page still tells the old ones."""
    rows = []
    for shape in SHAPES:
        response = ", ".join(f"`{name}`" for name in shape.response)
        others = ", ".join(f"`{name}`: {use}" for name, use in shape.others.items())
        cells = (shape.name, f"`{shape.prompt}`", response, others)
        rows.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    assert "\n".join(rows) in PAGE


@pytest.mark.parametrize("column", [*COMMON_FIELDS, *ANSWER_FIELDS])
def test_the_columns_of_every_shape_are_named(column: str) -> None:
    """Breaks if a column is read that no page tells of."""
    assert f"`{column}`" in PAGE
