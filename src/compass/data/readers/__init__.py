"""Files and data sets in, `Example`s out; and our own JSON Lines, both ways.

A source is a file (`.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, also with `.gz`; `.parquet`), a folder saved by
`datasets` (`FOLDER[:SPLIT]`), or `hub:NAME[/CONFIG][@REVISION][:SPLIT]`: the configuration is the third part of the
name, for example `hub:CohereLabs/Global-MMLU/sw:dev`. The shape of the rows is found from the columns of the first
ones, in this order:

    messages (or conversations)      the last user turn is the prompt, the assistant's next turn the response, earlier
                                     turns the context
    prompt, completion or response   plain texts or lists of messages; the response may be missing
    instruction, input, output       the input (or Dolly's context) follows the instruction after an empty line
    inputs, targets                  Aya, with its language_code
    question with choices, answer    multiple choice (see `choices`): the prompt is the question with its choices under
                                     letters, the response the right one with its letter; the label is the subject, and
                                     sample_id or question_id the parallel_id that translations share
    question, answer
    chosen                           preferences without a prompt of their own: a conversation, as messages

The names of columns may differ from these in case, spaces and hyphens. Rows that can't be used are left out and
counted; broken files are refused (docs/your-data.md).

Ids are kept; an id that occurs twice in a source is an error that names both places. A row without an id gets one from
its content, the same in every run, with `-2`, `-3` after it for further rows of the same content (cleaning drops them).

A new file format is a function and a line in `formats.FORMATS`; a new row shape one in `shapes.SHAPES`.
"""

from __future__ import annotations

from compass.data.readers.accounts import NoUsableRowError, SourceAccount
from compass.data.readers.examples import iter_examples, iter_records, iter_sources, read_examples, read_row
from compass.data.readers.fields import UnusableRowError, is_missing
from compass.data.readers.jsonl import iter_jsonl, read_jsonl, write_jsonl
from compass.data.readers.shapes import LANGUAGE_FIELDS
from compass.data.readers.sources import source_path

__all__ = [
    "LANGUAGE_FIELDS",
    "NoUsableRowError",
    "SourceAccount",
    "UnusableRowError",
    "is_missing",
    "iter_examples",
    "iter_jsonl",
    "iter_records",
    "iter_sources",
    "read_examples",
    "read_jsonl",
    "read_row",
    "source_path",
    "write_jsonl",
]
