"""What a selector that knew the right answers would pick, as a list for the strategy `given`.

    python experiments/ceiling.py runs/evidence/assist runs/evidence/ceiling
    compass compare --config experiments/evidence/assist.yaml \
        --strategies compass "given:picks=runs/evidence/ceiling/{language}-{seed}.txt"

The rows of the pool of the kinds that the target's test asks for, drawn at random, each kind as often. A kind is a
row's label where the data has labels, else the class of its response. No strategy may look at the test: this is no
rival but the room that is left above them, in the same training.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path

from compass.config import load_stored
from compass.data.classes import class_of
from compass.data.example import Example
from compass.data.readers import read_jsonl


def kind_of(row: Example) -> str:
    """Return what a row is about, by truth."""
    return row.label or class_of(row.response)


def ceiling(pool: Sequence[Example], test: Sequence[Example], seed: int) -> list[str]:
    """Return ids of pool rows, kinds of answer in turn. The same seed gives the same ids."""
    wanted = {kind_of(row) for row in test} - {""}
    by_kind: dict[str, list[str]] = defaultdict(list)
    for row in pool:
        if (kind := kind_of(row)) in wanted:
            by_kind[kind].append(row.id)
    draw = random.Random(f"ceiling/{seed}")
    lists = [draw.sample(ids, len(ids)) for _, ids in sorted(by_kind.items())]
    return [name for name in chain.from_iterable(zip_longest(*lists)) if name is not None]


def main() -> None:
    """Write a list for each draw of a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path, help="folder of a comparison whose draws are made")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    written: set[Path] = set()
    for draw in sorted((arguments.comparison / "draws").iterdir()):
        config = load_stored(draw / "compass.yaml")
        language, seed = config.data.language, config.run.seed
        pool = read_jsonl(draw / "data" / "pool.jsonl")
        test = read_jsonl(draw / "data" / "tests" / f"{language}.jsonl")
        path = arguments.output / f"{language}-{seed}.txt"
        if path in written:
            parser.error(f"{arguments.comparison} has two draws of {language}, seed {seed}: its options were changed. "
                         "Remove the old draw, or compare in a new folder.")  # fmt: skip
        written.add(path)
        path.write_text("".join(f"{name}\n" for name in ceiling(pool, test, seed)), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
