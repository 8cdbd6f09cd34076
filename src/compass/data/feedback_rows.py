"""Where the rows lie that users' thumbs and corrections became, and which of them are held out.

SERVE_DIR/rows/cy/train.jsonl   for updates
SERVE_DIR/rows/cy/test.jsonl    for the gate: never trained on
"""

from __future__ import annotations

import hashlib
from pathlib import Path

HELD_OUT_SHARE = 0.3
"""Share of conversations whose rows are tests [ours]."""
TRAIN, TEST = "train", "test"


def rows_file(serve_dir: str | Path, language: str, part: str) -> Path:
    """Return the file of a language's rows. part: TRAIN or TEST."""
    return Path(serve_dir) / "rows" / language / f"{part}.jsonl"


def is_held_out(conversation: str) -> bool:
    """Say whether a conversation's rows are tests: always the same for one conversation, whatever comes later."""
    number = int.from_bytes(hashlib.sha256(f"held out\0{conversation}".encode()).digest()[:8], "big")
    return number < HELD_OUT_SHARE * 2**64
