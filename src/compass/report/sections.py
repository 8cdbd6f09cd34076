"""The report's sections: each function reads the run and returns its part of the page, in words, figures and tables."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compass.records import Cluster, Difference, Interval, Picked
from compass.report import figures, wording
from compass.report.blocks import (
    Block,
    Cell,
    Chart,
    Charts,
    Code,
    Facts,
    Filter,
    Row,
    Section,
    Table,
    Text,
    Toggle,
    table,
)
from compass.report.load import Answer, Run, TestScores
from compass.report.wording import language, number, percent, plural

FIGURE_CLUSTERS = 20
"""Clusters in one figure, at most; the table beside it has them all."""

MAX_NAME = 60
"""Characters of a cluster's name, at most."""

FIGURE_LANGUAGES = 24
"""Languages in one figure, at most."""

TABLE_PICKS = 600
"""Picked rows on the page, at most; selection/selected.jsonl has them all."""

PREDICTIONS_PER_OUTCOME = 12
"""Test rows shown of each outcome (gained, lost, right both times, wrong both times), at most."""

NOT_TRAINED = (
    "This folder holds a selection and nothing after it: no adapter was trained, so nothing was measured. "
    '"compass adapt" with the same configuration goes on from here.'
)


def sections(run: Run, *, include_texts: bool) -> tuple[Section, ...]:
    """Return the page's sections in their order; a section whose stage has not run says so."""
    view = _View(run, include_texts)
    return (
        _headline(view),
        _need(view),
        _map(view),
        _picked(view),
        _training(view),
        _results(view),
        _predictions(view),
        _fertility(view),
        _dropped(view),
        _diagnostics(view),
        _cost(view),
        _reproduce(view),
    )


class _View:
    """The run with what every section asks of it: the target, the main test, and names that may be shown."""

    def __init__(self, run: Run, include_texts: bool) -> None:
        self.run = run
        self.include_texts = include_texts
        self.target = str(run.options.get("language") or "und")
        self.target_name = wording.bare_language(self.target) if self.target != "und" else "the target language"
        self.strategy = str(run.options.get("strategy") or "unknown")
        self.unit = str(run.options.get("budget_unit") or "examples")
        self.confidence = float(run.options.get("confidence") or 0.95)
        self.clusters = {cluster.cluster: cluster for cluster in run.clusters}

    def cluster(self, identity: int) -> str:
        """Name a cluster. Names are made of the texts' words, so they go where texts go."""
        found = self.clusters.get(identity)
        if found is None or found.name in ("", f"cluster {identity}") or not self.include_texts:
            return "outside every cluster" if identity < 0 else f"cluster {identity}"
        return f"{identity} · {figures.shorten(found.name, MAX_NAME)}"

    def tests(self) -> list[str]:
        """Return the names of all tests, those in the target language first, the largest of them on top."""
        both = {**self.run.base, **self.run.adapter}
        return sorted(both, key=lambda name: (both[name].language != self.target, -both[name].rows, name))

    def test(self, name: str) -> TestScores:
        return self.run.adapter.get(name) or self.run.base[name]

    def main_test(self) -> str | None:
        """Return the largest test in the target language: the one that the headline is about."""
        names = self.tests()
        return names[0] if names and self.test(names[0]).language == self.target else None

    def difference(self, name: str, metric: str, cluster: int | None = None) -> Difference | None:
        for row in self.run.differences:
            if (row.name, row.metric, row.cluster) == (name, metric, cluster):
                return row
        return None


def _headline(view: _View) -> Section:
    run = view.run
    blocks: list[Block] = [Text(_headline_sentence(view), "lead")]
    blocks += [
        Text(sentence) for sentence in (_gap_sentence(view), _seen_sentence(view), _loss_sentence(view)) if sentence
    ]
    pool = next((row.kept for row in run.cleaning if row.name == "pool"), 0)
    facts = [
        ("Language", language(view.target)),
        ("Base model", str(run.options.get("model_name_or_path") or "–")),
        ("Strategy", view.strategy),
        ("Picked", f"{number(len(run.picks))} of {number(pool)} pool rows" if pool else plural(len(run.picks), "row")),
        ("Languages picked from", number(len({pick.language for pick in run.picks}))),
    ]
    if run.training_result:
        facts.append(("Training", wording.seconds(float(run.training_result.get("train_seconds") or 0.0))))
    blocks.append(Facts(tuple(facts)))
    if view.tests():
        blocks.append(_headline_table(view))
    return Section("summary", "Summary", "Summary", tuple(blocks))


def _headline_sentence(view: _View) -> str:
    run, name = view.run, view.main_test()
    picked = f"the strategy {view.strategy} picked {plural(len(run.picks), 'pool row')} in {_languages(run.picks)}"
    if name is None:
        return f"{_capital(picked)} for {language(view.target)}. " + ("" if view.tests() else NOT_TRAINED)
    before, after = run.base.get(name), run.adapter.get(name)
    metric = "exact_match" if "exact_match" in view.test(name).metrics else next(iter(view.test(name).metrics), "")
    title = wording.metric(metric).title.lower()
    subject = f"On {plural(view.test(name).rows, 'held-out row')} of {view.target_name} usage ({name})"
    if before is None or after is None or metric not in before.metrics or metric not in after.metrics:
        one, which = (before, "the base model") if after is None else (after, "the adapter")
        value = wording.with_interval(metric, one.metrics.get(metric) if one else None)
        missing = "the adapter was not measured" if after is None else "the base model was not measured"
        return f"{subject}, {which} reaches {title} {value}; {missing}, so there is no before and after."
    sentence = (
        f"{subject}, {title} went from {wording.with_interval(metric, before.metrics[metric])} "
        f"to {wording.with_interval(metric, after.metrics[metric])}"
    )
    difference = view.difference(name, metric)
    if difference is None:
        return f"{sentence}; no paired difference was taken, so whether this is more than chance is not said."
    return f"{sentence}: {wording.change(metric, difference)}, {wording.verdict(difference)[0]}."


def _gap_sentence(view: _View) -> str:
    gaps = [cluster for cluster in view.run.clusters if cluster.gap > 0]
    if not gaps:
        return ""
    share = sum(cluster.gap for cluster in gaps)
    text = (
        f"{percent(share, 0)} of the usage falls outside what the data at hand covers, in "
        f"{plural(len(gaps), 'cluster')} of {len(view.run.clusters)}."
    )
    # Not `unmet`: a cluster may get less than it asked for although the pool has more of it.
    lacking = sum(max(cluster.demand - cluster.supply, 0.0) for cluster in view.run.clusters)
    if round(lacking) > 0:
        text += f" The pool could not fill {_budget(view, lacking)} of the demand."
    return text


def _seen_sentence(view: _View) -> str:
    name = view.main_test()
    if name is None:
        return ""
    before, after = (
        tests[name].metrics.get("seen_label_share") if name in tests else None
        for tests in (view.run.base, view.run.adapter)
    )
    if after is None:
        return ""
    share = percent(after.value, 0)
    text = f"{share} of the adapter's answers there repeat labels of the data at hand that no test row asks for"
    return text + (f" (base model: {percent(before.value, 0)})." if before is not None else ".")


def _loss_sentence(view: _View) -> str:
    """Say what was lost on the other languages, or that nothing was shown to be lost, which is less than 'kept'."""
    others = [
        (name, difference)
        for name in view.tests()
        if view.test(name).language != view.target and (difference := view.difference(name, "exact_match")) is not None
    ]
    if not others:
        return ""
    parts = [
        f"{wording.bare_language(view.test(name).language)} {wording.change('exact_match', difference)}"
        for name, difference in others
    ]
    lost = [name for name, difference in others if wording.verdict(difference)[1] == "bad"]
    verdict = (
        f"a loss is shown on {', '.join(lost)}"
        if lost
        else "no loss is shown, which at these sizes does not rule a small one out"
    )
    return f"Other languages, exact match: {'; '.join(parts)}: {verdict}."


def _headline_table(view: _View) -> Table:
    rows: list[list[str | Cell]] = []
    for name in view.tests():
        test = view.test(name)
        metric = "exact_match" if "exact_match" in test.metrics else next(iter(test.metrics), "")
        rows.append([name, language(test.language), number(test.rows), *_before_after_cells(view, name, metric)])
    return table(
        f"Exact match before and after, with {percent(view.confidence, 0)} intervals",
        ("Test", "Language", "#Rows", "#Before", "#After", "#Difference", "Reading"),
        rows,
    )


def _before_after_cells(view: _View, name: str, metric: str) -> list[str | Cell]:
    cells: list[str | Cell] = [
        wording.with_interval(metric, tests[name].metrics.get(metric) if name in tests else None)
        for tests in (view.run.base, view.run.adapter)
    ]
    difference = view.difference(name, metric)
    if difference is None:
        return [*cells, "–", Cell("no paired difference", tone="quiet")]
    text, tone = wording.verdict(difference)
    return [*cells, wording.change(metric, difference), Cell(text, tone=tone)]


def _need(view: _View) -> Section:
    clusters = sorted(view.run.clusters, key=lambda c: (-c.gap, -c.usage_share, c.cluster))
    title = "What usage needs, what the data has"
    if not clusters:
        return _absent("need", "Need", title, "No gap was computed yet: selection/clusters.parquet is missing.")
    shown = clusters[:FIGURE_CLUSTERS]
    names = [view.cluster(cluster.cluster) for cluster in shown]
    gaps = [cluster for cluster in clusters if cluster.gap > 0]
    usage, current = sum(c.usage_count for c in clusters), sum(c.current_count for c in clusters)
    demand, picked = sum(c.demand for c in clusters), sum(c.picked for c in clusters)
    unmet = sum(c.unmet for c in clusters)
    blocks: list[Block] = [
        Text(
            f"{plural(usage, 'usage row')} and {plural(current, 'row')} of data at hand fall into "
            f"{plural(len(clusters), 'cluster')}. A cluster's gap is its share of usage beyond its share of the data; "
            "clusters with the widest gap come first."
        ),
        Chart(
            "gap",
            "Shares by cluster",
            f"Usage asks for more than the data has in {plural(len(gaps), 'cluster')}"
            + (
                f"; the widest gap is {names[0]}, {percent(shown[0].usage_share)} of usage against "
                f"{percent(shown[0].current_share)} of the data."
                if gaps
                else "."
            )
            + _of_all(len(shown), len(clusters), "clusters"),
            figures.gap_bars(shown, names),
            _cluster_table(view, clusters),
        ),
    ]
    if view.run.classes:
        blocks.append(_answer_kinds(view))
    asked = [cluster for cluster in clusters if cluster.demand > 0 or cluster.picked > 0][:FIGURE_CLUSTERS]
    if asked:
        blocks.append(
            Chart(
                "quota",
                "What was picked of what was asked for",
                f"Demand {_budget(view, demand)}, picked {_budget(view, picked)}, unmet {_budget(view, unmet)}."
                + ("" if round(unmet) else " Every cluster's demand was met."),
                figures.quota_bars(asked, [view.cluster(c.cluster) for c in asked], view.unit),
            )
        )
    return Section("need", "Need", title, tuple(blocks))


def _answer_kinds(view: _View) -> Chart:
    kinds = view.run.classes
    names = [
        figures.shorten(kind.name, MAX_NAME) if view.include_texts else f"kind {place}"
        for place, kind in enumerate(kinds, start=1)
    ]
    shown = kinds[:FIGURE_CLUSTERS]
    rows: list[list[str | Cell]] = [
        [
            name,
            percent(kind.usage_share),
            f"{percent(kind.current_share)} ({number(kind.current_count)})",
            Cell(number(100 * kind.gap, 1), tone="gap" if kind.gap > 0 else "quiet"),
            number(kind.supply),
            number(kind.quota),
            number(kind.picked),
        ]
        for name, kind in zip(names, kinds, strict=True)
    ]
    return Chart(
        "kinds",
        "Shares by kind of answer",
        "Answers are of kinds here, so the budget was split over them: what usage asks of each, less what the data at "
        "hand has. Usage comes without answers; its shares are estimates, by the rows at hand that are near, and by "
        "the pool for kinds of which nothing is at hand." + _of_all(len(shown), len(kinds), "kinds"),
        figures.gap_bars(shown, names[: len(shown)]),
        table(
            f"All {plural(len(kinds), 'kind')} of answer that usage asks for or the data has: shares (rows), gap in "
            f"points, and what the pool holds, was to give and gave, in {view.unit}",
            ("Kind of answer", "#Usage, estimated", "#Data at hand", "#Gap", "#Supply", "#Quota", "#Picked"),
            rows,
            collapsed=True,
        ),
    )


def _cluster_table(view: _View, clusters: Sequence[Cluster]) -> Table:
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
        f"All {plural(len(clusters), 'cluster')}: shares (rows), gap in points, demand, supply, picked and unmet",
        ("Cluster", *examples, "#Usage", "#Data at hand", "#Gap", "#Demand", "#Supply", "#Picked", "#Unmet"),
        rows,
        collapsed=True,
    )


def _map(view: _View) -> Section:
    points, title = view.run.points, "The map"
    if not points:
        return _absent("map", "Map", title, "No map was drawn: selection/map.parquet is missing.")
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
        "Each mark is a text in the language-free space, projected to two dimensions: near marks tend to mean the "
        "same thing, whatever their language; distances between far marks say little. Drag to move, use the buttons to "
        "zoom, point at a mark to read it.",
        figures.map_scatter(points, names),
        table("Texts on the map", ("Set", "#Texts in the sample", "#Drawn", "#Languages"), rows, collapsed=True),
        tuple(Toggle(i, legend, colour, symbol) for i, (_, legend, colour, symbol, *_) in enumerate(figures.SETS)),
    )
    return Section("map", "Map", title, (chart,))


def _picked(view: _View) -> Section:
    picks, title = view.run.picks, "Picked rows"
    if not picks:
        return _absent("picked", "Picked", title, "No rows were picked, or selection/selected.jsonl is missing.")
    by_language = Counter(pick.language for pick in picks).most_common()
    by_cluster = Counter(pick.cluster for pick in picks).most_common()
    languages = {tag: language(tag) for tag, _ in by_language[:FIGURE_LANGUAGES]}
    clusters = {cluster: view.cluster(cluster) for cluster, _ in by_cluster[:FIGURE_CLUSTERS]}
    top = ", ".join(f"{wording.bare_language(tag)} {count}" for tag, count in by_language[:3])
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
        f"{plural(len(picks), 'row')} in {_languages(picks)} and {plural(len(by_cluster), 'cluster')}; most from {top}."
        + _of_all(len(languages), len(by_language), "languages")
        + _of_all(len(clusters), len(by_cluster), "clusters"),
        figures.picked_heatmap(picks, languages, clusters),
        counts,
    )
    notes = sorted(view.run.selection_notes.items(), key=lambda note: (-note[1], note[0]))
    blocks: list[Block] = [chart, _pick_table(view, picks, by_language, by_cluster)]
    if notes:
        rows = [(note, number(count)) for note, count in notes]
        blocks.insert(1, table("What else happened while picking", ("What", "#Rows"), rows))
    return Section("picked", "Picked", title, tuple(blocks))


def _pick_table(
    view: _View, picks: Sequence[Picked], by_language: list[tuple[str, int]], by_cluster: list[tuple[int, int]]
) -> Table:
    # With a long selection an even spread of ranks is shown, so that the last picks can be judged as well.
    shown = _spread(picks, TABLE_PICKS)
    rows = []
    for pick in shown:
        cells = [Cell(number(pick.rank))]
        if view.include_texts:
            cells += [Cell(pick.prompt, lang=pick.language), Cell(figures.shorten(pick.response, 160), code=True)]
        cells += [
            Cell(language(pick.language)),
            Cell(view.cluster(pick.cluster)),
            Cell(number(pick.score, 3)),
            Cell(pick.reason, tone="quiet"),
        ]
        rows.append(Row(tuple(cells), {"language": pick.language, "cluster": str(pick.cluster)}))
    texts = ("Text", "Response") if view.include_texts else ()
    present = {(pick.language, pick.cluster) for pick in shown}
    return Table(
        caption="The rows themselves, with the reason for each",
        columns=("#Rank", *texts, "Language", "Cluster", "#Score", "Reason"),
        rows=tuple(rows),
        id="picks",
        note=(
            f"{number(len(shown))} of {number(len(picks))} rows, evenly over the ranks; "
            "selection/selected.jsonl has all of them."
            if len(shown) < len(picks)
            else ""
        )
        + ("" if view.include_texts else " Texts are left out of this report on request."),
        filters=(
            Filter(
                "language",
                "Language",
                tuple(
                    (tag, f"{language(tag)} · {count}")
                    for tag, count in by_language
                    if any(tag == found for found, _ in present)
                ),
            ),
            Filter(
                "cluster",
                "Cluster",
                tuple(
                    (str(cluster), f"{view.cluster(cluster)} · {count}")
                    for cluster, count in by_cluster
                    if any(cluster == found for _, found in present)
                ),
            ),
        ),
        searchable=True,
    )


def _training(view: _View) -> Section:
    run, title = view.run, "Training"
    if not run.training_log and not run.training_result:
        return _absent("training", "Training", title, NOT_TRAINED)
    result = run.training_result
    facts: list[tuple[str, str]] = []
    for key, term, word in (
        ("averaged_trainings", "Trainings averaged", lambda value: number(value)),
        ("steps", "Steps", lambda value: number(value)),
        ("tokens", "Tokens in an epoch", lambda value: number(value)),
        ("train_seconds", "Time", wording.seconds),
        ("peak_memory_bytes", "Peak memory", wording.memory),
        ("trainable_parameters", "Trainable parameters", lambda value: number(value)),
    ):
        if isinstance(result.get(key), int | float):
            facts.append((term, word(float(result[key]))))
    blocks: list[Block] = [Facts(tuple(facts))] if facts else []
    losses = [entry for entry in run.training_log if "loss" in entry and "step" in entry]
    if losses:
        first, last = losses[0], losses[-1]
        rows = [
            [
                number(float(entry["step"])),
                number(float(entry["epoch"]), 2) if "epoch" in entry else "–",
                number(float(entry["loss"]), 4),
                f"{float(entry['learning_rate']):.2e}" if "learning_rate" in entry else "–",
            ]
            for entry in losses
        ]
        blocks.append(
            Chart(
                "curves",
                "Training curves",
                f"The training loss went from {number(float(first['loss']), 3)} at step {number(float(first['step']))} "
                f"to {number(float(last['loss']), 3)} at step {number(float(last['step']))}. A low training loss alone "
                "says nothing of unseen rows: see the results below.",
                figures.training_curves(run.training_log),
                table("The trainer's log", ("#Step", "#Epoch", "#Loss", "#Learning rate"), rows, collapsed=True),
            )
        )
    return Section("training", "Training", title, tuple(blocks))


def _results(view: _View) -> Section:
    title = "Before and after"
    names = view.tests()
    if not names:
        return _absent("results", "Results", title, NOT_TRAINED)
    blocks: list[Block] = []
    if not view.run.adapter or not view.run.base:
        which = "adapter" if not view.run.adapter else "base model"
        blocks.append(Text(f"Only one side was measured: there are no figures of the {which}.", "note"))
    blocks.append(
        Text(
            f"Bars are {percent(view.confidence, 0)} bootstrap intervals over test rows. Differences are paired: both "
            "models answer the same rows, so an interval that excludes zero is a change, even where the two bars of "
            "before and after overlap. The intervals know nothing of other seeds of the training."
        )
    )
    metrics = wording.metric_order({m for name in names for m in view.test(name).metrics})
    blocks.append(Charts(tuple(_metric_chart(view, name, names) for name in metrics)))
    blocks.append(_all_metrics_table(view, names, metrics))
    blocks += _difference_charts(view)
    blocks += _cluster_results(view)
    blocks += _seen_table(view)
    return Section("results", "Results", title, tuple(blocks))


def _metric_chart(view: _View, metric: str, names: list[str]) -> Chart:
    how = wording.metric(metric)
    rows = [
        (_test_label(view, name), _metric_of(view.run.base, name, metric), _metric_of(view.run.adapter, name, metric))
        for name in names
    ]
    return Chart(
        f"metric-{metric.replace('_', '-')}",
        how.title,
        _capital(how.meaning) + "." if how.meaning else "",
        figures.before_after(rows, as_percent=how.as_percent, axis="" if how.as_percent else "nats per byte"),
    )


def _metric_of(tests: Mapping[str, TestScores], name: str, metric: str) -> Interval | None:
    return tests[name].metrics.get(metric) if name in tests else None


def _all_metrics_table(view: _View, names: list[str], metrics: list[str]) -> Table:
    rows: list[list[str | Cell]] = []
    for name in names:
        for metric in metrics:
            if metric in view.test(name).metrics:
                rows.append(
                    [
                        _test_label(view, name),
                        number(view.test(name).rows),
                        wording.metric(metric).title,
                        *_before_after_cells(view, name, metric),
                    ]
                )
    return table(
        "Every metric on every test",
        ("Test", "#Rows", "Metric", "#Before", "#After", "#Difference", "Reading"),
        rows,
        collapsed=True,
    )


def _difference_charts(view: _View) -> list[Block]:
    order = {metric: i for i, metric in enumerate(wording.METRICS)}
    tests = {name: i for i, name in enumerate(view.tests())}
    # Neither direction of the share of seen labels is a success, so it has no place among gains and losses.
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
                f"Of {plural(len(chosen), 'difference')}, {tones['good']} show an improvement, {tones['bad']} a loss, "
                f"and {tones['quiet']} no change (the interval includes zero)."
                + ("" if as_percent else " Lower is better."),
                figures.difference_forest(
                    chosen,
                    [f"{d.name}: {wording.metric(d.metric).title.lower()}" for d in chosen],
                    as_percent=as_percent,
                ),
            )
        )
    return list(charts)


def _cluster_results(view: _View) -> list[Block]:
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
            f"Higher after than before in {better} of {len(present)} clusters, in order of their gap. "
            "Clusters hold few rows, so their intervals are wide; a single cluster seldom settles anything."
            + _of_all(min(len(present), FIGURE_CLUSTERS), len(present), "clusters"),
            figures.before_after(triples[:FIGURE_CLUSTERS], as_percent=True, axis="exact match"),
            table(
                f"Exact match by cluster, on {name}",
                ("Cluster", "#Gap", "#Rows", "#Before", "#After", "#Difference", "Reading"),
                cells,
                collapsed=True,
            ),
        )
    ]


def _seen_table(view: _View) -> list[Block]:
    """Count right answers apart for test rows whose label the data at hand has, and for those whose it has not."""
    name = view.main_test()
    if name is None or name not in view.run.adapter or not view.run.adapter[name].seen_labels:
        return []
    seen = frozenset(view.run.adapter[name].seen_labels)
    labels = {answer.id: answer.label for answer in view.run.adapter[name].answers if answer.label}
    if not seen.intersection(labels.values()):
        return []
    rows = []
    for title, wanted in (("Label is in the data at hand", True), ("Label is not in the data at hand", False)):
        ids = {i for i, label in labels.items() if (label in seen) is wanted}
        cells = [title, number(len(ids))]
        for tests in (view.run.base, view.run.adapter):
            answers = tests[name].answers if name in tests else ()
            right = sum(1 for answer in answers if answer.id in ids and answer.exact)
            cells.append(f"{right} ({percent(right / len(ids), 0)})" if ids and answers else "–")
        rows.append(cells)
    return [
        table(
            f"Right answers on {name}, by whether the data at hand has the row's label",
            ("Test rows", "#Rows", "#Right before", "#Right after"),
            rows,
            note="Counts; no interval was taken of these.",
        )
    ]


def _predictions(view: _View) -> Section:
    title, name = "Answers", view.main_test()
    run = view.run
    if not view.tests():
        return _absent("answers", "Answers", title, NOT_TRAINED)
    if name is None or name not in run.base or name not in run.adapter:
        return _absent(
            "answers",
            "Answers",
            title,
            "Answers are compared on a test in the target language that both "
            "models answered; there is none in this run.",
        )
    after = {answer.id: answer for answer in run.adapter[name].answers}
    pairs = [(before, after[before.id]) for before in run.base[name].answers if before.id in after]
    groups: dict[str, list[tuple[Answer, Answer]]] = {outcome: [] for outcome in _OUTCOMES}
    for pair in pairs:
        groups[_outcome(*pair)].append(pair)
    counts = table(
        f"Outcomes on {plural(len(pairs), 'row')} of {name}",
        ("", "#Right after", "#Wrong after"),
        [
            ["Right before", number(len(groups["kept"])), number(len(groups["lost"]))],
            ["Wrong before", number(len(groups["gained"])), number(len(groups["wrong"]))],
        ],
    )
    if not view.include_texts:
        return Section(
            "answers", "Answers", title, (counts, Text("Texts are left out of this report on request.", "note"))
        )
    rows = []
    for outcome, group in groups.items():
        for before, answer in _spread(group, PREDICTIONS_PER_OUTCOME):
            cells = (
                Cell(answer.prompt, lang=answer.language),
                Cell(answer.expected, code=True),
                Cell(
                    figures.shorten(before.prediction, 300) or "(empty)",
                    tone="good" if before.exact else "bad",
                    code=True,
                ),
                Cell(
                    figures.shorten(answer.prediction, 300) or "(empty)",
                    tone="good" if answer.exact else "bad",
                    code=True,
                ),
                Cell(_OUTCOMES[outcome]),
            )
            rows.append(Row(cells, {"outcome": outcome}))
    sample = Table(
        caption="A sample of the answers",
        columns=("Prompt", "Expected", "Before", "After", "Outcome"),
        rows=tuple(rows),
        id="answers-table",
        note=f"At most {PREDICTIONS_PER_OUTCOME} rows of each outcome, evenly over the test: the sample's proportions "
        "are not the test's. All answers are in eval/.",
        filters=(
            Filter(
                "outcome",
                "Outcome",
                tuple((key, f"{label} · {len(groups[key])}") for key, label in _OUTCOMES.items() if groups[key]),
            ),
        ),
        searchable=True,
    )
    return Section("answers", "Answers", title, (counts, sample))


_OUTCOMES = {"gained": "Gained", "lost": "Lost", "kept": "Right both times", "wrong": "Wrong both times"}


def _prediction(answer: Answer) -> Cell:
    text = figures.shorten(answer.prediction, 300) or "(empty)"
    return Cell(text, tone="good" if answer.exact else "bad", code=True)


def _outcome(before: Answer, after: Answer) -> str:
    if after.exact:
        return "kept" if before.exact else "gained"
    return "lost" if before.exact else "wrong"


def _fertility(view: _View) -> Section:
    title = "Tokenizer fertility"
    rows = sorted(view.run.fertility, key=lambda row: (-(row.relative_to_english or 0.0), row.language))
    if not rows:
        return _absent("fertility", "Fertility", title, "Fertility was not measured: data/fertility.json is missing.")
    target = next((row for row in rows if row.language == view.target), None)
    comparable = [row for row in rows if row.relative_to_english is not None]
    shown = comparable[:FIGURE_LANGUAGES]
    if target in comparable and target not in shown:
        shown = [*shown[:-1], target]
    said = (
        f"{view.target_name} takes {number(target.relative_to_english, 2)} times the tokens of English a word"
        f" ({number(target.tokens_per_word, 2)}). "
        if target is not None and target.relative_to_english is not None
        else ""
    )
    chart = Chart(
        "fertility",
        "Tokens relative to English",
        said + "More tokens for the same text mean slower answers and less room in the context; an adapter leaves the "
        "tokenizer as it is." + _of_all(len(shown), len(comparable), "languages"),
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


def _dropped(view: _View) -> Section:
    title, cleaning = "Dropped rows", view.run.cleaning
    if not cleaning:
        return _absent("dropped", "Dropped", title, "No account of cleaning: data/cleaning.json is missing.")
    reasons = sorted({reason for row in cleaning for reason, count in row.dropped.items() if count})
    redacted = sum(row.redacted for row in cleaning)
    rows: list[Sequence[str | Cell]] = [
        [
            row.name,
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
    total, kept = sum(sum(row.dropped.values()) for row in cleaning), sum(row.kept for row in cleaning)
    return Section(
        "dropped",
        "Dropped",
        title,
        (
            Text(
                f"Cleaning dropped {plural(total, 'row')} of {number(total + kept)} before anything was embedded."
                + (
                    f" In {plural(redacted, 'row')} that stay, private data was replaced by its kind."
                    if redacted
                    else ""
                )
            ),
            table(
                "Rows kept and dropped, by set and reason",
                (
                    "Set",
                    "#Kept",
                    *("#" + _capital(reason.replace("_", " ")) for reason in reasons),
                    "#Dropped in all",
                    *(["#Private data replaced"] if redacted else []),
                ),
                rows,
            ),
        ),
    )


def _count(value: int) -> Cell:
    return Cell(number(value), tone="" if value else "quiet")


def _diagnostics(view: _View) -> Section:
    title, found = "Is the space sound?", view.run.diagnostics
    if not found:
        return _absent("diagnostics", "Diagnostics", title, "No diagnostics: space/diagnostics.json is missing.")
    meanings = (
        (
            "nmi_language_before",
            "Clusters against language, before removal",
            "0: language plays no part; 1: it decides",
        ),
        ("nmi_language_after", "Clusters against language, after removal", "should be clearly below the row above"),
        ("nmi_label_before", "Clusters against label, before removal", "1: clusters are the labels"),
        ("nmi_label", "Clusters against label, after removal", "1: clusters are the labels; higher is better"),
        ("nmi_label_after", "Clusters against label, after removal", "1: clusters are the labels; higher is better"),
        ("stability", "Stability between seeds", "1: another seed gives the same clusters"),
        ("chosen_k", "Number of clusters, K", "chosen from the grid below, or given"),
    )
    rows: list[Sequence[str | Cell]] = [
        (what, number(float(found[key]), 0 if key == "chosen_k" else 2), Cell(meaning, tone="quiet"))
        for key, what, meaning in meanings
        if isinstance(found.get(key), int | float)
    ]
    blocks: list[Block] = []
    before, after = found.get("nmi_language_before"), found.get("nmi_language_after")
    if isinstance(before, int | float) and isinstance(after, int | float):
        judged = "less" if after < before else "no less"
        blocks.append(
            Text(
                f"After language removal clusters say {judged} about language than before: normalised mutual "
                f"information {number(before, 2)} before, {number(after, 2)} after."
            )
        )
    blocks.append(table("Diagnostics of the semantic space", ("What", "#Value", "How to read it"), rows))
    grid = [row for row in found.get("grid") or () if isinstance(row, Mapping)]
    key = next((name for name in ("k", "n_clusters", "K") if grid and name in grid[0]), None)
    if key is not None:
        columns = [key, *(name for name in grid[0] if name != key)]
        chosen = found.get("chosen_k")
        blocks.append(
            Chart(
                "grid",
                "Choice of the number of clusters",
                f"{plural(len(grid), 'value')} of K were tried"
                + (f"; K = {number(chosen)} was taken (dotted line)." if isinstance(chosen, int | float) else "."),
                figures.cluster_count_grid(grid, key, chosen if isinstance(chosen, int | float) else None),
                table(
                    "The grid",
                    tuple("#" + _capital(name.replace("_", " ")) for name in columns),
                    [[_plain(row.get(name)) for name in columns] for row in grid],
                    collapsed=True,
                ),
            )
        )
    sizes = found.get("sizes")
    if isinstance(sizes, list) and sizes:
        ordered = sorted(int(size) for size in sizes)
        blocks.append(
            Text(
                f"Cluster sizes: smallest {number(ordered[0])}, median {number(ordered[len(ordered) // 2])}, "
                f"largest {number(ordered[-1])} rows."
            )
        )
    return Section("diagnostics", "Diagnostics", title, tuple(blocks))


def _cost(view: _View) -> Section:
    title, stages = "Cost", view.run.stages
    if not stages:
        return _absent("cost", "Cost", title, "No stage was timed: logs/stages.jsonl is missing.")
    ran = [stage for stage in stages if not stage.skipped]
    total, peak = sum(stage.seconds for stage in ran), max((stage.peak_memory_bytes for stage in stages), default=0.0)
    skipped = len(stages) - len(ran)
    summary = f"{wording.seconds(total)} in all, at most {wording.memory(peak)} of memory."
    if skipped:
        summary += f" {_capital(plural(skipped, 'stage'))} had run before and took nothing anew."
    rows: list[Sequence[str | Cell]] = [
        [
            stage.stage,
            wording.seconds(stage.seconds),
            percent(stage.seconds / total, 0) if total and not stage.skipped else "–",
            wording.memory(stage.peak_memory_bytes),
            Cell("skipped: finished in an earlier run" if stage.skipped else "", tone="quiet"),
        ]
        for stage in stages
    ]
    chart = Chart(
        "cost",
        "Time by stage",
        summary,
        figures.stage_bars(stages),
        table("Seconds and peak memory by stage", ("Stage", "#Time", "#Share", "#Peak memory", "Note"), rows),
    )
    return Section("cost", "Cost", title, (chart,))


def _reproduce(view: _View) -> Section:
    run = view.run
    trained = bool(run.training_result or run.training_log or run.adapter)
    command = run.lock.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else shlex.split(str(command or ""))
    # Names of folders and files, not their paths: a path may say who ran it.
    command = shlex.join(word if word.startswith("hub:") else word.rsplit("/", 1)[-1] for word in words)
    command = command or f"compass {'adapt' if trained else 'select'} --config {run.folder.name}/compass.yaml"
    blocks: list[Block] = [
        Text(
            "The configuration below is complete: every option, defaults included. With the same versions, revisions "
            "and seed the same rows are picked; training repeats up to the arithmetic of the device."
        ),
        Code(str(command)),
    ]
    licences = run.lock.get("licences")
    if isinstance(licences, Mapping) and licences:
        blocks.append(
            table(
                "Licences of what was used", ("Artefact", "Licence"), [[str(k), _plain(v)] for k, v in licences.items()]
            )
        )
    else:
        blocks.append(Text("lock.json names no licences: look them up before you share the adapter.", "note"))
    loose = {key: value for key, value in run.lock.items() if not isinstance(value, Mapping) and key != "command"}
    groups = {key: value for key, value in run.lock.items() if isinstance(value, Mapping) and key != "licences"}
    if loose:
        groups = {"run": loose, **groups}
    for key, values in groups.items():
        blocks.append(
            table(
                f"lock.json: {key.replace('_', ' ')}",
                ("Name", "Value"),
                [(str(name), Cell(_plain(value), code=True)) for name, value in values.items()],
                collapsed=True,
            )
        )
    if not run.lock:
        blocks.append(Text("lock.json is missing: versions, revisions and hashes of this run are unknown.", "note"))
    if run.options:
        blocks.append(
            table(
                "Every option (compass.yaml)",
                ("Option", "Value"),
                [(name, Cell(_plain(value), code=True)) for name, value in run.options.items()],
                collapsed=True,
            )
        )
    return Section("reproduce", "Reproduce", "How to reproduce", tuple(blocks))


def _absent(id: str, nav: str, title: str, why: str) -> Section:
    return Section(id, nav, title, (Text(why, "note"),))


def _budget(view: _View, amount: float) -> str:
    return plural(round(amount), "token" if view.unit == "tokens" else "row")


def _languages(picks: Iterable[Picked]) -> str:
    return plural(len({pick.language for pick in picks}), "language")


def _test_label(view: _View, name: str) -> str:
    tag = view.test(name).language
    spoken = wording.bare_language(tag)
    return name if tag in (name, "und") or spoken.lower() == name.lower() else f"{name} ({spoken})"


def _of_all(shown: int, total: int, what: str) -> str:
    return f" The figure shows {shown} of {total} {what}; the table has all." if shown < total else ""


def _spread(rows: Sequence[Any], limit: int) -> list[Any]:
    """Return at most `limit` rows, evenly over all of them and always the same ones."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[i * len(rows) // limit] for i in range(limit)]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(value: Any) -> str:
    """Return a value of a lock or a configuration as one line."""
    if value is None or value == "":
        return "–"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value) or "–"
    return str(value)
