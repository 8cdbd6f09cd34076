"""Lines of a log, whatever is in them: each is a prompt or is counted as passed over, and the stream goes on."""

from __future__ import annotations

import io
import json
import math
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from compass.drift import read_files, read_stream
from fuzzing import damaged, fuzz, in_time, json_values, raw, texts

FIELDS = ("prompt", "language", "lang", "loss", "correct", "messages", "conversations", "instruction", "inputs", "id")
rows = st.dictionaries(st.sampled_from(FIELDS) | texts, json_values, max_size=5)
lines = (
    rows.map(lambda row: json.dumps(row).encode())
    | raw.map(lambda content: content.replace(b"\n", b" "))
    | json_values.map(lambda value: json.dumps(value).encode())
)


@fuzz(80, share=0.2)
@given(data=st.data())
def test_a_log(data: st.DataObject) -> None:
    """Whoever may write one field of a log could stop the monitor for good."""
    good = json.dumps({"prompt": "golau", "language": "cy"}).encode()
    given_lines = [good, *data.draw(st.lists(lines, max_size=4)), good]
    if data.draw(st.booleans()):
        given_lines[1:-1] = [damaged(data, good).replace(b"\n", b" ")]
    content = b"\n".join(given_lines) + b"\n"
    columns = data.draw(st.none() | st.dictionaries(st.sampled_from(("prompt", "language", "id")), texts, max_size=2))
    with in_time():
        if data.draw(st.booleans()):
            batches = list(read_stream(io.BytesIO(content), batch_size=3, columns=columns))
        else:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "log.jsonl").write_bytes(content)
                batches = [batch for batch in read_files(folder, {}, batch_size=3, columns=columns) if batch]
    records = [record for batch in batches for record in batch.records]
    skipped = sum(batch.skipped_lines for batch in batches)
    assert len(records) + skipped == sum(bool(line.strip()) for line in given_lines), (
        "a line is neither read nor counted"
    )
    if not columns:
        assert [record.prompt for record in records][:: max(1, len(records) - 1)] == ["golau", "golau"]
    for record in records:
        assert record.prompt.strip()
        record.prompt.encode("utf-8")
        record.language.encode("utf-8")
        assert math.isnan(record.loss) or math.isfinite(record.loss)
    json.dumps([str(batch.skipped) for batch in batches]).encode("utf-8")
