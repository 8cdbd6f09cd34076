"""The tables of experiments/evidence/*.md, from the answers that are kept in experiments/evidence/results.

    python experiments/evidence_tables.py assist --least 9 --write
    python experiments/evidence_tables.py assist --add runs/evidence/assist

A comparison's cells take hours, so the score of each test row in each of them is kept with the code (no text is):
anyone can count again without training, or add cells. `--add` takes in the cells of a finished `compass compare`; one
that is there already is replaced. Cells of `compass` with another option than the default need a name of their own:

    python experiments/evidence_tables.py assist --add runs/evidence/assist --rename compass=compass-window-20

Where usage is partly covered (`assist:mixed-usage`) the tables come again for each half of usage: the functions of
which the training data has ten rows, and those of which it has two.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from compass.config import CompareConfig, load_options
from compass.data.assist import common_setting, load_assist
from compass.records import Comparison
from compass.selection import strategy_names
from compass.stats import holm
from compass.steps.comparison import LIKENESS, METRICS, metrics_of, paired_comparisons

EVIDENCE = Path(__file__).parent / "evidence"
CELL = ("language", "seed", "budget", "strategy")
ROW = (*CELL, "id", "item", *METRICS)
HALVES = {"uncovered": "Uncovered half of usage", "covered": "Covered half of usage"}
TITLES = {"exact": "exact match", "chrf": "chrF", "token_f1": "token F1", "rouge_l": "ROUGE-L"}
SUMMARY = ("exact", "intent", "loss", "picked", "steps", "train_seconds")

HEAD = """# Tables: {name}

Generated from `results/{name}`; do not edit. To write it again (minutes of a core): `{again}`
Fingerprint of the results: {fingerprint}

Differences are in points, of the loss in nats a byte. [Intervals] are 95 % t intervals over
trainings: pairs of a language and a seed; over all budgets a pair counts once, by the mean of its trainings.
\\*: p < .05 by permutation over test rows; \\*\\*: over trainings as well; both after Holm over the lines of a budget.
Conclusions are in `docs/evidence.md`.
"""

Row = dict[str, Any]
Key = tuple[Any, ...]


def key(row: Mapping[str, Any]) -> Key:
    """Return the cell that a row belongs to, the strategy last."""
    return tuple(row[name] for name in CELL)


def read(folder: Path) -> tuple[list[Row], list[Row]]:
    """Return the rows and the cells that are kept."""
    if not folder.is_dir():
        return [], []
    cells = [json.loads(line) for line in (folder / "cells.jsonl").read_text("utf-8").splitlines()]
    return pq.read_table(folder / "rows.parquet").to_pylist(), cells


def fingerprint(folder: Path) -> str:
    """Return the start of a hash of what is kept of a comparison."""
    found = hashlib.sha256()
    for name in ("cells.jsonl", "rows.parquet"):
        found.update((folder / name).read_bytes())
    return found.hexdigest()[:16]


def halves(config: CompareConfig, rows: Sequence[Row]) -> dict[Key, str]:
    """Return (language, seed, test row) -> the half of usage that it is of, where usage is partly covered."""
    data = config.adapt.data
    if common_setting((data.usage, *data.train, data.test, *data.pool)) != "mixed-usage":
        return {}
    found = {}
    for language, seed in sorted({(row["language"], row["seed"]) for row in rows}):
        draw = load_assist(language, setting="mixed-usage", seed=seed, retention_languages=())
        for row in draw.tests[language]:
            found[language, seed, row.id] = "uncovered" if row.label in draw.needed else "covered"
    return found


def add(folder: Path, run: Path, names: Mapping[str, str], config: CompareConfig) -> None:
    """Take in the cells of a comparison. names: strategy -> what its cells are to be called here."""
    rows, cells = read(folder)
    new_rows, new_cells = (pq.read_table(run / f"{name}.parquet").to_pylist() for name in ("rows", "cells"))
    half = halves(config, new_rows)
    columns = (*ROW, *(["half"] if half else []), *(m for m in LIKENESS if any(m in row for row in new_rows)))
    for row in new_rows:
        if half:
            row["half"] = half[row["language"], row["seed"], row["id"]]
    for row in (*new_rows, *new_cells):
        row["strategy"] = names.get(row["strategy"], row["strategy"])
    known = {key(cell) for cell in new_cells}
    rows = [row for row in rows if key(row) not in known] + [{name: row[name] for name in columns} for row in new_rows]
    losses = defaultdict(list)
    for row in new_rows:
        losses[key(row)].append(row["loss"])
    for cell in new_cells:
        cell["loss"] = sum(losses[key(cell)]) / len(losses[key(cell)])
    cells = [cell for cell in cells if key(cell) not in known] + [
        {name: cell[name] if isinstance(cell[name], str | int) else round(cell[name], 4) for name in (*CELL, *SUMMARY)}
        for cell in new_cells
    ]
    folder.mkdir(parents=True, exist_ok=True)
    rows.sort(key=lambda row: (*key(row), row["id"], row["item"]))
    types = {"seed": pa.int32(), "budget": pa.int32(), **dict.fromkeys((*METRICS, *LIKENESS), pa.float32())}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "rows.parquet", compression="zstd")
    lines = (json.dumps(cell, ensure_ascii=False) + "\n" for cell in sorted(cells, key=key))
    (folder / "cells.jsonl").write_text("".join(lines), encoding="utf-8")


def places_of(rows: Sequence[Row]) -> dict[str, set[Key]]:
    """Return strategy -> the (language, seed, budget) triples that it was trained for."""
    places: dict[str, set[Key]] = defaultdict(set)
    for row in rows:
        places[row["strategy"]].add(key(row)[:-1])
    return places


def shares_cells(rows: Sequence[Row]) -> dict[tuple[Key, ...], list[str]]:
    """Return (language, seed, budget) triples -> strategies that were trained for just these, most triples first."""
    groups: dict[tuple[Key, ...], list[str]] = defaultdict(list)
    for strategy, places in places_of(rows).items():
        groups[tuple(sorted(places))].append(strategy)
    return dict(sorted(groups.items(), key=lambda item: -len(item[0])))


def lines_of(config: CompareConfig, rows: Sequence[Row], first: str) -> list[tuple[str, ...]]:
    """Return a line for each strategy, the first and then by name: name, trainings, means, the first less it.

    Strategies are compared where both were trained; Holm's correction is over all, whatever trainings they have.
    """
    groups = shares_cells(rows)
    found = {
        (c.against, c.metric): c
        for places, strategies in groups.items()
        for c in compared(config, rows, first, strategies, places)
    }
    metrics = metrics_of(rows)
    for metric in metrics:
        own = {name: c for (name, m), c in found.items() if m == metric}
        over_rows = holm({name: c.p_value for name, c in own.items()})
        over_trainings = holm({name: c.runs_p_value for name, c in own.items()})
        for name, c in own.items():
            found[name, metric] = replace(c, p_holm=over_rows[name], runs_p_holm=over_trainings[name])
    lines = []
    for places, strategies in groups.items():
        for strategy in strategies:
            values = [f"{_mean_of_trainings(rows, strategy, m):.3f}".removeprefix("0") for m in metrics]
            differences = [_difference(found.get((strategy, m)), m) for m in metrics]
            lines.append((f"`{strategy}`", str(len(places)), *values, *differences))
    return sorted(lines, key=lambda line: (line[0] != f"`{first}`", line[0]))


def _mean_of_trainings(rows: Sequence[Row], strategy: str, metric: str) -> float:
    """Return the mean over a strategy's trainings, each counting once."""
    trainings: dict[Key, list[float]] = defaultdict(list)
    for row in rows:
        if row["strategy"] == strategy and math.isfinite(row.get(metric, math.nan)):
            trainings[key(row)].append(row[metric])
    return sum(sum(values) / len(values) for values in trainings.values()) / len(trainings)


def head(first: str, rows: Sequence[Row], *columns: str) -> list[str]:
    """Return the head of a table whose lines begin with these columns."""
    metrics = metrics_of(rows)
    short = [m if m == "exact" else TITLES.get(m, m) for m in metrics]
    names = [*columns, *(TITLES.get(m, m) for m in metrics), *(f"`{first}` − it, {m}" for m in short)]
    return [row_of(names), row_of(["---"] * len(names))]


def row_of(cells: Sequence[str]) -> str:
    """Return a line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def by_budget(config: CompareConfig, rows: Sequence[Row], first: str, names: Collection[str], least: int) -> list[str]:
    """Return one table: at each budget the strategies that have `least` trainings, then means over all budgets.

    These are of strategies that have as many trainings as the first.
    """
    budgets = sorted({row["budget"] for row in rows if row["strategy"] in names})
    lines = head(first, rows, "tokens", "strategy", "trainings")
    for budget in (*budgets, *([None] if len(budgets) > 1 else [])):
        chosen = [row for row in rows if budget in (None, row["budget"]) and row["strategy"] in {first, *names}]
        places = places_of(chosen)
        enough = least if budget else len(places[first])
        chosen = [row for row in chosen if row["strategy"] == first or len(places[row["strategy"]]) >= enough]
        found = lines_of(config, chosen, first)
        title = f"{budget:,}" if budget else "**all**"
        lines += [row_of((title, *line)) for line in found if first in names or line[0] != f"`{first}`"]
    return lines


def by_language(config: CompareConfig, rows: Sequence[Row], first: str, names: Collection[str]) -> list[str]:
    """Return one table of the languages, means over all budgets, of strategies that have all trainings of the first."""
    covered = places_of(rows)
    whole = {name for name in names if covered[name] >= covered[first]}
    lines = head(first, rows, "", "strategy")
    for language in sorted({row["language"] for row in rows}):
        chosen = [row for row in rows if row["language"] == language and row["strategy"] in whole]
        found = lines_of(config, chosen, first)
        lines += [row_of((language if i == 0 else "", name, *figures)) for i, (name, _, *figures) in enumerate(found)]
    return lines


def compared(
    config: CompareConfig, rows: Sequence[Row], first: str, strategies: Sequence[str], places: Sequence[Key]
) -> list[Comparison]:
    """Compare the first strategy with others that were trained for just these places, where it was trained too."""
    wanted = {key(row)[:-1] for row in rows if row["strategy"] == first} & set(places)
    chosen = [row for row in rows if row["strategy"] in {first, *strategies} and key(row)[:-1] in wanted]
    budgets = tuple(sorted({budget for _, _, budget in wanted}))
    languages = {language for language, _, _ in wanted}
    if not wanted:
        return []
    grid = replace(config.grid, strategies=(first, *(s for s in strategies if s != first)), budgets=budgets)
    whole = (None if len(budgets) > 1 else budgets[0], "" if len(languages) > 1 else next(iter(languages)))
    return [c for c in paired_comparisons(replace(config, grid=grid), chosen) if (c.budget, c.language) == whole]


def _difference(c: Comparison | None, metric: str) -> str:
    """Write the mean difference of trainings with its interval; *: p < .05 over test rows, **: over trainings too."""
    if c is None:
        return ""

    def text(value: float) -> str:
        # Adding 0.0 takes the sign off a zero.
        written = (
            f"{round(value, 3) + 0.0:+.3f}".replace("0.", ".", 1)
            if metric == "loss"
            else f"{round(100 * value, 1) + 0.0:+.1f}"
        )
        return written.replace("-", "−")

    interval = "" if math.isnan(c.between_runs.low) else f" [{text(c.between_runs.low)}, {text(c.between_runs.high)}]"
    over_rows = c.p_holm < 0.05
    over_trainings = c.runs_p_holm < 0.05
    stars = " **" if over_rows and over_trainings else " *" if over_rows else ""
    value = c.interval.value if math.isnan(c.between_runs.value) else c.between_runs.value
    return text(value) + interval + stars


def main(given: Sequence[str] | None = None) -> None:
    """Print the strategies by budget, by language, and the variants of strategies by budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a file of experiments/evidence, without .yaml")
    parser.add_argument("--add", type=Path, help="folder of a comparison whose cells are to be taken in")
    parser.add_argument("--rename", nargs="+", default=[], metavar="STRATEGY=NAME", help="call added cells otherwise")
    parser.add_argument("--results", type=Path, default=EVIDENCE / "results", help="where results are kept")
    parser.add_argument("--first", default="compass", help="strategy that the others are compared with")
    parser.add_argument("--least", type=int, default=1, help="trainings at a budget from which a strategy is shown")
    parser.add_argument("--write", action="store_true", help="write the tables into experiments/evidence/NAME.md")
    arguments = parser.parse_args(given)
    folder = arguments.results / arguments.name
    config = load_options(CompareConfig, EVIDENCE / f"{arguments.name}.yaml")
    if arguments.add:
        if not (arguments.add / "cells.parquet").is_file():
            parser.error(f"--add: {arguments.add} holds no finished comparison (no cells.parquet); run it to its end")
        add(folder, arguments.add, dict(name.rsplit("=", 1) for name in arguments.rename), config)
    rows, _ = read(folder)
    known = {row["strategy"] for row in rows}
    strategies = known & {*strategy_names(), arguments.first}
    tables = {
        "Strategies": by_budget(config, rows, arguments.first, strategies, arguments.least),
        "By language": by_language(config, rows, arguments.first, strategies),
    }
    if known - strategies:
        tables["Variants"] = by_budget(config, rows, arguments.first, known - strategies, 1)
    for half, title in HALVES.items():
        if own := [row for row in rows if row.get("half") == half]:
            tables[title] = by_budget(config, own, arguments.first, known, arguments.least)
    text = "".join(f"\n## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in tables.items())
    if arguments.write:
        again = f"python experiments/evidence_tables.py {arguments.name} --least {arguments.least} --write"
        head = HEAD.format(name=arguments.name, again=again, fingerprint=fingerprint(folder))
        (EVIDENCE / f"{arguments.name}.md").write_text(head + text, "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
