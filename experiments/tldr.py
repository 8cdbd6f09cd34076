"""Make the sets of `experiments/evidence/tldr.yaml` from tldr-pages: commands that usage asks for and training lacks.

    python experiments/tldr.py tldr.jsonl.gz runs/evidence/tldr/data/0 --seed 0
    compass compare --config experiments/evidence/tldr.yaml

The source has one JSON object a line: id (which ends in the row's place on its page), prompt, response (a command),
lang, command (the page), platform. The first word of a page's name is its family: that of `git-add` is `git`. For each
target six families are drawn as needed. Test: rows on half of their pages. Usage: rows on the other half. Training
data: 2 rows of each needed family and 60 of others. Pool: rows in 20 other languages, some of them on needed families.
No page of a test row is in any other set, in any language and on any platform.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from compass.data.languages import normalize_tag

NEEDED, USAGE, AT_HAND, OTHERS, TEST = 6, 6, 2, 60, 20
"""Needed families; rows of each in usage and in the training data; other rows there; rows of each in the test."""
POOL = ("ar", "ca", "cs", "en", "es", "fa", "fr", "id", "it", "ja", "ko", "nl", "pl", "pt-BR", "pt-PT", "ro", "ru",
        "uk", "zh-Hans", "zh-Hant")  # fmt: skip
Row = dict[str, Any]


def family(row: Row) -> str:
    """Return the first word of a page's name."""
    return re.split(r"[-. ]", row["command"])[0]


def pages(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return rows by page."""
    by: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by[row["command"]].append(row)
    return by


def needed_families(own: Sequence[Row], target: str, seed: int) -> list[str]:
    """Draw the families that usage asks for, of those that have two pages or more and rows for all sets."""
    by: dict[str, list[Row]] = defaultdict(list)
    for row in own:
        by[family(row)].append(row)
    fit = [name for name, rows in by.items() if len(pages(rows)) > 1 and len(rows) > USAGE + AT_HAND]
    if len(fit) < NEEDED:
        raise SystemExit(
            f"{target}: {len(fit)} families have two pages and {USAGE + AT_HAND + 1} rows, {NEEDED} do not"
        )
    return sorted(random.Random(f"{target}/{seed}/families").sample(sorted(fit), NEEDED))


def own_sets(own: Sequence[Row], needed: Sequence[str], target: str, seed: int) -> dict[str, list[Row]]:
    """Return usage, training data and test of one target language."""
    rng = random.Random(f"{target}/{seed}")
    sets: dict[str, list[Row]] = {"usage": [], "train": [], "test": []}
    for name in needed:
        by = pages(row for row in own if family(row) == name)
        # Half of the rows, by whole pages, and never all pages.
        order, total = rng.sample(sorted(by), len(by)), sum(map(len, by.values()))
        fits = [page for page in order if total - len(by[page]) >= USAGE + AT_HAND]
        first = fits[0] if fits else min(order, key=lambda page: len(by[page]))
        order = [first, *(page for page in order if page != first)]
        test: list[Row] = list(by[order[0]])
        rest = [row for page in order[1:] for row in by[page]]
        for page in order[1:-1]:
            if 2 * len(test) >= total or len(rest) - len(by[page]) < USAGE + AT_HAND:
                break
            test += by[page]
            rest = [row for row in rest if row["command"] != page]
        rest = rng.sample(rest, min(len(rest), USAGE + AT_HAND))
        sets["train"] += rest[:AT_HAND]
        sets["usage"] += rest[AT_HAND:]
        sets["test"] += rng.sample(test, min(len(test), TEST))
    tested = {row["command"] for row in sets["test"]}
    others = [row for row in own if family(row) not in needed and row["command"] not in tested]
    sets["train"] += rng.sample(others, OTHERS)
    return sets


def pool(rows: Sequence[Row], needed: Sequence[str], tested: set[str], size: int, share: float, seed: str) -> list[Row]:
    """Return rows of the pool's languages, evenly as far as they reach, and `share` of them on needed families."""
    rng = random.Random(f"pool/{seed}")
    free = [row for row in rows if row["lang"] in POOL and row["command"] not in tested]
    wanted = round(size * share)
    drawn = even(rng, [row for row in free if family(row) in needed], family, wanted)
    return drawn + even(
        rng, [row for row in free if family(row) not in needed], lambda row: row["lang"], size - len(drawn)
    )


def even(rng: random.Random, rows: Sequence[Row], group: Any, size: int) -> list[Row]:
    """Draw `size` rows in turn from groups that are shuffled, or all if there are fewer."""
    by: dict[str, list[Row]] = defaultdict(list)
    for row in rng.sample(list(rows), len(rows)):
        by[group(row)].append(row)
    drawn: list[Row] = []
    while len(drawn) < size and any(by.values()):
        drawn += [own.pop() for own in by.values() if own]
    return drawn[:size]


def write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "id": row["id"],
            "language": normalize_tag(row["lang"]),
            "prompt": row["prompt"],
            "response": row["response"],
            "label": family(row),
            "parallel_id": f"{row['platform']}/{row['command']}/{row['id'].rpartition('-')[2]}",
        }
        for row in rows
    ]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--targets", nargs="+", default=["ta", "tr", "de"])
    parser.add_argument("--pool-rows", type=int, default=6500)
    parser.add_argument("--needed-share", type=float, default=0.065, help="share of the pool on needed families")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with gzip.open(arguments.source, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for target in arguments.targets:
        own = [row for row in rows if row["lang"] == target]
        needed = needed_families(own, target, arguments.seed)
        sets = own_sets(own, needed, target, arguments.seed)
        tested = {row["command"] for row in sets["test"]}
        place = f"{target}/{arguments.seed}"
        sets["pool"] = pool(rows, needed, tested, arguments.pool_rows, arguments.needed_share, place)
        for name, drawn in sets.items():
            write(arguments.folder / normalize_tag(target) / f"{name}.jsonl", drawn)
        share = sum(family(row) in needed for row in sets["pool"]) / len(sets["pool"])
        counts = ", ".join(f"{name} {len(drawn)}" for name, drawn in sets.items())
        print(f"{target}: usage asks for {', '.join(needed)}; {counts}; {share:.1%} of the pool is needed")


if __name__ == "__main__":
    main()
