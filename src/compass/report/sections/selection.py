"""The map of all texts, the picked rows, and why each was picked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from compass.records import Picked
from compass.report import figures, wording
from compass.report.blocks import Block, Cell, Chart, Filter, Row, Section, Table, Toggle, table
from compass.report.view import FIGURE_CLUSTERS, FIGURE_LANGUAGES, View, absent, spread
from compass.report.wording import language, number, of_all, percent, plural
from compass.runs import layout

CURVE_ROWS = 20
"""Points of a curve in its table, at most."""
TABLE_PICKS = 600
"""Picked rows on the page, at most; the run folder has them all."""

RESERVED = ("added so that its cluster gets at least one row", "lest its cluster has nothing")
"""How the reason of a reserved row begins, now and in version 0.1, whose reserved rows come first."""


def text_map(view: View) -> Section:
    """Show usage, training data, pool and picks on one map."""
    points, title = view.run.points, "The map"
    if not points:
        return absent("map", "Map", title, f"No map was drawn: {layout.MAP} is missing.")
    counts = Counter(point.set for point in points)
    if not view.include_texts:
        points = tuple(figures.without_text(point) for point in points)
    drawn = {key: len(figures.thin(points, key)) for key, *_ in figures.SETS}
    names = {point.cluster: view.cluster(point.cluster) for point in points}
    rows = [
        [legend, number(counts[key]), number(drawn[key]), number(len({p.language for p in points if p.set == key}))]
        for key, legend, *_ in figures.SETS
    ]
    chart = Chart(
        "map",
        "Texts by meaning",
        "Each mark is a text, projected from the semantic space to two dimensions. Marks that are close tend to mean "
        "the same, in any language; long distances mean little. Drag to move, zoom with the buttons, point at a mark "
        "to read it.",
        figures.map_scatter(points, names),
        table("Texts on the map", ("Set", "#Texts in the sample", "#Drawn", "#Languages"), rows, collapsed=True),
        tuple(Toggle(i, legend, colour, symbol) for i, (_, legend, colour, symbol, *_) in enumerate(figures.SETS)),
    )
    return Section("map", "Map", title, (chart,))


def picked(view: View) -> Section:
    """Show where the picks come from, and each of them with its reason."""
    picks, title = view.run.picks, "Picked rows"
    if not picks:
        return absent("picked", "Picked", title, f"No row was picked, or {layout.PICKS} is missing.")
    by_language = Counter(pick.language for pick in picks).most_common()
    by_cluster = Counter(pick.cluster for pick in picks).most_common()
    languages = {tag: language(tag) for tag, _ in by_language[:FIGURE_LANGUAGES]}
    clusters = {cluster: view.cluster(cluster) for cluster, _ in by_cluster[:FIGURE_CLUSTERS]}
    top = ", ".join(f"{wording.bare_language(tag)} ({count})" for tag, count in by_language[:3])
    both = Counter((pick.cluster, pick.language) for pick in picks)
    counts = table(
        "Picked rows by language",
        ("Language", "#Rows", "#Share", "Clusters with the most"),
        [
            [
                language(tag),
                number(count),
                percent(count / len(picks)),
                ", ".join(
                    f"{view.cluster(c)} ({both[c, tag]})"
                    for c in sorted(dict(by_cluster), key=lambda c: -both[c, tag])[:3]
                    if both[c, tag]
                ),
            ]
            for tag, count in by_language
        ],
        collapsed=True,
    )
    chart = Chart(
        "picked",
        "By cluster and language",
        f"{plural(len(picks), 'row')} from {plural(len(by_language), 'language')} and "
        f"{plural(len(by_cluster), 'cluster')}. The most come from {top}."
        + of_all(len(languages), len(by_language), "languages")
        + of_all(len(clusters), len(by_cluster), "clusters"),
        figures.picked_heatmap(picks, languages, clusters),
        counts,
    )
    notes = sorted(view.run.selection_notes.items(), key=lambda note: (-note[1], note[0]))
    blocks: list[Block] = [*_how_many(view), chart]
    if notes:
        rows = [(view.words(note), number(count)) for note, count in notes]
        blocks.append(table("Pool rows passed over, and other notes on the selection", ("Note", "#Rows"), rows))
    reserved = [pick for pick in picks if pick.reason.startswith(RESERVED)]
    ranked = [pick for pick in picks if not pick.reason.startswith(RESERVED)]
    if ranked:
        blocks.append(_pick_table(view, ranked))
    if reserved:
        blocks.append(_reserved_table(view, reserved))
    return Section("picked", "Picked", title, tuple(blocks))


def _how_many(view: View) -> list[Block]:
    """Show the curve that the budget was read from, where it was not given."""
    found = view.run.how_many
    if found is None:
        return []
    shown = spread(list(zip(found.spent, found.covered, found.drawn, strict=True)), CURVE_ROWS)
    rows = [[number(spent), percent(picks), percent(drawn)] for spent, picks, drawn in shown]
    chart = Chart(
        "how-many",
        "How many",
        f"Budget auto found {found.summary()}. Budgets up to {found.largest:,} {found.unit} were "
        "tried. The line of random rows has the slope of the first random row.",
        figures.how_many_curves(found),
        table("Usage that is served, by budget", (f"#{found.unit.capitalize()}", "#Picks", "#Random rows"), rows,
              collapsed=True),
    )  # fmt: skip
    return [chart]


def _pick_table(view: View, picks: Sequence[Picked]) -> Table:
    # With a long selection an even spread of ranks is shown, so that the last picks can be judged as well.
    shown = spread(picks, TABLE_PICKS)
    by_language = Counter(pick.language for pick in shown).most_common()
    by_cluster = Counter(pick.cluster for pick in shown).most_common()
    notes = []
    if len(shown) < len(picks):
        notes.append(
            f"{number(len(shown))} of {number(len(picks))} rows, evenly over the ranks. {layout.PICKS} has all of them."
        )
    if not view.include_texts:
        notes.append("This report was made without texts, as asked.")
    return Table(
        caption="Picked rows, best first",
        columns=_columns(view),
        rows=tuple(_pick_row(view, pick) for pick in shown),
        id="picks",
        note=" ".join(notes),
        filters=(
            Filter("language", "Language", tuple((tag, f"{language(tag)} · {n}") for tag, n in by_language)),
            Filter("cluster", "Cluster", tuple((str(c), f"{view.cluster(c)} · {n}") for c, n in by_cluster)),
        ),
        searchable=True,
    )


def _reserved_table(view: View, reserved: Sequence[Picked]) -> Table:
    return Table(
        caption="Rows added so that each cluster with a gap gets at least one",
        columns=_columns(view),
        rows=tuple(_pick_row(view, pick) for pick in reserved),
        id="reserved",
        note="These rows did not win their place by score. Each is the closest pool row to a usage row of its cluster.",
    )


def _columns(view: View) -> tuple[str, ...]:
    return ("#Rank", *(("Text", "Response") if view.include_texts else ()), "Language", "Cluster", "#Score", "Reason")


def _pick_row(view: View, pick: Picked) -> Row:
    cells = [Cell(number(pick.rank))]
    if view.include_texts:
        cells += [Cell(pick.prompt, lang=pick.language), Cell(figures.shorten(pick.response, 160), code=True)]
    cells += [
        Cell(language(pick.language)),
        Cell(view.cluster(pick.cluster)),
        Cell(number(pick.score, 3)),
        Cell(view.words(pick.reason), tone="quiet"),
    ]
    return Row(tuple(cells), {"language": pick.language, "cluster": str(pick.cluster)})
