"""What the adapter changed: every metric before and after, with intervals and paired differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from compass.records import Interval
from compass.report import figures, wording
from compass.report.blocks import Block, Cell, Chart, Charts, Section, Table, Text, table
from compass.report.load import TestScores
from compass.report.view import FIGURE_CLUSTERS, NOT_TRAINED, View, absent
from compass.report.wording import capital, level, number, of_all, percent, plural


def results(view: View) -> Section:
    """Show every metric before and after, its paired difference, and the same by cluster."""
    title = "Before and after"
    names = view.tests()
    if not names:
        return absent("results", "Results", title, NOT_TRAINED)
    blocks: list[Block] = []
    if not view.run.adapter or not view.run.base:
        which = "adapter" if not view.run.adapter else "base model"
        blocks.append(Text(f"Only one of the two models was measured. Results of the {which} are missing.", "note"))
    blocks.append(
        Text(
            f"Bars are {level(view.confidence)} bootstrap intervals over test rows, or Wilson intervals where all "
            "rows of a test are right or all are wrong. Differences are paired: both models answer the same rows. An "
            "interval that excludes zero shows a change, even where the bars of before and after overlap. Intervals do "
            "not cover how results vary between training seeds."
        )
    )
    metrics = _in_order(view, names)
    blocks.append(Charts(tuple(_metric_chart(view, name, names) for name in metrics)))
    blocks.append(_all_metrics_table(view, names, metrics))
    blocks += _difference_charts(view)
    blocks += _cluster_results(view)
    blocks += _seen_table(view)
    return Section("results", "Results", title, tuple(blocks))


def _in_order(view: View, names: list[str]) -> list[str]:
    """Return all metrics; those of the first test lead as its evaluation has them, the best suited one on top."""
    every = {metric for name in names for metric in view.test(name).metrics}
    first = view.test(names[0])
    own = list(first.metrics) if first.responses else []
    return own + [metric for metric in wording.metric_order(every) if metric not in own]


def _metric_chart(view: View, metric: str, names: list[str]) -> Chart:
    how = wording.metric(metric)
    rows = [
        (view.label(name), _metric_of(view.run.base, name, metric), _metric_of(view.run.adapter, name, metric))
        for name in names
    ]
    return Chart(
        f"metric-{metric.replace('_', '-')}",
        how.title,
        capital(how.meaning) + "." if how.meaning else "",
        figures.before_after(rows, as_percent=how.as_percent, axis="" if how.as_percent else "nats per byte"),
    )


def _metric_of(tests: Mapping[str, TestScores], name: str, metric: str) -> Interval | None:
    return tests[name].metrics.get(metric) if name in tests else None


def _all_metrics_table(view: View, names: list[str], metrics: list[str]) -> Table:
    rows: list[list[str | Cell]] = []
    for name in names:
        for metric in metrics:
            if metric in view.test(name).metrics:
                rows.append(
                    [
                        view.label(name),
                        number(view.test(name).rows),
                        wording.metric(metric).title,
                        *view.before_after(name, metric),
                    ]
                )
    return table(
        "Every metric on every test",
        ("Test", "#Rows", "Metric", "#Before", "#After", "#Difference", "Reading"),
        rows,
        collapsed=True,
    )


def _difference_charts(view: View) -> list[Block]:
    tests = {name: i for i, name in enumerate(view.tests())}
    order = {metric: i for i, metric in enumerate(_in_order(view, list(tests)))}
    # The share of training-only labels has no better direction, so it has no place among gains and losses.
    whole = [d for d in view.run.differences if d.cluster is None and wording.metric(d.metric).better != 0]
    whole.sort(key=lambda d: (tests.get(d.name, len(tests)), order.get(d.metric, len(order)), d.metric))
    charts = []
    for as_percent, key, title in (
        (True, "differences", "Paired differences"),
        (False, "differences-loss", "Paired differences of the loss"),
    ):
        chosen = [d for d in whole if wording.metric(d.metric).as_percent is as_percent]
        if not chosen:
            continue
        tones = Counter(wording.verdict(d)[1] for d in chosen)
        charts.append(
            Chart(
                key,
                title,
                f"{plural(len(chosen), 'difference')}: {tones['good']} better, {tones['bad']} worse, "
                f"{tones['quiet']} without a clear change (the interval includes zero)."
                + ("" if as_percent else " Lower is better."),
                figures.difference_forest(
                    chosen,
                    [f"{d.name}: {wording.in_sentence(wording.metric(d.metric).title)}" for d in chosen],
                    as_percent=as_percent,
                ),
            )
        )
    return list(charts)


def _cluster_results(view: View) -> list[Block]:
    name = view.main_test()
    if name is None:
        return []
    before, after = (
        {score.cluster: score for score in tests[name].by_cluster} if name in tests else {}
        for tests in (view.run.base, view.run.adapter)
    )
    present = sorted(
        before.keys() | after.keys(),
        key=lambda c: (-(view.clusters[c].gap if c in view.clusters else 0.0), c),
    )
    if not present:
        return []
    rows_of = {c: (after.get(c) or before[c]).rows for c in present}
    triples = [
        (
            # Shortened here, so that the number of rows is never what falls off.
            f"{figures.shorten(view.cluster(c), 28)} (n = {rows_of[c]})",
            before[c].exact_match if c in before else None,
            after[c].exact_match if c in after else None,
        )
        for c in present
    ]
    cells: list[list[str | Cell]] = []
    for c, (_, old, new) in zip(present, triples, strict=True):
        difference = view.difference(name, "exact_match", c)
        reading: list[str | Cell] = ["–", "–"]
        if difference is not None:
            text, tone = wording.verdict(difference)
            reading = [wording.change("exact_match", difference), Cell(text, tone=tone)]
        cells.append(
            [
                view.cluster(c),
                percent(view.clusters[c].gap) if c in view.clusters else "–",
                number(rows_of[c]),
                wording.with_interval("exact_match", old),
                wording.with_interval("exact_match", new),
                *reading,
            ]
        )
    better = sum(1 for _, old, new in triples if old is not None and new is not None and new.value > old.value)
    return [
        Chart(
            "by-cluster",
            f"Exact match by cluster, on {name}",
            f"The adapter is better in {better} of {plural(len(present), 'cluster')}. The widest gap comes first. "
            "Bars are Wilson intervals here; those of differences are bootstrap intervals. Clusters have few rows, so "
            "all are wide and a single cluster shows little."
            + of_all(min(len(present), FIGURE_CLUSTERS), len(present), "clusters"),
            figures.before_after(triples[:FIGURE_CLUSTERS], as_percent=True, axis="exact match"),
            table(
                f"Exact match by cluster, on {name}",
                ("Cluster", "#Gap", "#Rows", "#Before", "#After", "#Difference", "Reading"),
                cells,
                collapsed=True,
            ),
        )
    ]


def _seen_table(view: View) -> list[Block]:
    """Count right answers on test rows whose label is in the training data, and on the others."""
    name = view.main_test()
    if name is None or name not in view.run.adapter or not view.run.adapter[name].seen_labels:
        return []
    seen = frozenset(view.run.adapter[name].seen_labels)
    labels = {answer.id: answer.label for answer in view.run.adapter[name].answers if answer.label}
    if not seen.intersection(labels.values()):
        return []
    rows = []
    for title, wanted in (("Label is in the training data", True), ("Label is not in the training data", False)):
        ids = {i for i, label in labels.items() if (label in seen) is wanted}
        cells = [title, number(len(ids))]
        for tests in (view.run.base, view.run.adapter):
            answers = tests[name].answers if name in tests else ()
            right = sum(1 for answer in answers if answer.id in ids and answer.exact)
            cells.append(f"{right} ({percent(right / len(ids), 0)})" if ids and answers else "–")
        rows.append(cells)
    return [
        table(
            f"Right answers on {name}, by whether the row's label is in the training data",
            ("Test rows", "#Rows", "#Right before", "#Right after"),
            rows,
            note="Counts, without intervals.",
        )
    ]
