"""Rows as labelling tools export them, flattened to a column each: Argilla's records and Label Studio's tasks.

Each answer to a prompt becomes a row of its own; a prompt that nobody answered, skipped or discarded keeps an empty
response, which cleaning drops and counts. Read from the tools' own exporters (argilla 2.8, label-studio-sdk 2.1).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from compass.data.readers.formats import PlacedRow, Row
from compass.data.readers.shapes import SHAPES

RESPONSE = "response"
"""Name of the question, as `compass label` writes it, and of the column that its answers are read into."""
ANSWERS = ".responses"
"""End of the name of a column of answers, in Argilla's flat rows."""
LABEL_NOTES = frozenset({"stands_for", "covered", "reason"})
"""Columns of a list of prompts to label that tell people why each is on it; nothing is read from them."""
PROMPTS = frozenset(shape.prompt for shape in SHAPES)
"""Columns that hold the prompt of a row."""
COLUMNS = frozenset(
    {"annotations", "annotation_id", "completions", "data", "fields", "lead_time", "metadata", "responses", "status",
     RESPONSE, f"{RESPONSE}{ANSWERS}", f"{RESPONSE}{ANSWERS}.status"}
)  # fmt: skip
"""Columns that are read besides those of the shapes."""


def flattened(rows: Iterable[PlacedRow]) -> Iterator[PlacedRow]:
    """Yield rows as they are, and in place of an exported one a row for each of its answers."""
    for place, row in rows:
        for own in _answered(row):
            yield place, own


def _answered(row: Row) -> Iterator[Row]:
    # A row with a prompt of its own is none of the nested ones, whatever else it has.
    nested = not PROMPTS.intersection(row)
    if nested and isinstance(data := row.get("data"), Mapping):
        yield from _one_each({"id": row.get("id"), **data}, _annotations(row))
    elif nested and isinstance(fields := row.get("fields"), Mapping) and isinstance(row.get("responses"), Mapping):
        answers = [] if row.get("status") == "discarded" else _values(_of_question(row["responses"]))
        more = row.get("metadata") if isinstance(row.get("metadata"), Mapping) else {}
        yield from _one_each({**(more or {}), **fields, "id": row.get("id")}, answers)
    elif f"{RESPONSE}{ANSWERS}" in row:
        yield from _one_each(row, _submitted(row))
    elif "annotation_id" in row and "lead_time" in row:
        yield {**row, RESPONSE: _text(row.get(RESPONSE)), "id": _own_id(row)}
    else:
        yield row


def _one_each(row: Mapping[str, Any], answers: Sequence[str]) -> Iterator[Row]:
    """Yield a row with each answer, or with none where there is none; ids of further answers are numbered."""
    for number, answer in enumerate(answers or [""], 1):
        own = dict(row) | {RESPONSE: answer}
        if row.get("id") in (None, ""):
            own.pop("id", None)
        elif number > 1:
            own["id"] = f"{row['id']}-{number}"
        yield own


def _annotations(task: Row) -> list[str]:
    """Return the answers of a Label Studio task's annotations that were not skipped."""
    texts = []
    for annotation in _list(task.get("annotations")) or _list(task.get("completions")):
        if not isinstance(annotation, Mapping) or annotation.get("was_cancelled") or annotation.get("skipped"):
            continue
        results = [
            result
            for result in _list(annotation.get("result"))
            if isinstance(result, Mapping) and result.get("type") == "textarea"
        ]
        named = [result for result in results if result.get("from_name") == RESPONSE] or results[:1]
        texts += [_text(result.get("value")) for result in named]
    return [text for text in texts if text.strip()]


def _of_question(responses: Mapping[str, Any]) -> Any:
    """Return what was answered to our question, or to the only one."""
    return responses.get(RESPONSE) or (next(iter(responses.values())) if len(responses) == 1 else ())


def _values(responses: Any) -> list[str]:
    values = [response.get("value") for response in _list(responses) if isinstance(response, Mapping)]
    return [value for value in values if isinstance(value, str) and value.strip()]


def _submitted(row: Row) -> list[str]:
    """Return the answers of one of Argilla's flat rows that are no drafts and not discarded."""
    answers = _list(row.get(f"{RESPONSE}{ANSWERS}"))
    states = _list(row.get(f"{RESPONSE}{ANSWERS}.status")) or ["submitted"] * len(answers)
    pairs = zip(answers, states, strict=False)
    return [answer for answer, state in pairs if isinstance(answer, str) and answer.strip() and state == "submitted"]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _own_id(row: Row) -> Any:
    """Return an id for one annotation in Label Studio's tables, where a task has a row for each."""
    annotation = row.get("annotation_id")
    return row.get("id") if annotation in (None, "") else f"{row.get('id')}-{annotation}"


def _text(value: Any) -> str:
    """Return the text of a text area: a text, or several under `text`, which tables hold as JSON."""
    if isinstance(value, str) and value.startswith('{"text":'):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, list):
        return "\n".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
