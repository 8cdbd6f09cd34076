"""How well are languages identified, and rows with the wrong tag found?

    python benchmarks/languages.py FOLDER

FOLDER holds `tldr/data.jsonl.gz` (tldr-pages), `exams/{train,test}.jsonl.gz` (EXAMS) and `sib200/data.jsonl.gz`
(SIB-200), with `lang` and `prompt` in each row. The thresholds were set on the first half of each: pages whose name
has an odd checksum, the training part, every second language. `--half report` (the default) is the other one.

Wrong rows are planted: a row gets the tag of another row, in a language that is not close to its own, so that 1 % of
the rows are wrong. Outside: sentences of SIB-200 in languages that no row is tagged with. A dropped row that was not
planted counts as an error; they are printed, since some of them are in fact in the wrong language.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
import zlib
from pathlib import Path

from compass.data.cleaning.wrong_language import find_wrong_language
from compass.data.example import Example
from compass.data.identify import close_languages, identified_as, identify_languages
from compass.data.languages import normalize_tag

PLANTED = 0.01


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [{**(row := json.loads(line)), "lang": normalize_tag(row["lang"])} for line in lines]


def halves(folder: Path, half: str) -> dict[str, list[tuple[str, str]]]:
    """Return (tag, prompt) pairs of the asked half of each data set."""
    odd = half == "develop"
    sib = read(folder, "sib200/data")
    languages = sorted({row["lang"] for row in sib})
    rows = {
        "tldr": [row for row in read(folder, "tldr/data") if zlib.crc32(row["command"].encode()) % 2 == odd],
        "EXAMS": read(folder, "exams/train" if odd else "exams/test"),
        "SIB-200": [row for row in sib if languages.index(row["lang"]) % 2 == odd],
    }
    return {name: [(row["lang"], row["prompt"]) for row in found] for name, found in rows.items()}


def known(tag: str) -> str:
    return identified_as(tag)


def wrong_rows(name: str, rows: list[tuple[str, str]], outside: list[tuple[str, str]], seed: int) -> None:
    draw = random.Random(f"{name}/{seed}")
    rows = draw.sample(rows, min(20_000, len(rows)))
    tags = sorted({known(tag) for tag, _ in rows})
    foreign = [(tag, text) for tag, text in outside if not any(close_languages(known(tag), own) for own in tags)]
    planted: dict[int, str] = {}
    given = [tag for tag, _ in rows]
    texts = [text for _, text in rows]
    for index in draw.sample(range(len(rows)), round(PLANTED * len(rows))):
        kinds = [tag for tag in tags if not close_languages(tag, known(given[index]))]
        planted[index], given[index] = "inside", draw.choice(kinds)
    for index in draw.sample(sorted(set(range(len(rows))) - set(planted)), round(PLANTED * len(rows) / 4)):
        planted[index], texts[index] = "outside", draw.choice(foreign)[1]
    began = time.perf_counter()
    found = find_wrong_language([Example(str(i), text, "x", given[i]) for i, text in enumerate(texts)])
    seconds = time.perf_counter() - began
    hits = [index for index in found if index in planted]
    parts = {
        kind: sum(planted[i] == kind for i in hits) / sum(k == kind for k in planted.values())
        for kind in ("inside", "outside")
    }
    print(
        f"{name}: {len(rows)} rows, {len(planted)} planted; precision {len(hits) / max(1, len(found)):.3f}, recall "
        f"{len(hits) / len(planted):.3f} (of the data {parts['inside']:.3f}, outside {parts['outside']:.3f}), "
        f"dropped but not planted {len(found) - len(hits)}; {len(rows) / seconds:.0f} rows/s"
    )
    for index in found:
        if index not in planted:
            print(f"    {found[index][1]}: {texts[index][:110]!r}")


def identification(name: str, rows: list[tuple[str, str]], seed: int) -> None:
    rows = random.Random(seed).sample(rows, min(4_000, len(rows)))
    found = identify_languages([text for _, text in rows])
    answered = [(tag, true) for tag, (true, _) in zip(found, rows, strict=True) if tag != "und"]
    right = sum(tag == known(true) for tag, true in answered)
    close = sum(close_languages(tag, known(true)) for tag, true in answered)
    print(
        f"{name}: {len(answered) / len(rows):.3f} of {len(rows)} rows get a tag, {right / len(answered):.4f} of these "
        f"the right one, {close / len(answered):.4f} that or a close one"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=("develop", "report"), default="report")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sets = halves(asked.folder, asked.half)
    print("Wrong rows")
    for name, rows in sets.items():
        wrong_rows(name, rows, [(row["lang"], row["prompt"]) for row in read(asked.folder, "sib200/data")], asked.seed)
    print("Rows without a tag")
    for name, rows in sets.items():
        identification(name, rows, asked.seed)


if __name__ == "__main__":
    main()
