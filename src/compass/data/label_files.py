"""Files for people to write answers in: JSON Lines, CSV, and what Argilla and Label Studio import.

What comes back is read as training data: the first two as they are, the exports of the tools by `readers/labelled.py`.
The formats are those of argilla 2.8 (`Dataset.from_disk`) and label-studio-sdk 2.1, checked with these libraries.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compass.data.label_list import LabelPrompt
from compass.data.readers import iter_records
from compass.data.readers.labelled import RESPONSE
from compass.errors import DataError
from compass.runs.files import file_hash, write_json, write_jsonl, write_text

JSONL, CSV = "to-label.jsonl", "to-label.csv"
LABEL_STUDIO_TASKS, LABEL_STUDIO_CONFIG = "label-studio.json", "label-studio.xml"
ARGILLA = "argilla"
"""Folder that `argilla.Dataset.from_disk` reads."""
RECORDS = f"{ARGILLA}/records.json"
WORKED_ON = (JSONL, CSV, LABEL_STUDIO_TASKS, RECORDS)
"""Files that people fill in, or export answers to."""
WRITTEN = ".written.json"
"""File with the hashes of these as they were written."""
COLUMNS = ("id", "language", "prompt", RESPONSE, "stands_for", "covered", "reason", "context")
INSTRUCTION = "Write the answer that the model should give. Leave out what should not be answered."
EARLIER_TURNS = "earlier_turns"
"""Field that shows the turns before a prompt to a person; what is read back is `context`."""
LABEL_STUDIO_VIEW = f"""<View>
  <Header value="{INSTRUCTION}"/>
  <Text name="{EARLIER_TURNS}" value="${EARLIER_TURNS}"/>
  <Text name="prompt" value="$prompt"/>
  <TextArea name="{RESPONSE}" toName="prompt" rows="4" editable="true" maxSubmissions="1"/>
</View>
"""


def write_label_files(folder: Path, prompts: Sequence[LabelPrompt], *, name: str) -> dict[str, Path]:
    """Write all formats into a folder, their owner's alone; return their paths by format. name: of Argilla's data set.

    Raises DataError if somebody has worked on a file that is there, as `check_label_files` does.
    """
    check_label_files(folder)
    paths = {
        "jsonl": folder / JSONL,
        "csv": folder / CSV,
        "argilla": folder / ARGILLA,
        "label_studio": folder / LABEL_STUDIO_TASKS,
    }
    rows = [_row(prompt) for prompt in prompts]
    write_jsonl(paths["jsonl"], rows)
    write_text(paths["csv"], _csv(rows))
    write_json(paths["label_studio"], [_task(row) for row in rows])
    write_text(folder / LABEL_STUDIO_CONFIG, LABEL_STUDIO_VIEW)
    write_json(folder / RECORDS, [_record(row) for row in rows])
    write_json(paths["argilla"] / ".argilla" / "settings.json", argilla_settings())
    write_json(paths["argilla"] / ".argilla" / "dataset.json", {"name": name, "guidelines": INSTRUCTION})
    write_json(folder / WRITTEN, {name: file_hash(folder / name) for name in WORKED_ON})
    return paths


def argilla_settings() -> dict[str, Any]:
    """Return the settings of Argilla's data set: what is shown, what is asked, and what goes along."""

    def text(name: str, title: str, *, required: bool) -> dict[str, Any]:
        settings = {"type": "text", "use_markdown": False}
        return {"name": name, "title": title, "required": required, "settings": settings}

    def metadata(name: str, kind: str) -> dict[str, Any]:
        return {"name": name, "title": name, "visible_for_annotators": True, "settings": {"type": kind}}

    return {
        "guidelines": INSTRUCTION,
        "allow_extra_metadata": True,
        "fields": [text("prompt", "Prompt", required=True), text(EARLIER_TURNS, "Earlier turns", required=False)],
        "questions": [text(RESPONSE, "Response", required=True)],
        "metadata": [metadata("language", "terms"), metadata("stands_for", "integer"), metadata("covered", "float")],
        "vectors": [],
    }


def _row(prompt: LabelPrompt) -> dict[str, Any]:
    """Return a prompt as a row of ours, with an empty response."""
    return {
        "id": prompt.id,
        "language": prompt.language,
        "prompt": prompt.prompt,
        RESPONSE: "",
        "stands_for": prompt.stands_for,
        "covered": round(prompt.covered, 4),
        "reason": prompt.reason,
        "context": list(map(asdict, prompt.context)),
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table as spreadsheets take it: with a byte order mark, so that they see that it is UTF-8."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in rows:
        context = json.dumps(row["context"], ensure_ascii=False) if row["context"] else ""
        writer.writerow([*(row[name] for name in COLUMNS[:-1]), context])
    return f"\ufeff{out.getvalue()}"


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a tool shows of a row, and its id."""
    turns = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in row["context"])
    names = ("id", "language", "prompt", "stands_for", "covered", "reason")
    return {name: row[name] for name in names} | {EARLIER_TURNS: turns}


def _task(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a task of Label Studio."""
    return {"data": _shown(row) | {"context": row["context"]}}


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a record of Argilla; what is neither shown nor asked is metadata."""
    shown = _shown(row)
    fields = {name: shown.pop(name) for name in ("prompt", EARLIER_TURNS)}
    # Metadata are plain values: turns go as JSON.
    context = {"context": json.dumps(row["context"], ensure_ascii=False)} if row["context"] else {}
    return {
        "id": shown.pop("id"),
        "fields": fields if fields[EARLIER_TURNS] else {"prompt": fields["prompt"]},
        "metadata": shown | context,
        "suggestions": {},
        "responses": {},
        "vectors": {},
    }


def check_label_files(folder: Path) -> None:
    """Refuse a place that is no folder, or a folder where somebody has worked on a file. Raises DataError."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, and the lists to label need a folder. Name another with --label-dir.")
    try:
        written = json.loads((folder / WRITTEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        written = {}
    for name in WORKED_ON:
        path = folder / name
        if name in written and path.is_file() and file_hash(path) != written[name]:
            raise DataError(
                f"{path} was changed since it was written, and would be written over. Move the file, or write the new "
                "list elsewhere with --label-dir."
            )
        if name not in written and name in (JSONL, CSV):
            _refuse_answers(path)


def _refuse_answers(path: Path) -> None:
    """Raise DataError if a file that nothing is known of has answers: they would be lost."""
    if not path.is_file():
        return
    try:
        answered = sum(bool(str(row.get(RESPONSE) or "").strip()) for _, row in iter_records(path))
    except DataError as error:
        raise DataError(
            f"{error} The file would be written over, and it may have answers. Move it, or write the new list "
            "elsewhere with --label-dir."
        ) from error
    if answered:
        raise DataError(
            f"{path} has {answered} {'answer' if answered == 1 else 'answers'}, which would be written over. Move the "
            "file, or write the new list elsewhere with --label-dir."
        )
