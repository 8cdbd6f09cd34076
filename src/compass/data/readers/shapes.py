"""Row shapes: which columns a row has, and how they become prompt, response and context.

To add a shape, write a function `(fields, shape) -> Content` (`plain` does for one column each of prompt and response)
and give it a line in `SHAPES`. The first shape in the table whose prompt column a source has is the shape of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from compass.data.choices import CHOICE_FIELDS, has_choices, multiple_choice
from compass.data.example import Message
from compass.data.readers.fields import NO_USER_TURN, OTHER_TURN, TOOL, TOOL_CALLS, Fields, UnusableRowError, is_missing
from compass.data.readers.formats import Row
from compass.data.readers.hints import nearest
from compass.data.readers.hub import parse_hub
from compass.errors import DataError

LANGUAGE_FIELDS = ("language_code", "language", "lang")
RESPONSE_FIELDS = ("response", "completion")
ANSWER_FIELDS = (*RESPONSE_FIELDS, "output", "targets", "answer", "answers", "chosen")
"""Columns of a response in any shape; one that the shape does not have of its own is read where those are missing.
`answers` is SQuAD's, `chosen` that of preferences (trl's, UltraFeedback)."""
SEVERAL_ANSWERS = "several answers"
"""Why a row can't be used: which of them to teach is not said."""
SYSTEM_FIELDS = ("system", "system_prompt")
"""Columns of a system turn beside the prompt: OpenOrca, LLaMA-Factory."""
HISTORY = "history"
"""Column of earlier turns as pairs of what user and assistant said: LLaMA-Factory."""
COMMON_FIELDS: Mapping[str, str] = {
    **dict.fromkeys(SYSTEM_FIELDS, "system turn"), HISTORY: "earlier turns",
    **dict.fromkeys(LANGUAGE_FIELDS, "language"),
    "id": "id", "label": "label", "source": "source", "parallel_id": "what translations share",
}  # fmt: skip
"""Columns of every shape -> what they are used for."""
SUBJECT_FIELDS = ("subject", "category", "topic")
"""Where multiple-choice sets say their subject: Global-MMLU, MMLU-ProX, EXAMS."""
PARALLEL_FIELDS = ("sample_id", "question_id")
"""Where they say which question a row translates: Global-MMLU, MMLU-ProX."""
NO_CHOICE = "no whole multiple-choice question"
"""Why a row can't be used."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a shape finds in a row. label and parallel_id serve where the row has no column of that name."""

    prompt: str
    response: str = ""
    context: tuple[Message, ...] = ()
    label: str = ""
    parallel_id: str = ""


@dataclass(frozen=True)
class Shape:
    """One way in which rows hold prompt and response."""

    name: str
    prompt: str
    """The column that the shape is known by."""
    read: Callable[[Fields, Shape], Content]
    response: tuple[str, ...] = ()
    """Columns of the response, the first that has a value; none where the prompt's column holds it too."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Further columns that `columns` may map -> what they are used for."""
    as_named: Mapping[str, str] = field(default_factory=dict)
    """Further columns, read under their own names alone -> what they are used for."""
    fits: Callable[[Row], bool] | None = None
    """What a row must look like besides, where the prompt's column is not enough to tell."""

    def fields(self) -> tuple[str, ...]:
        """Return the fields that `columns` may map."""
        return (self.prompt, *self.response, *self.others)

    def use(self, ours: str) -> str:
        """Return what a column is used for in this shape; empty if for nothing."""
        if ours == self.prompt:
            return "conversation" if self.read is conversation else "prompt"
        if ours in ANSWER_FIELDS:
            return "response"
        return self.others.get(ours) or self.as_named.get(ours) or COMMON_FIELDS.get(ours, "")


# -- shapes ------------------------------------------------------------------------------------------------------------


def plain(fields: Fields, shape: Shape) -> Content:
    """Read a prompt and a response, each a text or a list of messages."""
    if isinstance(fields.get(shape.prompt), list):
        return conversation(fields, shape)
    return _with_response(Content(fields.text(shape.prompt)), fields, shape)


def conversation(fields: Fields, shape: Shape) -> Content:
    """Read a list of messages: the last user turn is the prompt, the assistant's next turn the response."""
    if fields.get(shape.prompt) is None:
        return _with_response(Content(""), fields, shape)
    turns = fields.turns(shape.prompt)
    last = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=-1)
    if last < 0:
        roles = ", ".join(turn.role for turn in turns) or "none"
        raise UnusableRowError(NO_USER_TURN, f"{fields.place}: no message has the role 'user'; found {roles}.")
    if fields.prompts_only:
        return Content(turns[last].content)
    if any(turn.role == TOOL for turn in turns):
        raise UnusableRowError(
            TOOL_CALLS, f"{fields.place}: {fields.theirs(shape.prompt)!r} has tool calls, which cannot be used yet."
        )
    said = _answer(fields, turns[last + 1 :])
    content = Content(turns[last].content, said, tuple(turns[:last]))
    if not shape.response:
        return content if said else _with_response(content, fields, shape)
    # The completion continues a prefilled turn of the assistant.
    whole = _with_response(replace(content, response=""), fields, shape)
    return replace(whole, response=said + whole.response)


def with_context(fields: Fields, shape: Shape) -> Content:
    """Read prompt and response, and earlier turns from `context`."""
    content = plain(fields, shape)
    if not fields.get("context"):
        return content
    return replace(content, context=(*fields.turns("context"), *content.context))


def with_input(fields: Fields, shape: Shape) -> Content:
    """Read an instruction and its input (Dolly: context), which follows it after an empty line."""
    content = plain(fields, shape)
    more = fields.text("input") or fields.text("context")
    return replace(content, prompt=f"{content.prompt}\n\n{more}") if more.strip() else content


def choices(fields: Fields, shape: Shape) -> Content:
    """Read a multiple-choice question; the label is its subject, the parallel_id what its translations share."""
    row, parallel_id = fields.row, ""
    try:
        item = multiple_choice(row, fields.place)
    except DataError as error:
        raise UnusableRowError(NO_CHOICE, str(error)) from error
    subject = next((str(row[name]) for name in SUBJECT_FIELDS if row.get(name)), "")
    shared = next((str(row[name]) for name in PARALLEL_FIELDS if row.get(name) not in (None, "")), "")
    # A file's numbers may begin at 0 in each; a hub data set has one numbering for all of its languages.
    if shared and (hub := parse_hub(fields.source)) and not fields.ignored("parallel_id"):
        parallel_id = f"{hub.name} {shared}"
    label = "" if fields.ignored("label") else subject
    return Content(item.prompt, item.response, label=label, parallel_id=parallel_id)


def _with_response(content: Content, fields: Fields, shape: Shape) -> Content:
    """Take the response from the first of its columns that has a value, mapped columns first."""
    if fields.prompts_only:
        return content
    names = (*(name for name in ANSWER_FIELDS if name in fields.columns), *shape.response, *ANSWER_FIELDS)
    name = next((name for name in names if fields.get(name) is not None), None)
    if name is None:
        return content
    value = fields.get(name)
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        # SQuAD's: the texts, and where they stand in the passage.
        value = value["text"]
    if not isinstance(value, list):
        return replace(content, response=fields.text(name))
    if all(isinstance(text, str) for text in value):
        return replace(content, response=_only(fields, name, value))
    return replace(content, response=_answer(fields, _after(content.prompt, fields.turns(name))))


def _only(fields: Fields, name: str, texts: Sequence[str]) -> str:
    """Return the answer that all texts of a list are; empty for an empty list."""
    found = list(dict.fromkeys(text for text in texts if text.strip()))
    if len(found) > 1:
        raise UnusableRowError(
            SEVERAL_ANSWERS,
            f"{fields.place}: {fields.theirs(name)!r} has {len(found)} different answers. Put the one to learn into a "
            "column of its own, such as response.",
        )
    return found[0] if found else ""


def _after(prompt: str, turns: Sequence[Message]) -> Sequence[Message]:
    """Return the turns after the prompt's, where a response is written as the whole conversation."""
    last = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=-1)
    return turns[last + 1 :] if last >= 0 and turns[last].content.strip() == prompt.strip() else turns


def _answer(fields: Fields, turns: Sequence[Message]) -> str:
    """Return the response of the turns after the prompt; adjoining turns of the assistant are one response."""
    if other := next((turn.role for turn in turns if turn.role != "assistant"), None):
        raise UnusableRowError(
            TOOL_CALLS if other == TOOL else OTHER_TURN,
            f"{fields.place}: a turn of the role {other!r} stands where the response is.",
        )
    return "\n".join(turn.content for turn in turns)


SHAPES: tuple[Shape, ...] = (
    Shape("messages", "messages", conversation),
    Shape("messages", "conversations", conversation),
    Shape("prompt", "prompt", with_context, RESPONSE_FIELDS, {"context": "earlier turns"}),
    Shape(
        "instruction", "instruction", with_input, ("output", *RESPONSE_FIELDS),
        dict.fromkeys(("input", "context"), "end of the prompt"),
    ),
    Shape("aya", "inputs", plain, ("targets",)),
    Shape(
        "choices", "question", choices, ("answer",), fits=has_choices,
        as_named={
            **dict.fromkeys(CHOICE_FIELDS, "choices"), **dict.fromkeys(SUBJECT_FIELDS, "label"),
            **dict.fromkeys(PARALLEL_FIELDS, "what translations share"),
        },
    ),
    Shape("question", "question", plain, ("answer",)),
    Shape("preference", "chosen", conversation),
)  # fmt: skip
"""All shapes, in the order in which they are tried. A new shape is one line here."""

MAPPED_FIELDS = frozenset(chain(COMMON_FIELDS, ANSWER_FIELDS, *(shape.fields() for shape in SHAPES)))
"""The fields that `columns` may map."""
READ_FIELDS = MAPPED_FIELDS.union(*(shape.as_named for shape in SHAPES))
"""All columns that are read where nothing is mapped."""


# -- which shape -------------------------------------------------------------------------------------------------------


def check_columns(columns: Mapping[str, str]) -> None:
    """Raise DataError for a mapping of a field that there is not."""
    for ours, theirs in columns.items():
        if ours not in MAPPED_FIELDS:
            turned = f"If it is your column, write {theirs}={ours}. " if theirs in MAPPED_FIELDS else ""
            raise DataError(
                f"columns: there is no field {ours!r}{nearest(ours, MAPPED_FIELDS)} {turned}"
                f"Map one of {', '.join(sorted(MAPPED_FIELDS))}, as ours=theirs."
            )


def _example_of_columns(rows: Sequence[Row]) -> str:
    """Return a mapping that makes sense for these rows: of a known name written otherwise, or of the only text."""
    found = list(dict.fromkeys(chain.from_iterable(rows)))
    for ours in [shape.prompt for shape in SHAPES]:
        if same := next((name for name in found if name.strip().casefold() == ours), None):
            return f"{ours}={same}"
    turns = (name for row in rows for name, value in row.items() if isinstance(value, list) and value)
    if talk := next((name for name in turns if any(_is_turn(row.get(name)) for row in rows)), None):
        return f"messages={talk}"
    texts = {name for row in rows for name, value in row.items() if name and isinstance(value, str)}
    texts = {
        name for name in texts if not (plain := name.strip().casefold()).endswith("id") and plain not in MAPPED_FIELDS
    }
    # Of several columns one can't tell prompts from responses by looks.
    return f"prompt={texts.pop() if len(texts) == 1 else 'COLUMN'}"


def _is_turn(value: Any) -> bool:
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, Mapping) and bool({"role", "from"} & first.keys())


def find_shape(name: str, rows: Sequence[Row], columns: Mapping[str, str], *, require_response: bool) -> Shape:
    """Return the first shape whose prompt column is there; one whose prompt column is mapped comes before the others.

    name: of the source, for errors. rows: its first rows. Raises DataError if no shape fits, a mapped column is not
    there, or a response is required and has no column.
    """
    found = list(dict.fromkeys(chain.from_iterable(rows)))
    filled = {field for row in rows for field, value in row.items() if not is_missing(value)}
    for ours, theirs in columns.items():
        if theirs and theirs not in found:
            raise DataError(
                f"{name}: no column {theirs!r}, which columns maps to {ours!r}{nearest(theirs, found)} "
                f"Found: {', '.join(found)}. A mapping applies to all sets of rows; pool.{ours}={theirs} applies to "
                "the pool alone (likewise usage, train, test)."
            )
    # A column without any value tells nothing, unless there is no other.
    have = {field for field in found if field not in columns and field not in columns.values()}
    have |= {ours for ours, theirs in columns.items() if theirs}
    # A user who names prompt or response means these columns, whatever else the rows look like.
    named = any(columns.get(ours) for ours in ("prompt", "question", "answer", *RESPONSE_FIELDS))
    fitting = [
        shape
        for shape in SHAPES
        if shape.prompt in have and (shape.fits is None or (not named and any(map(shape.fits, rows))))
    ]
    fitting = [shape for shape in fitting if columns.get(shape.prompt, shape.prompt) in filled] or fitting
    if not fitting:
        raise DataError(
            f"{name}: no column for the prompt (prompt, messages, instruction, inputs or question)"
            f"{nearest('prompt', found)} Found: {', '.join(found) or 'none'}. Map it with columns, for example "
            f"{_example_of_columns(rows)}."
        )
    shape = next((shape for shape in fitting if shape.prompt in columns), fitting[0])
    if require_response and shape.response and not have & {*shape.response, *ANSWER_FIELDS}:
        raise DataError(
            f"{name}: a response is required, but there is no column {' or '.join(shape.response)}"
            f"{nearest('response', found)} Found: {', '.join(found)}. Map it with columns, for example response=answer."
        )
    return shape
