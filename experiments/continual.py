"""An adapter through five periods of shifting usage, by every way to update it: what it learns and what it forgets.

    python experiments/continual.py --languages cy ne --seeds 0 1 2
    python experiments/continual.py --languages cy --seeds 0 --chains ecda-lambda-200 replay-beta-1
    python experiments/continual_report.py --html runs/continual/report.html     tables, paired intervals, heat maps

Usage is of `assist`. Its intents fall into three groups of four, drawn anew for each language and seed:

    0 start        the first group; the adapter of `adapt` is made for it
    1 new          the second group alone: nothing of it was known
    2 the same     as period 1: no drift, so a good trigger does not update
    3 mix, register  the third group, and half of the second in a polite register
    4 return       the first group again

Each period brings a window of prompts, six labelled rows of each intent, and 72 rows that COMPASS picks from the pool
for what the window needs and the history lacks; they are the same for all chains, and so are the optimiser steps. A
chain (language, seed, way to update) is a line of the output for each period; what is there is not run again. A score
says whether greedy decoding writes the response token for token (`LanguageModel.answers_exactly`).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import UPDATE_METHODS, AdaptConfig, TrainingConfig, UpdateConfig
from compass.data.assist import POOL_LANGUAGES, assist_sentences
from compass.data.classes import number_classes
from compass.data.cleaning import clean
from compass.data.example import Example
from compass.drift.tests.histogram import CalibratedDivergence
from compass.encoders import load_encoder
from compass.selection import build_candidates, get_strategy
from compass.semantic.space import SemanticSpace
from compass.steps.resources import cache_folder
from compass.training import BaseModel, Fisher, LanguageModel, accumulate, adapter_fisher, resolve_model, train
from compass.training.retention.anchors import draw_anchors
from compass.training.update import update_adapter

N_CLUSTERS = 60
SENTENCES = 120
"""Sentences of an intent that are walked, at most; what is not held out or at hand is the stream's."""
GROUP = 4
"""Intents of a group."""
TEST_ROWS = 10
"""Held-out rows of an intent in each period that asks for it."""
ENGLISH_ROWS = 3
AT_HAND = {0: 10, 1: 6, 3: 6, 4: 6}
"""Labelled rows of an intent that a period brings; period 2 takes new ones of period 1's."""
FIRST_BUDGET, BUDGET = 120, 72
STREAM, WINDOW = 200, 48
"""Prompts that the trigger sees of a period, and the distinct ones of them that selection sees."""
ALPHA = 0.001
"""Level of the trigger's one check of each period."""
PERIODS = ("start", "new", "the same", "mix, register", "return")
POLITE = {"cy": "os gwelwch yn dda", "ne": "कृपया", "hi": "कृपया", "el": "παρακαλώ", "zh-CN": "请"}


@dataclass(frozen=True)
class Chain:
    """One way to update, by name."""

    options: UpdateConfig | None
    """None: the adapter stays as it is."""
    always: bool = False
    """Update in every period, whether or not the trigger saw drift."""


def _chain(method: str, *, always: bool = False, **options: Any) -> Chain:
    return Chain(UpdateConfig(method=method, **options), always)


PAPER: dict[str, Any] = {"ewc_lambda": 2.0, "replay_weight": 0.1, "anchor_share": 0.05, "min_anchors": 0}
CHAINS: dict[str, Chain] = {
    "static": Chain(None),
    **{method: _chain(method) for method in UPDATE_METHODS},
    # What is known of the paper's values; the defaults of `UpdateConfig` are ours.
    **{f"{method}-paper": _chain(method, **PAPER) for method in ("replay-random", "replay", "ecda")},
    "naive-always": _chain("naive", always=True),
    "replay-always": _chain("replay", always=True),
    "ecda-always": _chain("ecda", always=True),
    "replay-all": _chain("replay", anchor_share=1.0),
    **{f"replay-{n}-anchors": _chain("replay", anchor_share=0.0, min_anchors=n) for n in (8, 16, 32, 128)},
    **{f"replay-beta-{value}": _chain("replay", replay_weight=float(value)) for value in ("0.1", "0.3", "3")},
    **{f"ewc-lambda-{value}": _chain("ewc", ewc_lambda=float(value)) for value in (200, 2_000, 20_000, 200_000)},
    **{f"ecda-lambda-{value}": _chain("ecda", ewc_lambda=float(value)) for value in (200, 2_000, 20_000)},
}
MAIN = ("static", "naive", "ewc", "replay-random", "replay", "ecda", "merge", "retrain")


@dataclass(frozen=True)
class Period:
    """What a period brings, the same for all chains that update in it."""

    stream: tuple[Example, ...]
    at_hand: tuple[Example, ...]
    test: tuple[Example, ...]


@dataclass(frozen=True)
class Stage:
    """A period as a chain sees it."""

    alarm: bool
    divergence: float
    new: tuple[Example, ...]
    """Rows at hand and picked rows; empty where there is no update."""
    clusters: tuple[int, ...]
    """Cluster of each of them."""


def polite(row: Example) -> Example:
    """Say please."""
    return dataclasses.replace(row, prompt=f"{row.prompt}, {POLITE[row.language]}", id=f"{row.id}/polite")


@cache
def periods(language: str, seed: int) -> tuple[tuple[Period, ...], tuple[Example, ...], tuple[Example, ...]]:
    """Draw the five periods, the pool and the English test."""
    rng = random.Random(f"continual/{language}/{seed}")
    rows: dict[str, list[Example]] = defaultdict(list)
    for row in assist_sentences(language, per_intent=SENTENCES, seed=seed):
        rows[row.label].append(row)
    pool_rows = {tag: assist_sentences(tag, seed=seed) for tag in POOL_LANGUAGES if tag != language}
    spread = {intent: sum(any(r.label == intent for r in own) for own in pool_rows.values()) for intent in rows}
    intents = sorted(i for i in rows if len(rows[i]) >= 60 and spread[i] * 2 >= len(pool_rows))
    intents = rng.sample(intents, 3 * GROUP)
    groups = [intents[i : i + GROUP] for i in range(0, len(intents), GROUP)]
    # Each intent: three tests, rows at hand for up to three periods, and the rest for the streams.
    order = {intent: rng.sample(rows[intent], len(rows[intent])) for intent in intents}

    def part(names: Sequence[str], start: int, n: int) -> list[Example]:
        return [row for name in names for row in order[name][start : start + n]]

    def stream(names: Sequence[str]) -> list[Example]:
        return [rng.choice(order[rng.choice(names)][46:]) for _ in range(STREAM)]

    first, second, third = groups
    asked = second[: GROUP // 2]
    mixed = [polite(r) if r.label in asked else r for r in stream([*third, *asked])]
    brought = (
        Period(tuple(stream(first)), tuple(part(first, 30, 10)), tuple(part(first, 0, TEST_ROWS))),
        Period(tuple(stream(second)), tuple(part(second, 30, 6)), tuple(part(second, 0, TEST_ROWS))),
        Period(tuple(stream(second)), tuple(part(second, 36, 6)), tuple(part(second, 10, TEST_ROWS))),
        Period(
            tuple(mixed),
            (*part(third, 30, 6), *map(polite, part(asked, 42, 4))),
            (*part(third, 0, TEST_ROWS), *map(polite, part(asked, 20, TEST_ROWS))),
        ),
        Period(tuple(stream(first)), tuple(part(first, 40, 6)), tuple(part(first, 10, TEST_ROWS))),
    )
    english: list[Example] = []
    pool: list[Example] = []
    for tag, own in pool_rows.items():
        by_intent = defaultdict(list)
        for row in own:
            by_intent[row.label].append(row)
        for intent in sorted(by_intent):
            shuffled = rng.sample(by_intent[intent], len(by_intent[intent]))
            held_out = ENGLISH_ROWS if tag == "en" and intent in intents else 0
            english += shuffled[:held_out]
            pool += shuffled[held_out : held_out + 16]
    tests = [row for period in brought for row in period.test]
    return brought, clean(pool, require_response=True, against=[*tests, *english]).examples, tuple(english)


@cache
def stages(language: str, seed: int, always: bool) -> tuple[Stage, ...]:
    """Select for each period in which there is an update: the space is period 0's, D is what was trained on before."""
    config = AdaptConfig()
    encoder = load_encoder(config.encoder, cache_folder(config.run.cache_dir))
    brought, pool, _ = periods(language, seed)
    pool_vectors = encoder.encode([row.prompt for row in pool])

    def vectors(rows: Sequence[Example]) -> Any:
        return encoder.encode([row.prompt for row in rows])

    windows = [_window(period.stream) for period in brought]
    first = brought[0]
    space = SemanticSpace.fit(
        np.concatenate([vectors(windows[0]), vectors(first.at_hand), pool_vectors]),
        [row.language for row in (*windows[0], *first.at_hand, *pool)],
        n_clusters=N_CLUSTERS,
        seed=seed,
    )

    def clusters(rows: Sequence[Example]) -> Any:
        return space.assign(vectors(rows), [row.language for row in rows])

    def counts(rows: Sequence[Example]) -> Any:
        return np.bincount(clusters(rows), minlength=N_CLUSTERS)

    reference = counts(first.stream)
    history: list[Example] = []
    taken: set[str] = set()
    found = []
    for t, period in enumerate(brought):
        test = CalibratedDivergence.calibrate(reference, STREAM, alpha=ALPHA, seed=seed)
        seen = test.compare(counts(period.stream), seed=seed)
        alarm = t > 0 and seen.exact and seen.p_value <= ALPHA
        if t and not (alarm or always):
            found.append(Stage(alarm, seen.divergence, (), ()))
            continue
        current = [*history, *period.at_hand]
        left = [i for i, row in enumerate(pool) if row.id not in taken]
        train_classes, pool_classes = number_classes(current, [pool[i] for i in left])
        candidates = build_candidates(
            space,
            usage=vectors(windows[t]),
            train=vectors(current),
            pool=pool_vectors[left],
            usage_languages=[language] * len(windows[t]),
            train_languages=[row.language for row in current],
            pool_languages=[pool[i].language for i in left],
            target_language=language,
            train_classes=train_classes,
            pool_classes=pool_classes,
        )
        budget = BUDGET if t else FIRST_BUDGET
        picks = get_strategy("compass").select(candidates, budget, seed)
        new = [*period.at_hand, *(pool[left[i]] for i in picks.indices)]
        taken |= {row.id for row in new}
        history += new
        reference = counts(period.stream)
        found.append(Stage(alarm, seen.divergence, tuple(new), tuple(int(c) for c in clusters(new))))
    return tuple(found)


def _window(stream: Sequence[Example]) -> list[Example]:
    return list({row.prompt: row for row in stream}.values())[:WINDOW]


class Runner:
    """Runs chains of one language and seed; adapters and Fisher information are kept beside the output."""

    def __init__(self, language: str, seed: int, output: Path) -> None:
        self.language, self.seed, self.output = language, seed, output
        self.folder = output.parent / f"{language}-{seed}"
        config = AdaptConfig()
        # All methods for two epochs, the retraining of everything too.
        self.training: TrainingConfig = dataclasses.replace(config.training, num_train_epochs=config.training.epochs)
        self.base: BaseModel = resolve_model(
            config.training.model_name_or_path, cache_dir=cache_folder(config.run.cache_dir)
        )
        self.periods, _, self.english = periods(language, seed)

    def run(self, name: str, done: Mapping[tuple[str, int], dict[str, Any]]) -> None:
        """Run what is missing of a chain, its start included."""
        chain = CHAINS[name]
        plan = stages(self.language, self.seed, chain.always)
        adapter = self._first(plan[0], done)
        period_of, history, history_clusters = [0] * len(plan[0].new), list(plan[0].new), list(plan[0].clusters)
        scores: dict[str, Any] = {}
        fisher_file = adapter.parent / "fisher.safetensors"
        for t in range(1, len(plan)):
            stage, folder = plan[t], self.folder / name / str(t)
            updates = bool(stage.new) and chain.options is not None
            line: dict[str, Any] = {"alarm": stage.alarm, "divergence": stage.divergence, "updated": updates}
            if updates:
                options = chain.options or UpdateConfig()
                if (name, t) not in done:
                    started = time.monotonic()
                    line |= self._update(options, adapter, stage, folder, history, history_clusters, period_of,
                                         fisher_file)  # fmt: skip
                    line["seconds"] = round(time.monotonic() - started, 1)
                adapter, fisher_file = folder / "adapter", folder / "fisher.safetensors"
                history += stage.new
                history_clusters += stage.clusters
                period_of += [t] * len(stage.new)
            if (name, t) not in done:
                if updates or not scores:
                    scores = self._scores(adapter)
                self._write(name, t, {**line, "scores": scores})
            else:
                scores = done[name, t]["scores"]

    def _first(self, stage: Stage, done: Mapping[tuple[str, int], dict[str, Any]]) -> Path:
        folder = self.folder / "start"
        if ("start", 0) not in done:
            started = time.monotonic()
            result = train(stage.new, base=self.base, config=self.training, output_dir=folder, seed=self.seed)
            line = {"rows": len(stage.new), "steps": result.steps, "train_seconds": round(result.train_seconds, 1),
                    "seconds": round(time.monotonic() - started, 1), "updated": True}  # fmt: skip
            self._write("start", 0, {**line, "scores": self._scores(result.adapter)})
        fisher_file = folder / "fisher.safetensors"
        if not fisher_file.is_file():
            self._fisher(stage.new, folder / "adapter").save(fisher_file)
        return folder / "adapter"

    def _update(
        self,
        options: UpdateConfig,
        adapter: Path,
        stage: Stage,
        folder: Path,
        history: Sequence[Example],
        clusters: Sequence[int],
        period_of: Sequence[int],
        fisher_file: Path,
    ) -> dict[str, Any]:
        method = UPDATE_METHODS[options.method]
        anchors: list[Example] = []
        if method.replay:
            rule = "random" if method.replay == "random" else "clusters"
            drawn = draw_anchors(
                clusters,
                periods=period_of,
                share=options.anchor_share,
                least=options.min_anchors,
                most=options.max_anchors,
                rule=rule,
                seed=self.seed,
            )
            anchors = [history[i] for i in drawn.indices]
        fisher = Fisher.load(fisher_file) if method.penalty else None
        result = update_adapter(
            stage.new,
            adapter=adapter,
            base=self.base,
            config=self.training,
            options=options,
            output_dir=folder,
            seed=self.seed,
            history=history,
            anchors=anchors,
            fisher=fisher,
        )
        # After the last period nobody asks for it.
        if fisher and folder.name != str(len(PERIODS) - 1):
            accumulate(fisher, self._fisher(stage.new, result.adapter)).save(folder / "fisher.safetensors")
        terms = {key: value for key, value in (result.log[-2] if len(result.log) > 1 else {}).items() if "loss" in key}
        return {
            "rows": len(stage.new) + (len(history) if method.all_history else 0),
            "anchors": len(anchors),
            "steps": result.steps,
            "train_seconds": round(result.train_seconds, 1),
            "last_log": terms,
        }

    def _fisher(self, rows: Sequence[Example], adapter: Path) -> Fisher:
        return adapter_fisher(rows, base=self.base, adapter=adapter, config=self.training)

    def _scores(self, adapter: Path) -> dict[str, list[int]]:
        model = LanguageModel(self.base, adapter)
        tests = {str(t): period.test for t, period in enumerate(self.periods)} | {"en": self.english}
        return {name: model.answers_exactly(rows).astype(int).tolist() for name, rows in tests.items()}

    def _write(self, chain: str, period: int, line: Mapping[str, Any]) -> None:
        row = {"language": self.language, "seed": self.seed, "chain": chain, "period": period, **line}
        with self.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        means = {name: round(float(np.mean(values)), 2) for name, values in line["scores"].items()}
        told = {key: value for key, value in row.items() if key != "scores"}
        print(told, means, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", nargs="+", default=["cy", "ne"], choices=sorted(POLITE))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--chains", nargs="+", default=list(MAIN), choices=sorted(CHAINS))
    parser.add_argument("--output", type=Path, default=Path("runs/continual/results.jsonl"))
    parser.add_argument("--plan", action="store_true", help="Print what each period brings; no training.")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if options.plan:
        for language in options.languages:
            for seed in options.seeds:
                show_plan(language, seed)
        return
    options.output.parent.mkdir(parents=True, exist_ok=True)
    lines = options.output.read_text("utf-8").splitlines() if options.output.is_file() else []
    for seed in options.seeds:
        for language in options.languages:
            runner = Runner(language, seed, options.output)
            done = {
                (row["chain"], row["period"]): row
                for row in map(json.loads, lines)
                if (row["language"], row["seed"]) == (language, seed)
            }
            for name in options.chains:
                runner.run(name, done)
                done.setdefault(("start", 0), {})


def show_plan(language: str, seed: int) -> None:
    brought, pool, english = periods(language, seed)
    print(f"{language}, seed {seed}: pool of {len(pool)} rows, {len(english)} English test rows")
    for t, (stage, period) in enumerate(zip(stages(language, seed, False), brought, strict=True)):
        intents = sorted({row.label for row in period.test})
        picked = [row for row in stage.new if row.language != language]
        useful = np.mean([row.label in intents for row in picked]) if picked else float("nan")
        print(
            f"  {t} {PERIODS[t]}: {', '.join(intents)}; divergence {stage.divergence:.2f}, alarm {stage.alarm}; "
            f"{len(stage.new)} new rows, {len(picked)} picked ({useful:.2f} of its intents), "
            f"{len(period.test)} held out"
        )


if __name__ == "__main__":
    main()
