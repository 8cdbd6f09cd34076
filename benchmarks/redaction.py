"""How much private data is found, and what is taken for it?

    python benchmarks/redaction.py [--half report] [--show]

The set, `tests/data/redaction.jsonl`, is ours: 400 prompts in eight languages, 30 with private data and 20 without for
each. The numbers in it are made up, with right checksums. The rules were written against the half `develop`; the
sentences and most of the numbers of `report` are others. An item is found if nothing of it stays but marks, and a find
counts as wrong if it changes a text without private data, or takes words around the item away.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path

from compass.data.redaction import redact

SET = Path(__file__).parents[1] / "tests/data/redaction.jsonl"
MARK = re.compile(r"\[[A-Z_]+\]")


def outcome(row: dict[str, str]) -> str:
    """Return `found`, `missed`, `too much` (words around it went as well), `changed` or `kept`."""
    text, item = row["text"], row.get("private", "")
    cleaned = redact(text, row["language"])
    if not item:
        return "kept" if cleaned == text else "changed"
    before, after = text.split(item, 1)
    if cleaned == text:
        return "missed"
    whole = cleaned.startswith(before) and cleaned.endswith(after)
    middle = cleaned[len(before) : len(cleaned) - len(after)] if whole else cleaned
    if whole:
        return "found" if not MARK.sub("", middle).strip() else "missed"
    return "too much" if item not in cleaned else "missed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("develop", "report"), default="report")
    parser.add_argument("--show", action="store_true", help="Print each text that went wrong.")
    asked = parser.parse_args()
    rows = [json.loads(line) for line in SET.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["half"] == asked.half]
    results = [(row, outcome(row)) for row in rows]
    for key in ("language", "kind"):
        for value in dict.fromkeys(row[key] for row in rows):
            print(f"{key} {value}: {dict(Counter(result for row, result in results if row[key] == value))}")
    counts = Counter(result for _, result in results)
    gone = counts["found"] + counts["too much"]
    print(
        f"{asked.half}: recall {gone / (gone + counts['missed']):.3f}, precision "
        f"{counts['found'] / (gone + counts['changed']):.3f}; {dict(counts)}"
    )
    if asked.show:
        for row, result in results:
            if result not in ("found", "kept"):
                cleaned = redact(row["text"], row["language"])
                print(f"{result}: {row['language']} {row['kind']} {row['text']!r} -> {cleaned!r}")


if __name__ == "__main__":
    main()
