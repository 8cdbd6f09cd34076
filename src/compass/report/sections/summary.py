"""The summary: one sentence with the result, what is behind it, and a table of every test."""

from __future__ import annotations

from compass.report import wording
from compass.report.blocks import Block, Cell, Facts, Section, Table, Text, table
from compass.report.view import NOT_TRAINED, View
from compass.report.wording import capital, language, level, number, percent, plural


def summary(view: View) -> Section:
    """Say in one sentence what the adapter changed, then what is behind it."""
    run = view.run
    blocks: list[Block] = [Text(_headline_sentence(view), "lead")]
    sentences = (_metrics_sentence(view), _gap_sentence(view), _seen_sentence(view), _loss_sentence(view))
    blocks += [Text(sentence) for sentence in sentences if sentence]
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


def _headline_sentence(view: View) -> str:
    run, name = view.run, view.main_test()
    if name is None:
        spoken = plural(len({pick.language for pick in run.picks}), "language")
        picked = f"The strategy {view.strategy} picked {plural(len(run.picks), 'pool row')} in {spoken}"
        return f"{picked} for {language(view.target)}. " + ("" if view.tests() else NOT_TRAINED)
    before, after = run.base.get(name), run.adapter.get(name)
    metric = view.main_metric(name)
    title = wording.in_sentence(wording.metric(metric).title)
    subject = f"On {plural(view.test(name).rows, 'held-out row')} of {view.target_name} usage ({name})"
    if before is None or after is None or metric not in before.metrics or metric not in after.metrics:
        one, which = (before, "the base model") if after is None else (after, "the adapter")
        value = wording.with_interval(metric, one.metrics.get(metric) if one else None)
        missing = "the adapter was not measured" if after is None else "the base model was not measured"
        return f"{subject}, {which} reaches {title} {value}. {capital(missing)}, so nothing can be compared."
    sentence = (
        f"{subject}, {title} went from {wording.with_interval(metric, before.metrics[metric])} "
        f"to {wording.with_interval(metric, after.metrics[metric])}"
    )
    difference = view.difference(name, metric)
    if difference is None:
        return f"{sentence}. No paired difference was computed, so this may be chance."
    return f"{sentence}: {wording.change(metric, difference)}, {wording.verdict(difference)[0]}."


def _metrics_sentence(view: View) -> str:
    """Say by which metrics free text is measured; other responses have exact match, which needs no words."""
    name = view.main_test()
    if name is None or view.test(name).responses != "free text":
        return ""
    titles = [wording.in_sentence(wording.metric(metric).title) for metric in view.test(name).metrics]
    return f"The expected answers are free text, so they are measured by {', '.join(titles[:-1])} and {titles[-1]}."


def _gap_sentence(view: View) -> str:
    gaps = [cluster for cluster in view.run.clusters if cluster.gap > 0]
    if not gaps:
        return ""
    share = sum(cluster.gap for cluster in gaps)
    text = (
        f"The training data lacks {percent(share, 0)} of what usage asks for: {len(gaps)} of "
        f"{plural(len(view.run.clusters), 'cluster')} have a gap."
    )
    # Not `unmet`: a cluster may get less than it asked for although the pool has more of it.
    lacking = sum(max(cluster.demand - cluster.supply, 0.0) for cluster in view.run.clusters)
    if round(lacking) > 0:
        text += f" The pool is {view.amount(lacking)} short of the demand in its clusters."
    return text


def _seen_sentence(view: View) -> str:
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
    text = f"{share} of the adapter's answers on {name} use a label of the training data that no test row asks for"
    return text + (f" (base model: {percent(before.value, 0)})." if before is not None else ".")


def _loss_sentence(view: View) -> str:
    """Say what was lost on the other languages, or that nothing was shown to be lost, which is less than 'kept'."""
    others = [
        (name, difference)
        for name in view.tests()
        if view.test(name).language != view.target
        and (difference := view.difference(name, view.main_metric(name))) is not None
    ]
    if not others:
        return ""
    parts = [
        f"{wording.bare_language(view.test(name).language)} {wording.change(difference.metric, difference)}"
        for name, difference in others
    ]
    titles = list(dict.fromkeys(wording.metric(difference.metric).title for _, difference in others))
    if len(titles) > 1:
        parts = [
            f"{part} ({wording.in_sentence(wording.metric(difference.metric).title)})"
            for part, (_, difference) in zip(parts, others, strict=True)
        ]
    lost = [name for name, difference in others if wording.verdict(difference)[1] == "bad"]
    verdict = (
        f"The adapter answers worse on {', '.join(lost)}."
        if lost
        else "No loss is shown, but tests of this size can miss one."
    )
    return f"{titles[0] if len(titles) == 1 else 'Results'} in other languages: {'; '.join(parts)}. {verdict}"


def _headline_table(view: View) -> Table:
    rows: list[list[str | Cell]] = []
    for name in view.tests():
        test, metric = view.test(name), view.main_metric(name)
        title = wording.metric(metric).title
        rows.append([name, language(test.language), number(test.rows), title, *view.before_after(name, metric)])
    return table(
        f"Every test before and after, with {level(view.confidence)} intervals",
        ("Test", "Language", "#Rows", "Metric", "#Before", "#After", "#Difference", "Reading"),
        rows,
    )
