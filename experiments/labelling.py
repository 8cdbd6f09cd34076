"""What labelled rows are worth, and who should choose them: `compass label`, a random draw, or k-means.

    python experiments/labelling.py --coverage --languages ne zh-CN fi eu sr
    OMP_NUM_THREADS=1 python experiments/labelling.py --languages cy el --draws 0 1 2 --trainings 3
    OMP_NUM_THREADS=1 python experiments/labelling.py --languages cy el --labelled 0 --budgets 4000 8000
    python experiments/labelling.py --summary

The setting is the disjoint one of `assist`: usage and tests ask for six functions, of which the training data has no
row. Usage has twenty prompts of each needed function (`even`), or from 32 down to three (`skewed`), or ten of each
needed and of each known function (`mixed`); its responses stay hidden until a rule chooses a prompt to be labelled.

Each training is a cell: language, draw, rule, labelled rows, budget and training seed; one JSON line each, and a cell
that is there is not run again. All cells take the same number of steps. `--coverage` trains nothing: it counts how many
needed functions get one or two labelled rows over twenty draws of the usage, and writes that as JSON lines too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AdaptConfig
from compass.data.assist import AssistData, load_assist
from compass.data.classes import number_classes
from compass.data.cleaning import clean
from compass.data.example import Example
from compass.data.grammars import assist_sentences
from compass.encoders import load_encoder
from compass.evaluation import evaluate
from compass.selection import build_candidates, choose_to_label, get_strategy
from compass.semantic.arrays import FloatArray
from compass.semantic.space import SemanticSpace
from compass.steps.resources import cache_folder
from compass.training import LanguageModel, resolve_model, train
from compass.training.balance import class_repeats

N_CLUSTERS = 60
RULES = ("label", "random", "kmeans")
SIZES = {"even": (20,) * 6, "skewed": (32, 24, 18, 12, 7, 3), "mixed": (10,) * 6}
"""Kind of usage -> prompts of each needed function; which function is how frequent changes by draw."""
KNOWN_PROMPTS = 10
"""Prompts of each known function, in mixed usage."""
COVERAGE_AT = (6, 12, 24, 48)
COVERAGE_DRAWS = 20
POOL_ROWS = 100
"""Rows of each pool language where nothing is trained: the pool counts there as what serves needs alone."""
STEPS = 60


@dataclass(frozen=True)
class Setting:
    """One language's data in a space without language."""

    data: AssistData
    pool: Sequence[Example]
    usage: Sequence[Example]
    """All prompts that usage may be drawn from, with their responses."""
    vectors: dict[str, FloatArray]
    """As encoded: usage, train, pool."""
    space: SemanticSpace

    def free(self, part: str, rows: Sequence[Example], places: Sequence[int] | None = None) -> FloatArray:
        """Return vectors of a part, all or those at some places, without their languages' offsets."""
        vectors = self.vectors[part] if places is None else self.vectors[part][list(places)]
        return self.space.transform(vectors, [row.language for row in rows])


def open_setting(config: AdaptConfig, language: str, draw: int, *, pool_rows: int | None = None) -> Setting:
    """Read one draw of the data set, and all prompts of its needed and known functions that are in no other part."""
    data = load_assist(language, setting="disjoint", seed=draw)
    taken = {row.prompt for row in (*data.train, *data.tests[language])}
    functions = {*data.needed, *data.known}
    sentences = assist_sentences(language, seed=draw)
    usage = [row for row in sentences if row.label in functions and row.prompt not in taken]
    held_out = [row for rows in data.tests.values() for row in rows]
    pool = clean(data.pool, require_response=True, against=held_out).examples
    if pool_rows is not None:
        seen: Counter[str] = Counter()
        pool = tuple(row for row in pool if (seen.update([row.language]) or seen[row.language]) <= pool_rows)
    encoder = load_encoder(config.encoder, cache_folder(config.run.cache_dir))
    parts = {"usage": usage, "train": data.train, "pool": pool}
    vectors = {name: encoder.encode([row.prompt for row in rows]) for name, rows in parts.items()}
    space = SemanticSpace.fit(
        np.concatenate(list(vectors.values())),
        [row.language for rows in parts.values() for row in rows],
        n_clusters=N_CLUSTERS,
        seed=draw,
    )
    return Setting(data, pool, usage, vectors, space)


def draw_usage(setting: Setting, kind: str, seed: int) -> list[int]:
    """Draw usage: places in `setting.usage`."""
    rng = random.Random(f"labelling/{kind}/{seed}")
    needed = rng.sample(list(setting.data.needed), len(setting.data.needed))
    wanted = dict(zip(needed, SIZES[kind], strict=True))
    if kind == "mixed":
        wanted |= dict.fromkeys(setting.data.known, KNOWN_PROMPTS)
    places: list[int] = []
    for function, n in wanted.items():
        own = [i for i, row in enumerate(setting.usage) if row.label == function]
        places += rng.sample(own, min(n, len(own)))
    return rng.sample(places, len(places))


def choose(rule: str, setting: Setting, places: Sequence[int], n: int, seed: int) -> list[int]:
    """Choose n usage prompts to be labelled: places in `setting.usage`, best first."""
    rows = [setting.usage[i] for i in places]
    if rule == "random":
        return random.Random(f"labelled/{seed}").sample(list(places), min(n, len(places)))
    usage = setting.free("usage", rows, places)
    if rule == "kmeans":
        from sklearn.cluster import KMeans

        fitted = KMeans(min(n, len(rows)), n_init=10, random_state=seed).fit(usage)
        distances = fitted.transform(usage)
        return [
            places[int(members[np.argmin(distances[members, k])])]
            for k in range(fitted.n_clusters)
            if len(members := np.flatnonzero(fitted.labels_ == k))
        ]
    train, pool = setting.free("train", setting.data.train), setting.free("pool", setting.pool)
    return [places[i] for i in choose_to_label(usage, train, pool, n, seed=seed).rows]


def coverage(config: AdaptConfig, languages: Sequence[str], path: Path) -> None:
    """Count the needed functions with at least one and two labelled rows, by rule, over draws of the usage."""
    for language in languages:
        setting = open_setting(config, language, 0, pool_rows=POOL_ROWS)
        needed = setting.data.needed
        for kind in SIZES:
            for rule in RULES:
                for n in COVERAGE_AT:
                    counts = []
                    for draw in range(COVERAGE_DRAWS):
                        chosen = choose(rule, setting, draw_usage(setting, kind, draw), n, draw)
                        found = Counter(setting.usage[i].label for i in chosen)
                        counts.append([found[function] for function in needed])
                    table = np.array(counts)
                    result = {
                        "language": language, "usage": kind, "rule": rule, "n": n, "draws": COVERAGE_DRAWS,
                        "with_one": float((table >= 1).sum(axis=1).mean()),
                        "with_two": float((table >= 2).sum(axis=1).mean()),
                        "needed_rows": float(table.sum(axis=1).mean()),
                    }  # fmt: skip
                    append(path, result)
                    print(*result.values(), flush=True)


def cells_of(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield every cell: without labelled rows there is no rule."""
    for training in range(arguments.trainings):
        for draw in arguments.draws:
            for language in arguments.languages:
                for budget in arguments.budgets:
                    for n in arguments.labelled:
                        for rule in arguments.rules if n else ["none"]:
                            yield {"language": language, "usage": arguments.usage, "draw": draw, "rule": rule, "n": n,
                                   "budget": budget, "training": training}  # fmt: skip


def run_cell(config: AdaptConfig, setting: Setting, cell: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Label, select, train and evaluate one cell; return its result."""
    from compass.training import load_tokenizer, token_counts

    language, n = cell["language"], cell["n"]
    base = resolve_model(config.training.model_name_or_path, cache_dir=cache_folder(config.run.cache_dir))
    places = draw_usage(setting, cell["usage"], cell["draw"])
    chosen = choose(cell["rule"], setting, places, n, cell["draw"]) if n else []
    labelled = [setting.usage[i] for i in chosen]
    rows, usage = [*setting.data.train, *labelled], [setting.usage[i] for i in places]
    own = np.concatenate([setting.vectors["train"], *(setting.vectors["usage"][[place]] for place in chosen)])
    train_classes, pool_classes = number_classes(rows, setting.pool)
    candidates = build_candidates(
        setting.space,
        usage=setting.vectors["usage"][places],
        train=own,
        pool=setting.vectors["pool"],
        usage_languages=[row.language for row in usage],
        train_languages=[row.language for row in rows],
        pool_languages=[row.language for row in setting.pool],
        pool_costs=np.array(token_counts(load_tokenizer(base), setting.pool), dtype=np.int64),
        unit="tokens",
        target_language=language,
        train_classes=train_classes,
        pool_classes=pool_classes,
    )
    picks = get_strategy("compass").select(candidates, cell["budget"], cell["draw"])
    picked = [setting.pool[i] for i in picks.indices]
    repeats = class_repeats(rows, config.training.class_balance)
    repeated = [row for row, times in zip(rows, repeats, strict=True) for _ in range(times)]
    training = dataclasses.replace(config.training, max_steps=STEPS)
    seed = 1000 * cell["draw"] + cell["training"]
    done = train([*picked, *repeated], base=base, config=training, output_dir=folder, seed=seed)
    test = list(setting.data.tests[language])
    model = LanguageModel(base, done.adapter, dtype=training.dtype)
    scored = evaluate(model, test, name=language, language=language, config=config.evaluation, seed=0)
    found = Counter(row.label for row in labelled)
    return {
        **cell,
        "labelled_rows": len(labelled),
        "functions_labelled": sum(found[function] > 0 for function in setting.data.needed),
        "picked": len(picked),
        "picked_needed": float(np.mean([row.label in setting.data.needed for row in picked])) if picked else 0.0,
        "steps": done.steps,
        "train_seconds": round(done.train_seconds, 1),
        "exact": scored.scores.exact.astype(int).tolist(),
        "intent": scored.scores.intent_correct.astype(int).tolist(),
        "loss": [round(float(x), 5) for x in scored.nats / scored.n_bytes],
    }


def summary(results: Sequence[dict[str, Any]]) -> None:
    """Print means and standard errors over trainings, and `label` against the other rules, training by training."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["usage"], result["budget"], result["n"], result["rule"]].append(result)
    for (usage, budget, n, rule), group in sorted(groups.items()):
        cells = [f"{usage} {budget} tokens, {n} labelled by {rule} ({len(group)} trainings)"]
        for metric in ("exact", "intent", "loss"):
            means = [float(np.mean(result[metric])) for result in group]
            error = np.std(means, ddof=1) / len(means) ** 0.5 if len(means) > 1 else float("nan")
            cells.append(f"{metric} {np.mean(means):.3f} ± {error:.3f}")
        print("; ".join(cells))
        ours = {
            (r["language"], r["draw"], r["training"]): float(np.mean(r["exact"]))
            for r in groups.get((usage, budget, n, "label"), [])
        }
        pairs = [
            ours[key] - float(np.mean(result["exact"]))
            for result in group
            if rule not in ("label", "none")
            and (key := (result["language"], result["draw"], result["training"])) in ours
        ]
        if len(pairs) > 1:
            error = np.std(pairs, ddof=1) / len(pairs) ** 0.5
            print(f"    label - {rule}: exact {np.mean(pairs):+.3f} ± {error:.3f} over {len(pairs)} trainings")


def append(path: Path, result: dict[str, Any]) -> None:
    """Write one result as a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Read the results that are there."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def main() -> None:
    """Count coverage, train cells, or summarise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", nargs="+", default=["cy", "el"])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--trainings", type=int, default=3, help="trainings of each draw")
    parser.add_argument("--labelled", nargs="+", type=int, default=[0, 6, 12, 24, 48])
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES)
    parser.add_argument("--budgets", nargs="+", type=int, default=[2000], help="tokens of picks")
    parser.add_argument("--usage", default="even", choices=sorted(SIZES))
    parser.add_argument("--output", type=Path, default=Path("runs/labelling/results.jsonl"))
    parser.add_argument("--coverage", action="store_true", help="train nothing; count labelled functions")
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    config = AdaptConfig()
    if arguments.coverage:
        coverage(config, arguments.languages, arguments.output.with_name("coverage.jsonl"))
        return
    results = read(arguments.output)
    if arguments.summary:
        summary(results)
        return
    names = ("language", "usage", "draw", "rule", "n", "budget", "training")
    done = {tuple(result[name] for name in names) for result in results}
    settings: dict[tuple[str, int], Setting] = {}
    for cell in cells_of(arguments):
        if tuple(cell[name] for name in names) in done:
            continue
        key = (cell["language"], cell["draw"])
        if key not in settings:
            settings[key] = open_setting(config, *key)
        folder = arguments.output.parent / "cells" / "-".join(str(cell[name]) for name in names)
        result = run_cell(config, settings[key], cell, folder)
        append(arguments.output, result)
        shown = {metric: round(float(np.mean(result[metric])), 3) for metric in ("exact", "intent", "loss")}
        print(*cell.values(), shown, flush=True)


if __name__ == "__main__":
    main()
