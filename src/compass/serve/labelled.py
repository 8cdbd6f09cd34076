"""What users said, as rows: a correction is the response, and so is an answer with a thumb up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from filelock import FileLock

from compass.data.example import Example, Message
from compass.data.feedback_rows import TEST, TRAIN, is_held_out, rows_file
from compass.data.readers import write_jsonl
from compass.serve.store import Answer

logger = logging.getLogger(__name__)

ID = "feedback/"
"""How the ids of these rows begin; the answer's id follows."""
LOCK_SECONDS = 30.0
"""Longest wait for another process that writes the rows."""


def row_of(answer: Answer) -> Example | None:
    """Return an answer and what was said of it as a row; None where that says no right response, or no text is kept."""
    prompt, response = answer.content.get("prompt", ""), answer.content.get("response", "")
    right = answer.correction or (response if answer.thumb == 1 else "")
    if not prompt.strip() or not right.strip():
        return None
    context = tuple(Message(role, text) for role, text in answer.content.get("context", ()))
    return Example(ID + answer.id, prompt, right, answer.language, source="feedback", context=context)


def split(answers: Iterable[Answer]) -> tuple[list[Example], list[Example]]:
    """Return training rows and tests. A conversation is on one side as a whole, and a prompt of a test is not trained
    on, whoever else has sent it."""
    rows = [(answer, row) for answer in answers if (row := row_of(answer))]
    tests = [row for answer, row in rows if is_held_out(answer.conversation)]
    held_out = {row.prompt for row in tests}
    train = [row for answer, row in rows if not is_held_out(answer.conversation) and row.prompt not in held_out]
    return train, tests


def write_rows(serve_dir: Path, said: Callable[[], Sequence[Answer]]) -> None:
    """Write every language's rows anew; a file that has no rows any more is removed.

    said: returns the answers of which users have said something. It is asked under the lock that several gateways and
    `compass data forget` share, so that nobody writes what another one has just removed. Raises OSError if the lock is
    not to be had.
    """
    with FileLock(serve_dir / "rows.lock", timeout=LOCK_SECONDS):
        answers = said()
        languages = {answer.language for answer in answers}
        languages |= {path.name for path in (serve_dir / "rows").glob("*") if path.is_dir()}
        for language in sorted(languages):
            train, tests = split(answer for answer in answers if answer.language == language)
            for part, rows in ((TRAIN, train), (TEST, tests)):
                path = rows_file(serve_dir, language, part)
                if rows:
                    write_jsonl(path, rows)
                else:
                    path.unlink(missing_ok=True)
