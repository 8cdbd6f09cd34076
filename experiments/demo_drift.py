"""An adapter follows its usage: steady prompts, drift, update, gate, promotion or refusal, rollback.

    make demo-drift        (python experiments/demo_drift.py --run runs/cy)

Takes the run that `make demo` left; makes a smaller one if it is not there. Usage comes from the grammars of `assist`:
steady prompts ask for the six functions that the adapter was made for; of the drifted ones half ask for four that
neither its usage nor its data had. Each figure shown is measured in this run. Tests are small so that it takes minutes,
and so are the claims: the gate tolerates 15 points here, since 100 rows can't show a loss to be below the default of 3.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.cli.process import NOISY
from compass.config import WatchOptions, load_config, load_options
from compass.data.assist import assist_sentences, load_assist
from compass.data.example import Example
from compass.data.readers import write_jsonl
from compass.recipes.adapt import adapt
from compass.recipes.watch import watch
from compass.records import Event
from compass.registry import Registry
from compass.steps.history import NEEDED

LANGUAGE = "cy"
NEW_INTENTS = {"VacuumCleanArea": 30, "UnpauseTimer": 12, "PauseTimer": 10, "TimerStatus": 8}
"""Intents of the drifted usage and their share in 60 prompts: as many as the Welsh grammar has sentences for."""
AT_HAND = 3
"""Rows of each intent of the drifted usage that somebody has labelled."""

TOLERANCE = 0.15


def main() -> None:
    options = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    work = Path(options.work)
    # What an earlier demo left. The first run is kept: it is the same again.
    for name in ("registry", "watch", "stream", "new"):
        shutil.rmtree(work / name, ignore_errors=True)
    start = time.monotonic()

    say("1. The adapter that serves")
    run = Path(options.run)
    if not all((run / name).is_file() for name in NEEDED):
        print(f"{run} is not a finished run (make demo makes it): a smaller one is made in {work / 'first'}.")
        run = first_run(work, options)
    registry = Registry(work / "registry")
    version = registry.register(run, trigger="adapt")
    registry.promote(LANGUAGE, reason="the first version")
    print(f"{version.id} is in production.")

    say("2. Steady usage")
    data = load_assist(LANGUAGE)
    rng = random.Random("demo-drift")
    steady = steady_usage(data.needed, options.prompts, rng)
    drifted, current, test = new_usage(data.needed, options.rows, options.prompts, rng)
    write_jsonl(work / "new" / "train.jsonl", current)
    write_jsonl(work / "new" / "test.jsonl", test)
    write_jsonl(work / "stream" / "1-steady.jsonl", steady)
    configured = load_options(
        WatchOptions,
        None,
        {
            "registry_dir": str(work / "registry"), "watch_dir": str(work / "watch"),
            "window": 100, "monitor_batch_size": 50, "prompts_per_false_alarm": 10_000,
            # The demo's prompts are nobody's: a generator made them.
            "reservoir": "full", "prompts_after_drift": 150, "min_usage_rows": 50,
            "update_train": str(work / "new" / "train.jsonl"), "update_test": str(work / "new" / "test.jsonl"),
            "gate_rows": options.rows, "fisher_rows": 60,
            "tolerance": TOLERANCE,
        },
    )  # fmt: skip
    overrides = {"budget": options.budget, "max_steps": options.steps, "max_new_tokens": options.max_new_tokens}
    events = watched(work, configured, overrides)
    alarms = sum(event.kind == "drift" for event in events)
    print(f"{alarms} alarms in {events[-1].details['prompts']} prompts.")

    say("3. The usage drifts")
    write_jsonl(work / "stream" / "2-drifted.jsonl", drifted)
    events = watched(work, configured, overrides)
    for event in events:
        if event.kind == "drift" and event.details["explanation"]:
            explain(event.details["explanation"])
            break

    say("4. Old and new usage before and after the update")
    made = [event for event in events if event.kind in ("promotion", "refusal") and "decision" in event.details]
    if not made:
        raise SystemExit("There was no update to show: " + "; ".join(event.summary for event in events))
    decision = made[-1].details["decision"]
    table(
        ("test", "role", "rows", "before", "after", "difference", "must exceed", "p", "verdict"),
        [
            (row["name"], row["role"], str(row["n"]), points(row["before"]), points(row["after"]),
             points(row["difference"], sign=True), points(0.0 - row["margin"], sign=True),
             "-" if row["p"] is None else f"{row['p']:.3f}", row["verdict"])
            for row in decision["tests"]
        ],
    )  # fmt: skip
    print(f"The gate: {decision['verdict']}. {decision['reason']}")

    say("5. Back again")
    if made[-1].kind == "promotion":
        move = registry.rollback(LANGUAGE, reason="the demo's end")
        print(
            f"{move.before} -> {move.after} is in production again. compass registry rollback {LANGUAGE} does the same."
        )
    else:
        print(f"Nothing was promoted, so there is nothing to roll back: {version.id} is in production still.")
    print(f"\n{time.monotonic() - start:.0f} s. Status page: {(work / 'watch' / 'status.html').resolve()}")


def first_run(work: Path, options: argparse.Namespace) -> Path:
    """Adapt to the usage of `assist` on a part of its pool."""
    sources = smaller_data(work / "first-data", LANGUAGE, options.pool_rows)
    english = sources.pop("english")
    config = load_config(
        None,
        {
            **sources, "retention_tests": [english], "language": LANGUAGE,
            "output_dir": str(work / "first"), "model_name_or_path": options.model_name_or_path,
            "budget": 2 * options.budget, "max_steps": 2 * options.steps, "max_new_tokens": options.max_new_tokens,
            "max_test_rows": options.rows, "max_retention_rows": options.rows,
        },
    )  # fmt: skip
    return adapt(config).run_dir


def smaller_data(folder: Path, language: str, pool_rows: int) -> dict[str, str]:
    """Write the data set of a language with a part of its pool; return the file of each part."""
    data = load_assist(language)
    pool = random.Random(0).sample(list(data.pool), min(pool_rows, len(data.pool)))
    parts = {"usage": data.usage, "train": data.train, "pool": pool, "test": data.tests[language],
             "english": data.tests["en"]}  # fmt: skip
    for name, rows in parts.items():
        write_jsonl(folder / f"{name}.jsonl", rows)
    return {name: str(folder / f"{name}.jsonl") for name in parts}


def steady_usage(needed: Sequence[str], n: int, rng: random.Random, language: str = LANGUAGE) -> list[Example]:
    """Draw fresh prompts as the adapter's own usage was drawn: other walks through the grammar, 25 of an intent."""
    rows: list[Example] = []
    for seed in range(1, 100):
        sentences = assist_sentences(language, seed=seed)
        for intent in needed:
            of_intent = [row for row in sentences if row.label == intent]
            rows += rng.sample(of_intent, min(25, len(of_intent)))
        if len(rows) >= n:
            break
    return rng.sample(rows, n)


def new_usage(
    needed: Sequence[str], rows: int, n: int, rng: random.Random
) -> tuple[list[Example], list[Example], list[Example]]:
    """Draw what is asked now: n prompts, half of them as before; a few labelled rows, and `rows` of the new kind held
    out for the gate."""
    sentences = assist_sentences(LANGUAGE, per_intent=400, seed=0)
    stream: list[Example] = []
    current: list[Example] = []
    test: list[Example] = []
    for intent, share in NEW_INTENTS.items():
        of_intent = [row for row in sentences if row.label == intent]
        of_intent = rng.sample(of_intent, len(of_intent))
        held_out = min(round(share * rows / 60), len(of_intent) // 2)
        test += of_intent[:held_out]
        current += of_intent[held_out : held_out + AT_HAND]
        # People repeat themselves, and the grammar has few sentences of some of these functions.
        stream += rng.choices(of_intent[held_out + AT_HAND :], k=round(share * n / 120))
    as_before = steady_usage(needed, n, rng)
    for intent in needed:
        current += [row for row in as_before if row.label == intent][:AT_HAND]
    stream += [row for row in as_before if row not in current][: n - len(stream)]
    return rng.sample(stream, len(stream)), current, rng.sample(test, len(test))


def watched(work: Path, options: WatchOptions, overrides: dict[str, Any]) -> list[Event]:
    events = []
    for event in watch(LANGUAGE, str(work / "stream"), options, overrides=overrides):
        print(f"   {event.kind}: {event.summary}", flush=True)
        events.append(event)
    return events


def explain(told: dict[str, Any]) -> None:
    rows = [
        (word, shift["name"], f"{100 * shift['reference_share']:.0f} %", f"{100 * shift['window_share']:.0f} %",
         f"{100 * shift['contribution']:.0f} %", " · ".join(shift["examples"][:2]))
        for word, shifts in (("grew", told["grew"]), ("shrank", told["shrank"]))
        for shift in shifts
    ]  # fmt: skip
    table(("", "cluster", "then", "now", "of the divergence", "examples"), rows)


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(*names)
    for row in rows:
        shown.add_row(*row)
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(shown)


def points(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def say(title: str) -> None:
    print(f"\n{title}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", default="runs/cy", help="Run folder that `make demo` left.")
    parser.add_argument("--work", default="runs/drift", help="Folder of the demo: registry, loop, stream.")
    parser.add_argument(
        "--model_name_or_path", default="embedded:gemma3-270m", help="Base model of a smaller first run."
    )
    parser.add_argument("--prompts", type=int, default=300, help="Prompts of steady, and of drifted usage.")
    parser.add_argument("--rows", type=int, default=100, help="Rows of each test set, at most.")
    parser.add_argument("--budget", type=int, default=60, help="Rows that the update picks from the pool.")
    parser.add_argument("--steps", type=int, default=40, help="Optimiser steps of the update.")
    parser.add_argument(
        "--max_new_tokens",
        type=int,
        default=64,
        help="Longest answer in tokens; as in `make demo`, whose answers count on.",
    )
    parser.add_argument("--pool_rows", type=int, default=1500, help="Pool rows of a smaller first run.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
