"""Multiple-choice records of several data sets as one: question, choices, number of the right one.

    choices (or options)        a list, as in EXAMS and MMLU
    option_a, option_b, ...     Global-MMLU
    option_0, option_1, ...     MMLU-ProX, whose unused options are null

The right one is `answer_index`, or else `answer`: a number from 0, a letter, or one of the choices itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compass.errors import DataError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LISTS = ("choices", "options")
_SERIES = (
    tuple(f"option_{letter}" for letter in LETTERS[:10].lower()),
    tuple(f"option_{number}" for number in range(10)),
)
CHOICE_FIELDS = frozenset({"question", "answer", "answer_index", *_LISTS, *_SERIES[0], *_SERIES[1]})


@dataclass(frozen=True, slots=True)
class MultipleChoice:
    """A question, its choices, and the number of the right one from 0."""

    question: str
    choices: tuple[str, ...]
    answer: int

    @property
    def prompt(self) -> str:
        """The question with its choices under letters, one a line."""
        return "\n".join(
            (self.question, *(f"{letter}. {text}" for letter, text in zip(LETTERS, self.choices, strict=False)))
        )

    @property
    def response(self) -> str:
        """The right choice with its letter."""
        return f"{LETTERS[self.answer]}. {self.choices[self.answer]}"


def has_choices(row: Mapping[str, Any]) -> bool:
    """Say whether a record is a multiple-choice question."""
    return isinstance(row.get("question"), str) and len(_choices(row)) > 1


def multiple_choice(row: Mapping[str, Any], place: str) -> MultipleChoice:
    """Read a multiple-choice record. place: what to call it in errors. Raises DataError if something is missing."""
    question, choices = row.get("question", row.get("prompt")), _choices(row)
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{place}: no question. A multiple-choice row needs a text `question`.")
    if not 1 < len(choices) <= len(LETTERS):
        raise DataError(
            f"{place}: {len(choices)} choices, and 2 to {len(LETTERS)} are needed. Give them as a list `choices`, or "
            "as option_a, option_b, ... or option_0, option_1, ..."
        )
    if (hole := next((place for place, choice in enumerate(choices) if not choice), -1)) >= 0:
        raise DataError(
            f"{place}: choice {LETTERS[hole]} is empty and later ones are not, so it is unclear which one the answer "
            "names. Fill it in, or leave the row out."
        )
    index = row.get("answer_index")
    answer = index if index is not None else row.get("answer")
    number = _number(answer, choices)
    if number is None:
        raise DataError(
            f"{place}: the answer {answer!r} is not one of the {len(choices)} choices. Give its number from 0, "
            "its letter or its text."
        )
    return MultipleChoice(question.strip(), choices, number)


def _choices(row: Mapping[str, Any]) -> tuple[str, ...]:
    for name in _LISTS:
        if isinstance(row.get(name), list | tuple):
            return tuple(str(choice) for choice in row[name])
    for names in _SERIES:
        if names[0] in row:
            found = ["" if row.get(name) is None else str(row[name]) for name in names]
            # Rows with fewer choices than others end in empty ones.
            while found and not found[-1]:
                found.pop()
            return tuple(found)
    return ()


def _number(answer: Any, choices: tuple[str, ...]) -> int | None:
    if isinstance(answer, bool):
        return None
    if isinstance(answer, str):
        text = answer.strip()
        if text in choices:
            return choices.index(text)
        if len(text) == 1 and text.upper() in LETTERS[: len(choices)]:
            return LETTERS.index(text.upper())
        if not text.isdecimal():
            return None
        answer = int(text)
    return answer if isinstance(answer, int) and 0 <= answer < len(choices) else None
