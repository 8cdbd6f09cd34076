"""What a line of production's log holds: a prompt, or what a user says of an answer.

A line is an object in any shape that `compass.data.readers` reads. Where known it has the feedback `loss` (a number,
higher is worse) or `correct` (true or false), and the time and the session that `compass.data.arrival` reads. Nothing
in a line stops the stream: one that can't be used is skipped and counted by reason; a warning names file and place,
never the content.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from compass.data.arrival import TIME_FIELDS
from compass.data.json_text import parse_json
from compass.data.languages import UNDETERMINED
from compass.data.readers import LANGUAGE_FIELDS, UnusableRowError, is_missing, read_row
from compass.drift.results import LARGEST_LOSS, NO_LOSS, Skipped, SkipWarnings, by_reason
from compass.drift.state import Position
from compass.errors import LanguageError

LONGEST_LINE = 16 * 2**20
"""Bytes of one line; a longer one is skipped."""
LONGEST_PROMPT = 32_000
"""Characters of one prompt; a longer one is skipped. Encoders take seconds for it, and minutes for a whole line."""
FILE_HEADER = b'{"compass": "prompts"'
"""How the first line of a file of `compass serve` begins: it tells the file from others, and holds no prompt."""
LABEL_LINE = b'{"label_of"'
"""How a line of feedback begins."""
UNKNOWN_LANGUAGE = "?"
"""Stands for a tag that names no language: the prompt counts among other languages."""
SERVED = "served_language"
"""Field of a line of `compass serve`: the language whose adapter answered."""
LABEL_OF = "label_of"
"""Field of another kind of line of `compass serve`: the answer that a user has judged. The line has no text."""


@dataclass(frozen=True)
class Record:
    """One prompt of production."""

    prompt: str
    language: str
    """BCP-47 tag; empty where the line has none."""
    loss: float
    """NaN without feedback."""
    place: str = ""
    """File and line."""
    session: str = ""
    """What the prompts of one conversation share; empty where the line does not say."""
    at: float = math.nan
    """When it came, in seconds since 1970; NaN where the line does not say."""
    served: str = ""
    """The language whose adapter answered, `und` for the base model; empty where the line does not say."""
    time_unread: bool = False
    """Whether the line says when it came in a way that can't be read."""


@dataclass(frozen=True)
class Label:
    """What a user says of an answer, after its prompt was counted."""

    of: str
    """Id of the answer."""
    language: str
    """The language whose adapter answered."""
    version: int
    loss: float


@dataclass(frozen=True)
class InputBatch:
    """Prompts that are counted together."""

    records: tuple[Record, ...]
    position: Position | None
    """Where they come from; None for a stream, which can't be read twice."""
    skipped: tuple[Skipped, ...] = ()
    """Lines that could not be used, by reason."""
    labels: tuple[Label, ...] = ()
    """What users say of answers, in the order of the lines."""

    @property
    def skipped_lines(self) -> int:
        """How many lines could not be used."""
        return sum(skip.n for skip in self.skipped)

    @property
    def is_empty(self) -> bool:
        """Whether it notes a place alone, with nothing new there."""
        return not (self.records or self.skipped or self.labels)


def parse(line: bytes, columns: Mapping[str, str] | None = None) -> Record:
    """Read one line. Raises ValueError, with the rule but not the content, if it can't be used.

    columns: ours=theirs, as in `read_examples`.
    """
    row = parse_json(line)
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    unknown = False
    try:
        try:
            found = read_row(row, columns)
        except LanguageError:
            unknown, found = True, read_row(row, {**(columns or {}), **dict.fromkeys(LANGUAGE_FIELDS, "")})
    except UnusableRowError as error:
        raise ValueError(error.reason) from None
    # Databases refuse NUL in texts.
    prompt = found.prompt.replace("\0", "\ufffd")
    if not prompt.strip():
        raise ValueError("an empty prompt")
    if len(prompt) > LONGEST_PROMPT:
        raise ValueError(f"a prompt of more than {LONGEST_PROMPT:,} characters")
    language = "" if found.language == UNDETERMINED else found.language
    tag = UNKNOWN_LANGUAGE if unknown else language
    served = row.get(SERVED)
    return Record(
        prompt, tag, _loss(row), session=found.session, at=found.at, served=served if isinstance(served, str) else "",
        time_unread=math.isnan(found.at) and any(_says(row.get(name)) for name in TIME_FIELDS),
    )  # fmt: skip


def _says(value: Any) -> bool:
    return value != "" and not is_missing(value)


def batch_of(
    lines: list[bytes], name: str, first: int, columns: Mapping[str, str] | None, warnings: SkipWarnings
) -> InputBatch:
    """Read lines. name and first: of the file and its first line, for places; columns: as of `parse`."""
    records: list[Record] = []
    labels: list[Label] = []
    skips: list[Skipped] = []
    for number, line in enumerate(lines, first):
        if not line.strip() or line.startswith(FILE_HEADER):
            continue
        try:
            if len(line) > LONGEST_LINE:
                raise ValueError(f"longer than {LONGEST_LINE // 2**20} MiB")
            if line.startswith(LABEL_LINE):
                labels.append(_label(line))
                continue
            record = replace(parse(line, columns), place=f"{name}, line {number}")
            records.append(record)
            if record.time_unread:
                warnings.add_time(record.place)
        except Exception as error:
            # Nothing that somebody wrote into a log may stop the stream; errors of other kinds may quote the line.
            reason = str(error) if type(error) is ValueError else f"unreadable ({type(error).__name__})"
            kind = reason.partition(" (")[0] if reason.startswith("broken JSON") else reason
            skips.append(Skipped(kind, 1, f"{name}, line {number}"))
            warnings.add(f"{name}, line {number}", kind, reason)
    return InputBatch(tuple(records), None, by_reason(skips), tuple(labels))


def _label(line: bytes) -> Label:
    """Read a line of feedback. Raises ValueError if it can't be used."""
    row = parse_json(line)
    of, language, version = (row.get(name) if isinstance(row, dict) else None for name in (LABEL_OF, SERVED, "version"))
    loss = _loss(row) if isinstance(row, dict) else math.nan
    if not (isinstance(of, str) and of and isinstance(language, str) and type(version) is int and loss == loss):
        raise ValueError("feedback without answer, language, version or verdict")
    return Label(of, language, version, loss)


def _loss(row: Mapping[str, Any]) -> float:
    """Return a row's feedback as a loss; NaN without."""
    loss, correct = row.get("loss"), row.get("correct")
    if not is_missing(loss):
        if isinstance(loss, bool) or not isinstance(loss, int | float) or not abs(loss) <= LARGEST_LOSS:
            raise ValueError(NO_LOSS)
        return float(loss)
    if not is_missing(correct):
        if not isinstance(correct, bool):
            raise ValueError("correct is neither true nor false")
        return 0.0 if correct else 1.0
    return math.nan
