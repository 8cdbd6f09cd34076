"""Make the three sets and the tests of `experiments/evidence/sib200.yaml` from SIB-200: topics that usage lacks.

    python experiments/sib200.py sib200.jsonl.gz runs/evidence/sib200/data/0 --seed 0
    compass compare --config experiments/evidence/sib200.yaml

The source has one JSON object a line: prompt, response (the topic), lang (`swh-Latn`), split. For each target three of
the seven topics are drawn as needed. Usage: rows of the dev split, 8 of each needed topic. Data at hand: rows of the
train split, 2 of each needed topic and 15 of each other one. Test: all rows of the test split on needed topics. Pool:
rows of the train split in 23 other languages, each sentence in as few of them as possible. The splits share no
sentence, so that no translation of a test row is ever in the pool.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.data.languages import normalize_tag

NEEDED, USAGE, AT_HAND, OTHERS = 3, 8, 2, 15
POOL = ("arb-Arab", "cat-Latn", "ces-Latn", "deu-Latn", "ell-Grek", "eng-Latn", "fra-Latn", "hin-Deva", "hun-Latn",
        "ind-Latn", "ita-Latn", "jpn-Jpan", "kor-Hang", "nld-Latn", "pol-Latn", "por-Latn", "ron-Latn", "rus-Cyrl",
        "spa-Latn", "tur-Latn", "ukr-Cyrl", "vie-Latn", "zho-Hans")  # fmt: skip
Row = dict[str, Any]


def needed_topics(target: str, topics: Sequence[str], seed: int) -> list[str]:
    """Draw the topics that usage in a target language is about."""
    return sorted(random.Random(f"{target}/{seed}/topics").sample(sorted(topics), NEEDED))


def own_sets(rows: Sequence[Row], target: str, seed: int) -> dict[str, list[Row]]:
    """Return usage, data at hand and test of one target language."""
    rng = random.Random(f"{target}/{seed}")
    by: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["lang"] == target:
            by[row["split"], row["response"]].append(row)
    topics = sorted({topic for _, topic in by})
    needed = needed_topics(target, topics, seed)
    at_hand = {topic: AT_HAND if topic in needed else OTHERS for topic in topics}
    return {
        "usage": [row for topic in needed for row in rng.sample(by["dev", topic], USAGE)],
        "current": [row for topic in topics for row in rng.sample(by["train", topic], at_hand[topic])],
        "test": [row for topic in needed for row in by["test", topic]],
    }


def pool(rows: Sequence[Row], per_language: int, seed: int) -> list[Row]:
    """Return rows of the pool's languages, at most as many of each as there are sentences."""
    by: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row["split"] == "train":
            by[row["lang"]][row["parallel_id"]] = row
    meanings = sorted({meaning for own in by.values() for meaning in own})
    if per_language > len(meanings):
        raise SystemExit(
            f"--pool-rows {per_language}: the train split has {len(meanings)} sentences. Give at most those."
        )
    random.Random(f"pool/{seed}").shuffle(meanings)
    # Each language goes on in the circle where the one before it stopped.
    places = [(i * per_language + j) % len(meanings) for i in range(len(POOL)) for j in range(per_language)]
    languages = [language for language in POOL for _ in range(per_language)]
    drawn = [(language, meanings[place]) for language, place in zip(languages, places, strict=True)]
    return [by[language][meaning] for language, meaning in drawn if meaning in by[language]]


def write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {"id": "id", "language": "lang", "prompt": "prompt", "response": "response", "parallel_id": "parallel_id"}
    kept = [{ours: row[theirs] for ours, theirs in names.items()} for row in rows]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--targets", nargs="+", default=["swh-Latn", "ben-Beng", "tha-Thai"])
    parser.add_argument("--pool-rows", type=int, default=180, help="rows of each of the pool's languages")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with gzip.open(arguments.source, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    write(arguments.folder / "pool.jsonl", pool(rows, arguments.pool_rows, arguments.seed))
    for target in arguments.targets:
        sets = own_sets(rows, target, arguments.seed)
        for name, own in sets.items():
            write(arguments.folder / normalize_tag(target) / f"{name}.jsonl", own)
        topics = sorted({row["response"] for row in sets["usage"]})
        print(f"{target}: usage asks for {', '.join(topics)}; {len(sets['test'])} test rows")


if __name__ == "__main__":
    main()
