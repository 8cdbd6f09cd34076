"""Files and data sets in, `Example`s out; and our own JSON Lines, both ways.

A source is a file (`.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, also with `.gz`; `.parquet`), a folder saved by
`datasets` (`FOLDER[:SPLIT]`), or `hub:NAME[/CONFIG][@REVISION][:SPLIT]`: the configuration is the third part of the
name, `hub:CohereLabs/Global-MMLU/sw:dev` say. The shape of the rows is found from the fields of the first ones, in this
order:

    messages (or conversations)      the last user turn is the prompt, the assistant's next turn the response, earlier
                                     turns the context
    prompt, completion or response   plain texts or lists of messages; either may be missing but the prompt
    instruction, input, output       the input (or Dolly's context) follows the instruction after an empty line
    inputs, targets                  Aya, with its language_code
    question with choices, answer    multiple choice (see `choices`): the prompt is the question with its choices under
                                     letters, the response the right one with its letter; the label is the subject, and
                                     sample_id or question_id the parallel_id that translations share
    question, answer

Ids are kept; an id that occurs twice in a source is an error that names both places. A row without an id gets one from
its content, the same in every run, with `-2`, `-3` after it for further rows of the same content (cleaning drops them).
"""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import json
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from compass.data.choices import CHOICE_FIELDS, has_choices, multiple_choice
from compass.data.example import Example, Message
from compass.data.languages import UNDETERMINED, from_any
from compass.errors import DataError, LanguageError

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
Numbered = tuple[int, Row]
"""The line or record number of a row, from 1, and its fields."""

_PEEK = 100
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_HUB = re.compile(r"hub:(?P<name>[\w.\-]+(?:/[\w.\-]+){0,2})(?:@(?P<revision>[^:@]+))?(?::(?P<split>.+))?")
_LANGUAGE_FIELDS = ("language_code", "language", "lang")
_RESPONSE_FIELDS = ("response", "completion")
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class _Table:
    """The rows of one source and how to say where one of them is."""

    name: str
    rows: Iterator[Numbered]
    unit: str = "record"

    def place(self, number: int) -> str:
        return f"{self.name}, {self.unit} {number}"


@dataclass(frozen=True)
class _Shape:
    """How the rows of one source become prompt, response and context."""

    name: str
    prompt: str
    response: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    def fields(self) -> tuple[str, ...]:
        return (self.prompt, *self.response, *self.extra)


_SHAPES = (
    _Shape("messages", "messages"),
    _Shape("messages", "conversations"),
    _Shape("prompt", "prompt", _RESPONSE_FIELDS, ("context",)),
    _Shape("instruction", "instruction", ("output", *_RESPONSE_FIELDS), ("input", "context")),
    _Shape("aya", "inputs", ("targets",)),
    _Shape("choices", "question", ("answer",)),
    _Shape("question", "question", ("answer",)),
)
_SUBJECT_FIELDS = ("subject", "category", "topic")
"""Where multiple-choice sets say their subject: Global-MMLU, MMLU-ProX, EXAMS."""
_PARALLEL_FIELDS = ("sample_id", "question_id")
"""Where they say which question a row translates: Global-MMLU, MMLU-ProX."""
_OWN_FIELDS = ("id", "label", "source", "parallel_id", *_LANGUAGE_FIELDS)
_KNOWN_FIELDS = frozenset(chain(_OWN_FIELDS, *(shape.fields() for shape in _SHAPES)))


_READ_FIELDS = _KNOWN_FIELDS | CHOICE_FIELDS | {*_SUBJECT_FIELDS, *_PARALLEL_FIELDS}


def read_examples(
    source: str | os.PathLike[str] | Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    default_language: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
    require_response: bool = False,
) -> list[Example]:
    """Read one source, or several one after another, into Examples in the order of the file.

    columns: ours=theirs (`{"prompt": "question"}`); ours is any field of the shapes above, or id, language, label,
    source, parallel_id; `{"id": ""}` leaves the file's ids aside, and so for the other fields. default_language: tag of
    rows that carry none (else `und`). streaming: iterate over a hub data set instead of downloading it. limit: rows of
    each source, at most. require_response: refuse rows without a response. Between sources a repeated id gets `-2`,
    `-3`.
    Raises DataError (with file and line or record), LanguageError for an unknown tag.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    options: dict[str, Any] = {
        "columns": columns, "default_language": default_language, "streaming": streaming, "limit": limit,
        "require_response": require_response,
    }  # fmt: skip
    if len(sources) == 1:
        return list(iter_examples(sources[0], **options))
    unique = _UniqueIds()
    return [
        _renamed(example, unique.make(example.id, {})) for one in sources for example in iter_examples(one, **options)
    ]


def iter_examples(
    source: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    default_language: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
    require_response: bool = False,
) -> Iterator[Example]:
    """Yield the Examples of one source, a row in memory at a time (the ids seen are kept); see `read_examples`."""
    mapping = _check_columns(columns or {})
    language = from_any(default_language) if default_language else UNDETERMINED
    if limit is not None and limit < 1:
        raise DataError(f"limit has to be 1 or more, got {limit}.")
    table = _open(os.fspath(source), streaming, mapping)
    rows = islice(table.rows, limit)
    first = list(islice(rows, _PEEK))
    if not first:
        raise DataError(f"{table.name} holds no records.")
    shape = _find_shape(table.name, [row for _, row in first], mapping, require_response)
    logger.debug("%s: shape %s", table.name, shape.name)
    ids = _Ids(table)
    origin = table.name if table.name.startswith("hub:") else Path(table.name).name
    for number, row in chain(first, rows):
        yield _example(number, row, shape, mapping, language, origin, ids, require_response)


def iter_records(source: str | os.PathLike[str], *, streaming: bool = False) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (place for errors, fields as they are) for every row of a source. Raises DataError as `read_examples`."""
    table = _open(os.fspath(source), streaming, None)
    for number, row in table.rows:
        yield table.place(number), row


def read_jsonl(path: str | os.PathLike[str]) -> list[Example]:
    """Read back what `write_jsonl` wrote. Raises DataError with file and line."""
    examples = []
    table = _json_lines(_existing(os.fspath(path)))
    for number, row in table.rows:
        place = table.place(number)
        missing = [name for name in ("id", "prompt") if name not in row]
        if missing:
            raise DataError(f"{place}: no {' and no '.join(map(repr, missing))}; found {_listed(row)}.")
        try:
            examples.append(Example.from_dict(row))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{place}: `context` has to be a list of objects with role and content.") from error
    return examples


def write_jsonl(path: str | os.PathLike[str], examples: Iterable[Example]) -> int:
    """Write examples as JSON Lines (gzip for `.gz`), all or nothing; return the number of rows.

    Raises DataError if the disk refuses them.
    """
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    rows = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _created(part, compressed=target.suffix == ".gz") as out:
            for example in examples:
                out.write(_encoded(example.to_dict()))
                rows += 1
        os.replace(part, target)
    except OSError as error:
        raise DataError(
            f"Cannot write {target}: {error.strerror or error} after {rows} rows. Free some space or choose another "
            "output_dir, then run the same command again."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return rows


# -- rows to examples --------------------------------------------------------------------------------------------------


def _check_columns(columns: Mapping[str, str]) -> dict[str, str]:
    for ours in columns:
        if ours not in _KNOWN_FIELDS:
            raise DataError(
                f"columns: {ours!r} is no field of ours{_nearest(ours, _KNOWN_FIELDS)} "
                f"Map one of {', '.join(sorted(_KNOWN_FIELDS))}, as ours=theirs."
            )
    return dict(columns)


def _find_shape(name: str, rows: Sequence[Row], mapping: Mapping[str, str], require_response: bool) -> _Shape:
    """Return the first shape whose prompt field is there; a mapped prompt field comes before all others."""
    fields = list(dict.fromkeys(chain.from_iterable(rows)))
    for ours, theirs in mapping.items():
        if theirs and theirs not in fields:
            raise DataError(
                f"{name}: no column {theirs!r}, which columns maps to {ours!r}{_nearest(theirs, fields)} "
                f"Found: {', '.join(fields)}. A mapping holds for all sets of rows; pool.{ours}={theirs} is for the "
                "pool alone (or usage, current, test)."
            )
    have = {field for field in fields if field not in mapping and field not in mapping.values()}
    have |= {ours for ours, theirs in mapping.items() if theirs}
    ordered = sorted(_SHAPES, key=lambda shape: shape.prompt not in mapping)
    plain = any(mapping.get(name) for name in ("prompt", "question", "answer", *_RESPONSE_FIELDS))
    chosen = not plain and any(map(has_choices, rows))
    fitting = (shape for shape in ordered if shape.prompt in have and (chosen or shape.name != "choices"))
    shape = next(fitting, None)
    if shape is None:
        raise DataError(
            f"{name}: no column for the prompt (prompt, messages, instruction, inputs or question)"
            f"{_nearest('prompt', fields)} Found: {', '.join(fields)}. Name it with columns, say prompt="
            f"{fields[0] if fields else 'text'}."
        )
    if require_response and shape.response and not have & {*shape.response, *_RESPONSE_FIELDS}:
        raise DataError(
            f"{name}: a response is needed, and there is no column {' or '.join(shape.response)}"
            f"{_nearest('response', fields)} Found: {', '.join(fields)}. Name it with columns, say response=answer."
        )
    return shape


def _example(
    number: int,
    row: Row,
    shape: _Shape,
    mapping: Mapping[str, str],
    default_language: str,
    source: str,
    ids: _Ids,
    require_response: bool,
) -> Example:
    place = ids.table.place(number)

    def value(ours: str) -> Any:
        return row.get(mapping.get(ours, ours))

    def text(ours: str) -> str:
        return _text(place, mapping.get(ours, ours), value(ours))

    theirs = mapping.get(shape.prompt, shape.prompt)
    if theirs not in row:
        raise DataError(f"{place}: no {theirs!r}{_nearest(theirs, row)} Found: {_listed(row)}.")
    response_fields = (*(name for name in _RESPONSE_FIELDS if name in mapping), *shape.response)
    response_field = next((ours for ours in response_fields if value(ours) is not None), "")
    context: tuple[Message, ...] = ()
    response = ""
    label = _plain(place, "label", value("label"))
    parallel_id = _plain(place, "parallel_id", value("parallel_id"))
    if shape.name == "choices":
        item = multiple_choice(row, place)
        prompt, response, response_field = item.prompt, item.response, ""
        subject = next((str(row[name]) for name in _SUBJECT_FIELDS if row.get(name)), "")
        label = label or ("" if mapping.get("label") == "" else subject)
        shared = next((str(row[name]) for name in _PARALLEL_FIELDS if row.get(name) not in (None, "")), "")
        # A file's numbers may begin at 0 in each; a hub data set has one numbering for all of its languages.
        hub = _HUB.fullmatch(source)
        if shared and hub and not parallel_id and mapping.get("parallel_id") != "":
            parallel_id = f"{'/'.join(hub['name'].split('/')[:2])} {shared}"
    elif shape.name == "messages" or isinstance(value(shape.prompt), list):
        context, prompt, response = _split_turns(place, _turns(place, theirs, value(shape.prompt)))
    else:
        prompt = text(shape.prompt)
    if response_field and isinstance(value(response_field), list):
        turns = _turns(place, mapping.get(response_field, response_field), value(response_field))
        response = next((turn.content for turn in turns if turn.role == "assistant"), "")
    elif response_field:
        response = text(response_field)
    if shape.name == "instruction" and (more := text("input") or text("context")).strip():
        prompt = f"{prompt}\n\n{more}"
    if shape.name == "prompt" and value("context"):
        context = (*_turns(place, "context", value("context")), *context)
    if require_response and not response.strip():
        raise DataError(f"{place}: no response, and one is needed here. Take the row out or fill it in.")
    tag_fields = (*(name for name in _LANGUAGE_FIELDS if name in mapping), *_LANGUAGE_FIELDS)
    tag = next((str(value(name)) for name in tag_fields if value(name) not in (None, "")), "")
    own_id = "" if mapping.get("id") == "" else _plain(place, "id", value("id"))
    return Example(
        id=ids.check(number, own_id) if own_id else ids.make(prompt, response, context),
        prompt=prompt,
        response=response,
        language=_language(place, tag) if tag else default_language,
        label=label,
        source=_plain(place, "source", value("source")) or source,
        parallel_id=parallel_id,
        context=context,
    )


def _turns(place: str, name: str, value: Any) -> list[Message]:
    """Return the messages of a conversation, in OpenAI's or ShareGPT's field names."""
    if isinstance(value, str):  # CSV and some Parquet files hold the list as JSON
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise DataError(f"{place}: {name!r} has to be a list of messages, got the text {_short(value)}.") from error
    if not isinstance(value, list):
        raise DataError(f"{place}: {name!r} has to be a list of messages, got {type(value).__name__}.")
    turns = []
    for turn in value:
        role = turn.get("role", turn.get("from")) if isinstance(turn, Mapping) else None
        if not isinstance(role, str):
            raise DataError(f"{place}: each of {name!r} has to be an object with role and content, got {_short(turn)}.")
        content = _text(place, f"{name}.content", turn.get("content", turn.get("value")))
        turns.append(Message(_ROLES.get(role, role), content))
    return turns


def _split_turns(place: str, turns: Sequence[Message]) -> tuple[tuple[Message, ...], str, str]:
    """Return (context, prompt, response): the last user turn is the prompt, the assistant's next turn the response."""
    last = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=-1)
    if last < 0:
        raise DataError(f"{place}: no message of the role 'user'; found {', '.join(t.role for t in turns) or 'none'}.")
    response = next((turn.content for turn in turns[last + 1 :] if turn.role == "assistant"), "")
    return tuple(turns[:last]), turns[last].content, response


def _text(place: str, name: str, value: Any) -> str:
    """Return a text field; null is empty, lone surrogates become U+FFFD. Raises DataError for another type."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{place}: {name!r} has to be text, got {type(value).__name__}: {_short(value)}.")
    return value if value.isascii() else _SURROGATE.sub("\ufffd", value)


def _plain(place: str, name: str, value: Any) -> str:
    """Return an id or label, which may be a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return _text(place, name, value)


def _language(place: str, tag: str) -> str:
    try:
        return from_any(tag)
    except LanguageError as error:
        raise LanguageError(f"{place}: {error}") from error


@dataclass
class _UniqueIds:
    """Ids with a number after those that were there before."""

    seen: dict[str, int] = field(default_factory=dict)

    def make(self, wanted: str, taken: Mapping[str, int]) -> str:
        name = wanted
        while name in self.seen or name in taken:
            self.seen[wanted] = self.seen.get(wanted, 1) + 1
            name = f"{wanted}-{self.seen[wanted]}"
        self.seen[name] = 1
        return name


@dataclass
class _Ids:
    """The ids of one source: given ones with their line or record, made ones from content."""

    table: _Table
    given: dict[str, int] = field(default_factory=dict)
    made: _UniqueIds = field(default_factory=_UniqueIds)

    def check(self, number: int, given: str) -> str:
        if given in self.given or given in self.made.seen:
            before = f"{self.table.unit} {self.given[given]}" if given in self.given else "an earlier row without an id"
            raise DataError(
                f"{self.table.place(number)}: the id {given!r} was there before, in {before}. Ids have to be unique: "
                "make them so, map another column (id=...) or leave them aside (id= with nothing after it)."
            )
        self.given[given] = number
        return given

    def make(self, prompt: str, response: str, context: Iterable[Message]) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for part in chain((prompt, response), *((turn.role, turn.content) for turn in context)):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
        return self.made.make(digest.hexdigest(), self.given)


def _renamed(example: Example, name: str) -> Example:
    return example if example.id == name else replace(example, id=name)


# -- sources to rows ---------------------------------------------------------------------------------------------------


def source_path(source: str) -> Path:
    """Return the path that a source names; of `FOLDER:SPLIT`, a saved `datasets` folder, that of the folder."""
    path, folder = Path(source).expanduser(), Path(source.rpartition(":")[0]).expanduser()
    named = bool(source.rpartition(":")[0])
    return folder if named and not path.exists() and folder.is_dir() else path


def _open(source: str, streaming: bool, mapping: Mapping[str, str] | None) -> _Table:
    """Return the rows of a source. mapping: None reads every column. Raises DataError for no such source or format."""
    if source.startswith("hub:"):
        return _hub(source, streaming)
    if (folder := source_path(source)) != Path(source).expanduser():
        return _saved_folder(folder, source.rpartition(":")[2])
    found = _existing(source)
    if found.is_dir():
        return _saved_folder(found, "")
    suffixes = [suffix.lower() for suffix in found.suffixes] or [""]
    suffix = suffixes[-2] if suffixes[-1] == ".gz" and len(suffixes) > 1 else suffixes[-1]
    if suffix not in _SUFFIXES or suffixes[-2:] == [".parquet", ".gz"]:
        known = f"{', '.join(_SUFFIXES)} (.gz after it for all but Parquet)"
        raise DataError(f"{found}: unknown format {''.join(suffixes[-2:])!r}. Known: {known}.")
    if found.stat().st_size == 0:
        raise DataError(f"{found} is empty.")
    if suffix == ".parquet":
        return _Table(str(found), _parquet_rows(found, mapping))
    if suffix in (".csv", ".tsv"):
        return _Table(str(found), _csv_rows(found, "\t" if suffix == ".tsv" else ","), "line")
    if suffix == ".json" and _starts_with_bracket(found):
        return _Table(str(found), _json_array(found))
    return _json_lines(found)


def _existing(source: str) -> Path:
    """Return the path of a file or folder that exists. Raises DataError with the nearest sibling."""
    path = Path(source).expanduser()
    if path.exists():
        return path
    parent = path.parent
    if not parent.is_dir():
        nearest = next(folder for folder in parent.parents if folder.is_dir())
        raise DataError(
            f"{source}: no such file; the folder {parent} is not there (but {nearest} is).{_hub_hint(source)}"
        )
    names = sorted(entry.name for entry in parent.iterdir())
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {parent / close[0]}?" if close else f" {parent} holds {_listed(names) or 'nothing'}."
    raise DataError(f"{source}: no such file.{hint}{_hub_hint(source)}")


def _hub_hint(source: str) -> str:
    looks_like_hub = re.fullmatch(r"[\w.\-]+/[\w.\-]+", source) and not source.endswith((*_SUFFIXES, ".gz"))
    return f" For the data set of that name on the hub, write hub:{source}." if looks_like_hub else ""


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, text with its line end). Raises DataError for broken gzip or what is not UTF-8."""
    packed = path.suffix.lower() == ".gz"
    number = 0
    with gzip.open(path) if packed else path.open("rb") as stream:
        try:
            for number, raw in enumerate(stream, 1):
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number}: not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start}). "
                "Convert it, for example with: iconv -f windows-1252 -t utf-8"
            ) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}, after line {number}: the gzip file is broken or cut off ({error}).") from error


def _starts_with_bracket(path: Path) -> bool:
    return next((text.lstrip()[0] for _, text in _lines(path) if text.strip()), "") == "["


def _json_lines(path: Path) -> _Table:
    table = _Table(str(path), iter(()), "line")

    def rows() -> Iterator[Numbered]:
        for number, text in _lines(path):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                what = f"broken JSON ({error.msg} at column {error.colno})"
                raise DataError(f"{table.place(number)}: {what}: {_short(text.strip())}") from error
            yield number, _object(table.place(number), row)

    return replace(table, rows=rows())


def _json_array(path: Path) -> Iterator[Numbered]:
    try:
        rows = json.loads("".join(text for _, text in _lines(path)))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: broken JSON ({error.msg} at column {error.colno}).") from error
    for number, row in enumerate(rows, 1):
        yield number, _object(f"{path}, record {number}", row)


def _object(place: str, row: Any) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{place}: a record has to be a JSON object, got {type(row).__name__}: {_short(row)}.")
    return row


def _csv_rows(path: Path, delimiter: str) -> Iterator[Numbered]:
    reader = csv.reader((text for _, text in _lines(path)), delimiter=delimiter, strict=True)
    start = 1
    try:
        header = next(reader, [])
        for name in header:
            if header.count(name) > 1:
                raise DataError(f"{path}, line 1: the column {name!r} is there twice.")
        start = reader.line_num + 1
        for cells in reader:
            number, start = start, reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                what = f"{len(cells)} fields, but {len(header)} in the header ({', '.join(header)})"
                raise DataError(f"{path}, line {number}: {what}.")
            yield number, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: broken CSV ({error}).") from error


def _parquet_rows(path: Path, mapping: Mapping[str, str] | None) -> Iterator[Numbered]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = [name for name in names if mapping is None or name in _READ_FIELDS or name in mapping.values()]
            # a file without any field of ours is read whole, so that the error can list what it has
            for batch in file.iter_batches(batch_size=1024, columns=wanted or None):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {**dict.fromkeys(names), **row} if number == 1 else row
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet after record {number} ({error}).") from error


def _saved_folder(folder: Path, split: str) -> _Table:
    """Return the rows of a folder that `datasets` saved."""
    if not any((folder / name).exists() for name in ("state.json", "dataset_dict.json")):
        raise DataError(
            f"{folder} is a folder, but not one that datasets.save_to_disk wrote (it has neither state.json nor "
            f"dataset_dict.json). Name a file in it instead: {_listed(sorted(e.name for e in folder.iterdir()))}."
        )
    import datasets

    name = f"{folder}:{split}" if split else str(folder)
    return _Table(name, _dataset_rows(str(folder), lambda: datasets.load_from_disk(str(folder)), split))


def _hub(source: str, streaming: bool) -> _Table:
    """Return the rows of a data set on the hub."""
    match = _HUB.fullmatch(source)
    if match is None:
        raise DataError(
            f"{source!r} is no hub source. Write hub:NAME[/CONFIG][@REVISION][:SPLIT], hub:owner/name@main:train say."
        )
    import datasets

    parts = match["name"].split("/")
    name, config = "/".join(parts[:2]), parts[2] if len(parts) > 2 else None

    def load() -> Any:
        return datasets.load_dataset(
            name, config, split=match["split"], revision=match["revision"], streaming=streaming
        )

    return _Table(source, _dataset_rows(source, load, ""))


def _dataset_rows(name: str, load: Callable[[], Any], split: str) -> Iterator[Numbered]:
    """Yield the rows of what `load` returns: a data set, or splits of which `split` (or the only one) is taken."""
    from datasets.exceptions import DatasetsError

    number = 0
    try:
        found = load()
        if isinstance(found, dict):
            found = found[_choose_split(name, list(found), split)]
        elif split:
            raise DataError(f"{name} has no splits, so none is called {split!r}. Leave it out.")
        for batch in found.iter(batch_size=1000):
            for values in zip(*batch.values(), strict=True):
                number += 1
                yield number, dict(zip(batch, values, strict=True))
    except (OSError, ValueError, KeyError, DatasetsError) as error:
        after = f" after record {number}" if number else ""
        raise DataError(f"{name}: cannot be loaded{after} ({type(error).__name__}: {error}).") from error


def _choose_split(name: str, splits: Sequence[str], split: str) -> str:
    if not split and len(splits) > 1:
        raise DataError(f"{name} has the splits {', '.join(splits)}. Say which: {name}:{splits[0]}.")
    if split and split not in splits:
        raise DataError(f"{name} has no split {split!r}{_nearest(split, splits)} Found: {', '.join(splits)}.")
    return split or splits[0]


# -- small things ------------------------------------------------------------------------------------------------------


@contextmanager
def _created(path: Path, *, compressed: bool) -> Iterator[IO[bytes]]:
    with path.open("wb") as plain:
        if not compressed:
            yield plain
            return
        # no time stamp and no name inside: the same rows give the same bytes
        with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as packed:
            yield cast(IO[bytes], packed)


def _encoded(row: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # lone surrogates can only be written as escapes
        return (json.dumps(row) + "\n").encode()


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; nearest: {close[0]!r}." if close else "."


def _listed(names: Iterable[str], most: int = 12) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _short(value: Any, most: int = 60) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"
