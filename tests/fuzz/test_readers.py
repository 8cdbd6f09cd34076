"""Data files of every format, whatever is in them: rows, or one message."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from compass.data.readers import read_examples, read_jsonl, write_jsonl
from compass.data.readers.accounts import SourceAccount
from fuzzing import damaged, fuzz, json_values, raw, refused_or_fine, scalars, texts

FIELDS = (
    "prompt", "response", "completion", "messages", "conversations", "instruction", "input", "output", "inputs",
    "targets", "question", "answer", "choices", "language", "lang", "language_code", "id", "label", "system", "history",
    "chosen", "tools", "source", "parallel_id", "context", " response", "text", "Prompt", "System-Prompt", "answers",
    "data", "annotations", "fields", "responses", "metadata", "response.responses", "annotation_id", "lead_time",
)  # fmt: skip
turns = st.fixed_dictionaries(
    {}, optional={"role": texts, "from": texts, "content": json_values, "value": json_values, "tool_calls": json_values}
)
values = scalars | json_values | st.lists(turns, max_size=4)
rows = st.dictionaries(st.sampled_from(FIELDS), values, min_size=1, max_size=5)
good = st.builds(lambda number: {"prompt": f"p {number}", "response": "r", "language": "cy"}, st.integers(0, 9))
names = st.sampled_from(FIELDS) | texts
FORMATS = (".jsonl", ".jsonl.gz", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".csv.gz", ".txt")


def write(path: Path, given_rows: list[dict[str, Any]]) -> None:
    name, plain = path.name.removesuffix(".gz"), b""
    if name.endswith((".csv", ".tsv")):
        out = io.StringIO()
        names = list(dict.fromkeys(key for row in given_rows for key in row))
        table = csv.DictWriter(out, names, delimiter="," if name.endswith(".csv") else "\t")
        table.writeheader()
        table.writerows(given_rows)
        plain = out.getvalue().encode("utf-8", "surrogatepass")
    elif name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            pq.write_table(pa.Table.from_pylist(given_rows), path)
        except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
            path.write_bytes(b"PAR1")
        return
    elif name.endswith(".json"):
        plain = json.dumps(given_rows).encode()
    else:
        plain = b"".join(json.dumps(row).encode() + b"\n" for row in given_rows)
    path.write_bytes(gzip.compress(plain, 1) if path.suffix == ".gz" else plain)


@fuzz(60, share=0.25)
@given(data=st.data())
def test_a_data_file(data: st.DataObject) -> None:
    """A traceback, a hang, or rows that are silently fewer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{data.draw(st.sampled_from(FORMATS))}"
        inputs = data.draw(st.lists(rows | good, min_size=1, max_size=4))
        how = data.draw(st.sampled_from(("whole", "whole", "damaged", "raw")))
        write(path, inputs)
        if how == "damaged":
            path.write_bytes(damaged(data, path.read_bytes()))
        elif how == "raw":
            path.write_bytes(data.draw(raw))
        columns = data.draw(st.none() | st.dictionaries(names, names, max_size=2))
        with refused_or_fine():
            accounts: list[SourceAccount] = []
            required = data.draw(st.booleans())
            examples = read_examples(path, columns=columns, require_response=required, accounts=accounts)
            assert examples
            assert all(isinstance(row.prompt, str) and isinstance(row.response, str) for row in examples)
            assert len({row.id for row in examples}) == len(examples)
            if how == "whole":
                (account,) = accounts
                assert account.rows == len(inputs)
                assert len(examples) + len(account.dropped) == len(inputs), "a row was lost, and nothing was said"
            write_jsonl(Path(folder) / "again.jsonl", examples)
            assert read_jsonl(Path(folder) / "again.jsonl") == examples
