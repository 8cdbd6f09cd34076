"""What usage needs and the training data lacks, by cluster and by class."""

from __future__ import annotations

from collections.abc import Sequence

from compass.records import Cluster
from compass.report import figures
from compass.report.blocks import Block, Cell, Chart, Section, Table, Text, table
from compass.report.view import FIGURE_CLUSTERS, MAX_NAME, View, absent
from compass.report.wording import number, of_all, percent, plural
from compass.runs import layout


def need(view: View) -> Section:
    """Show the gap between usage and training data, and how the budget was split over it."""
    clusters = sorted(view.run.clusters, key=lambda c: (-c.gap, -c.usage_share, c.cluster))
    title = "What usage needs, what the training data has"
    if not clusters:
        return absent("need", "Need", title, f"No gap was computed yet: {layout.CLUSTERS} is missing.")
    # A cluster of pool rows alone has no bar.
    shown = [cluster for cluster in clusters if cluster.usage_count or cluster.current_count][:FIGURE_CLUSTERS]
    names = [view.cluster(cluster.cluster) for cluster in shown]
    gaps = [cluster for cluster in clusters if cluster.gap > 0]
    usage, current = sum(c.usage_count for c in clusters), sum(c.current_count for c in clusters)
    blocks: list[Block] = [
        Text(
            f"{plural(usage, 'usage row')} and {plural(current, 'training row')} fall into "
            f"{plural(len(clusters), 'cluster')}. The gap of a cluster is its share of usage minus its share of the "
            "training data, where that is positive. The widest gap comes first."
        ),
        Chart(
            "gap",
            "Shares by cluster",
            f"{plural(len(gaps), 'cluster has', 'clusters have')} a gap."
            + (
                f" The widest is in {names[0]}: {percent(shown[0].usage_share)} of usage, "
                f"{percent(shown[0].current_share)} of the training data."
                if gaps
                else ""
            )
            + of_all(len(shown), len(clusters), "clusters"),
            figures.gap_bars(shown, names),
            _cluster_table(view, clusters),
        ),
    ]
    if view.run.classes:
        blocks.append(_classes(view))
    asked = [cluster for cluster in clusters if round(cluster.demand) > 0 or cluster.picked > 0]
    if drawn := asked[:FIGURE_CLUSTERS]:
        blocks.append(
            Chart(
                "quota",
                "Demand of each cluster, and what was picked from it",
                _demand_sentence(view) + of_all(len(drawn), len(asked), "clusters"),
                figures.quota_bars(drawn, [view.cluster(c.cluster) for c in drawn], view.unit),
            )
        )
    return Section("need", "Need", title, tuple(blocks))


def _demand_sentence(view: View) -> str:
    """Say how much of the demand was filled by the clusters that it is for, and what became of the rest."""
    clusters = view.run.clusters
    demand, picked = sum(c.demand for c in clusters), sum(c.picked for c in clusters)
    own = sum(min(c.picked, c.demand) for c in clusters)
    elsewhere, left = round(picked - own), round(demand - picked)
    text = f"Usage asks for {view.amount(demand)}."
    if elsewhere <= 0 and left <= 0:
        return f"{text} All of them come from the clusters that ask for them."
    text += f" {view.amount(own)} {'comes' if round(own) == 1 else 'come'} from the clusters that ask for them."
    if elsewhere > 0:
        go = "goes" if elsewhere == 1 else "go"
        text += f" {view.amount(elsewhere)} {go} beyond that: their clusters had the best rows left, or no row yet."
    if left > 0:
        text += f" {view.amount(left)} could not be filled."
    return text


def _classes(view: View) -> Chart:
    classes = view.run.classes
    names = [
        figures.shorten(found.name, MAX_NAME) if view.include_texts else f"class {place}"
        for place, found in enumerate(classes, start=1)
    ]
    shown = classes[:FIGURE_CLUSTERS]
    rows: list[list[str | Cell]] = [
        [
            name,
            percent(found.usage_share),
            f"{percent(found.current_share)} ({number(found.current_count)})",
            Cell(number(100 * found.gap, 1), tone="gap" if found.gap > 0 else "quiet"),
            number(found.supply),
            number(found.quota),
            number(found.picked),
        ]
        for name, found in zip(names, classes, strict=True)
    ]
    return Chart(
        "classes",
        "Shares by class",
        "The responses are classes, so each class got a quota of the budget: what usage asks of it, minus what the "
        "training data has. Usage has no responses, so its shares are estimated from the nearest training rows; for "
        "classes without training rows, from the nearest pool rows." + of_all(len(shown), len(classes), "classes"),
        figures.gap_bars(shown, names[: len(shown)]),
        table(
            f"All {plural(len(classes), 'class', 'classes')}: shares (rows), gap in points, and supply of the pool, "
            f"quota and picks in {view.unit}",
            ("Class", "#Usage, estimated", "#Training data", "#Gap", "#Supply", "#Quota", "#Picked"),
            rows,
            collapsed=True,
        ),
    )


def _cluster_table(view: View, clusters: Sequence[Cluster]) -> Table:
    rows = []
    for c in clusters:
        gap = Cell(f"{number(100 * c.gap, 1)}", tone="gap" if c.gap > 0 else "quiet")
        unmet = Cell(number(c.unmet), tone="gap" if round(c.unmet) > 0 else "quiet")
        cells: list[str | Cell] = [view.cluster(c.cluster)]
        if view.include_texts:
            cells.append(Cell(" · ".join(figures.shorten(text, 80) for text in c.examples[:2]), lang="und"))
        cells += [
            f"{percent(c.usage_share)} ({number(c.usage_count)})",
            f"{percent(c.current_share)} ({number(c.current_count)})",
            gap,
            number(c.demand),
            number(c.supply),
            number(c.picked),
            unmet,
        ]
        rows.append(cells)
    examples = ("Nearest examples",) if view.include_texts else ()
    return table(
        f"All {plural(len(clusters), 'cluster')}: shares (rows), gap in points; demand, supply of the pool, picks and "
        f"missing demand in {view.unit}",
        ("Cluster", *examples, "#Usage", "#Training data", "#Gap", "#Demand", "#Supply", "#Picked", "#Missing"),
        rows,
        collapsed=True,
    )
