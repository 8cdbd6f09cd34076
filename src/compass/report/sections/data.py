"""The data behind the run: tokens by language, rows that cleaning dropped, and checks of the semantic space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from compass.report import figures
from compass.report.blocks import Block, Cell, Chart, Section, Text, table
from compass.report.view import FIGURE_LANGUAGES, View, absent
from compass.report.wording import capital, language, number, of_all, plain, plural, set_name
from compass.runs import layout

MEANINGS = (
    (
        "nmi_language_before",
        "Clusters and language, before removal (NMI)",
        "0: clusters do not depend on language; 1: clusters are languages",
    ),
    ("nmi_language_after", "Clusters and language, after removal (NMI)", "should be clearly lower than before"),
    ("nmi_label_before", "Clusters and labels, before removal (NMI)", "1: clusters are the labels"),
    ("nmi_label", "Clusters and labels, after removal (NMI)", "1: clusters are the labels"),
    ("nmi_label_after", "Clusters and labels, after removal (NMI)", "1: clusters are the labels"),
    ("stability", "Stability over seeds", "1: another seed gives the same clusters"),
    ("chosen_k", "Number of clusters, K", "given, or chosen from the grid below"),
)
"""Each check of the space, by its key in the file: what it is, and how to read it."""


def fertility(view: View) -> Section:
    """Show how many tokens each language takes."""
    title = "Tokenizer fertility"
    rows = sorted(view.run.fertility, key=lambda row: (-(row.relative_to_english or 0.0), row.language))
    if not rows:
        return absent("fertility", "Fertility", title, f"Fertility was not measured: {layout.FERTILITY} is missing.")
    target = next((row for row in rows if row.language == view.target), None)
    comparable = [row for row in rows if row.relative_to_english is not None]
    shown = comparable[:FIGURE_LANGUAGES]
    if target in comparable and target not in shown:
        shown = [*shown[:-1], target]
    said = (
        f"{view.target_name} takes {number(target.tokens_per_word, 2)} tokens per word, "
        f"{number(target.relative_to_english, 2)} times as many as English. "
        if target is not None and target.relative_to_english is not None
        else ""
    )
    chart = Chart(
        "fertility",
        "Tokens relative to English",
        said + "More tokens for the same text mean slower answers and less room in the context. An adapter does not "
        "change the tokenizer." + of_all(len(shown), len(comparable), "languages"),
        figures.fertility_bars(shown, [language(row.language) for row in shown], view.target),
        table(
            "Fertility by language",
            ("Language", "#Tokens per word", "#Tokens per byte", "#Relative to English"),
            [
                [
                    language(row.language),
                    number(row.tokens_per_word, 2),
                    number(row.tokens_per_byte, 3),
                    "–" if row.relative_to_english is None else number(row.relative_to_english, 2),
                ]
                for row in rows
            ],
            collapsed=True,
        ),
    )
    return Section("fertility", "Fertility", title, (chart,))


def dropped(view: View) -> Section:
    """Count the rows that cleaning dropped, by set and reason."""
    title, cleaning = "Dropped rows", view.run.cleaning
    if not cleaning:
        return absent("dropped", "Dropped", title, f"Cleaning has no record: {layout.CLEANING} is missing.")
    reasons = sorted({reason for row in cleaning for reason, count in row.dropped.items() if count})
    redacted = sum(row.redacted for row in cleaning)
    rows: list[Sequence[str | Cell]] = [
        [
            set_name(row.name),
            number(row.kept),
            *(
                Cell(number(row.dropped.get(reason, 0)), tone="" if row.dropped.get(reason) else "quiet")
                for reason in reasons
            ),
            number(sum(row.dropped.values())),
            *([_count(row.redacted)] if redacted else []),
        ]
        for row in cleaning
    ]
    too_long = ", ".join(f"{number(rows)} of {set_name(name)}" for name, rows in view.run.too_long.items() if rows)
    total, kept = sum(sum(row.dropped.values()) for row in cleaning), sum(row.kept for row in cleaning)
    return Section(
        "dropped",
        "Dropped",
        title,
        (
            Text(
                f"Cleaning dropped {number(total)} of {plural(total + kept, 'row')}."
                + (
                    f" {layout.DROPPED} names each with its place and reason."
                    if total and view.run.lists_dropped
                    else ""
                )
                + (f" In {plural(redacted, 'other row')} it replaced private data by placeholders." if redacted else "")
                + (f" Longer than max_length, and left out as well: {too_long}." if too_long else "")
            ),
            table(
                "Rows kept and dropped, by set and reason",
                (
                    "Set",
                    "#Kept",
                    *("#" + capital(reason.replace("_", " ")) for reason in reasons),
                    "#Dropped, total",
                    *(["#Private data replaced"] if redacted else []),
                ),
                rows,
            ),
        ),
    )


def _count(value: int) -> Cell:
    return Cell(number(value), tone="" if value else "quiet")


def diagnostics(view: View) -> Section:
    """Show whether the space groups by meaning rather than by language."""
    title, found = "Checks of the semantic space", view.run.diagnostics
    if not found:
        return absent(
            "diagnostics", "Diagnostics", title, f"The space was not checked: {layout.DIAGNOSTICS} is missing."
        )
    rows: list[Sequence[str | Cell]] = [
        (what, number(float(found[key]), 0 if key == "chosen_k" else 2), Cell(meaning, tone="quiet"))
        for key, what, meaning in MEANINGS
        if isinstance(found.get(key), int | float)
    ]
    blocks: list[Block] = []
    before, after = found.get("nmi_language_before"), found.get("nmi_language_after")
    if isinstance(before, int | float) and isinstance(after, int | float):
        judged = "less" if after < before else "no less"
        blocks.append(
            Text(
                f"After language removal, clusters depend {judged} on language: normalised mutual information (NMI) is "
                f"{number(before, 2)} before and {number(after, 2)} after."
            )
        )
    blocks.append(table("Diagnostics of the semantic space", ("What", "#Value", "How to read it"), rows))
    blocks += _grid(found)
    sizes = found.get("sizes")
    if isinstance(sizes, list) and sizes:
        ordered = sorted(int(size) for size in sizes)
        blocks.append(
            Text(
                f"Cluster sizes: smallest {number(ordered[0])}, median {number(median(ordered))}, "
                f"largest {number(ordered[-1])} rows."
            )
        )
    return Section("diagnostics", "Diagnostics", title, tuple(blocks))


def _grid(found: Mapping[str, Any]) -> list[Block]:
    """Show how the number of clusters was chosen; nothing where it was given."""
    grid = [row for row in found.get("grid") or () if isinstance(row, Mapping)]
    key = next((name for name in ("k", "n_clusters", "K") if grid and name in grid[0]), None)
    if key is None:
        return []
    columns = [key, *(name for name in grid[0] if name != key)]
    chosen = found.get("chosen_k")
    k = chosen if isinstance(chosen, int | float) else None
    return [
        Chart(
            "grid",
            "Choice of the number of clusters",
            f"K was chosen from {plural(len(grid), 'value')}"
            + (f": {number(k)} (dotted line)." if k is not None else "."),
            figures.cluster_count_grid(grid, key, k),
            table(
                "The grid",
                tuple("#" + capital(name.replace("_", " ")) for name in columns),
                [[plain(row.get(name)) for name in columns] for row in grid],
                collapsed=True,
            ),
        )
    ]
