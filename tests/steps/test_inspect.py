"""What is said of sources: columns, languages, outcomes with their first place, lengths."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from compass.config import DataConfig
from compass.steps.inspect import Outcome, inspect, inspect_sets
from compass.steps.read import clean, filled_in, read

CONFIG = DataConfig(language="cy", identify_languages=False)
CALL = {"role": "assistant", "content": "x", "tool_calls": [{}]}


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_source_by_itself(tmp_path: Path) -> None:
    """Breaks if a column, a language, a role or a dropped row goes unsaid, or the first place is another one."""
    rows = [
        {"prompt": f"question number {i} of many", "response": f"answer {i}", "lang": "en", "system": "s", "url": "u"}
        for i in range(20)
    ]
    unanswered = {"prompt": "q", "response": "  "}
    path = write(tmp_path / "a.jsonl", *rows, rows[2], {"prompt": "p", "completion": [CALL]}, unanswered)
    found = inspect(path, replace(CONFIG, near_duplicates=1.0))
    assert (found.read_as, found.shape, found.rows) == ("pool", "prompt", 23)
    assert found.used == {"prompt": "prompt", "response": "response", "lang": "language", "system": "system turn",
                          "completion": "response"}  # fmt: skip
    assert found.unused == ("url",)
    assert found.languages == {"en": 21, "und": 1}
    assert found.roles == {"user": 22, "assistant": 21, "system": 21}
    assert set(found.outcomes) == {
        Outcome("kept", 20, "line 1"), Outcome("tool calls", 1, "line 22"), Outcome("no response", 1, "line 23"),
        Outcome("duplicate", 1, found.outcomes[-1].first),
    }  # fmt: skip
    assert found.lengths is not None
    assert (found.lengths.unit, found.lengths.longest, found.lengths.max_length) == ("words", 7, 0)
    json.dumps(found.to_dict())


def test_tokens_and_what_is_too_long(tmp_path: Path) -> None:
    """Breaks if rows that training leaves out look well beforehand."""

    class Words:
        eos_token_id, chat_template = 0, None

        def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
            return {"input_ids": [1] * len(text.split())}

    path = write(tmp_path / "a.jsonl", {"prompt": "a b", "response": "c"}, {"prompt": "a", "response": "b " * 30})
    found = inspect(path, CONFIG, tokenizer=Words(), max_length=10).lengths
    assert found is not None
    assert (found.unit, found.median, found.longest, found.too_long) == ("tokens", 32, 32, 1)
    assert found.first_too_long == f"{path}, line 2"


def test_prompts_alone_are_inspected_as_usage(tmp_path: Path) -> None:
    """Breaks if a usage sample looks as if all of it were dropped, or its repeats were."""
    found = inspect(write(tmp_path / "a.jsonl", {"prompt": "a"}, {"prompt": "a"}), CONFIG)
    assert (found.read_as, found.outcomes) == ("usage", (Outcome("kept", 2, "line 1"),))


def test_a_source_without_any_usable_row_is_shown_as_well(tmp_path: Path) -> None:
    """Whoever asks why nothing can be used got the error alone."""
    row = {"messages": [{"role": "assistant", "content": "a"}]}
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(row)}\n" * 2, "utf-8")
    found = inspect(str(path), DataConfig())
    assert (found.rows, found.outcomes) == (2, (Outcome("no user turn", 2, "line 1"),))


def test_the_sources_of_a_run(tmp_path: Path) -> None:
    """Breaks if held-out usage counts as dropped, or a row of one source counts for another."""
    usage = [{"prompt": f"cwestiwn rhif {i}", "response": f"ateb {i}"} for i in range(20)]
    pool = [{"inputs": f"an example of number {i} and more", "targets": "x", "language": "en"} for i in range(30)]
    config = replace(
        CONFIG,
        usage=write(tmp_path / "usage.jsonl", *usage, {"prompt": "hallo", "language": "de"}),
        train=("none",),
        pool=(
            write(tmp_path / "a.jsonl", *pool),
            write(tmp_path / "b.jsonl", pool[0], {"inputs": " ", "targets": "x"}),
        ),
        near_duplicates=1.0,
    )
    config = filled_in(config, 0)
    sources = read(config, 0)
    _, cleaned = clean(sources, config, 0)
    own, first, second = inspect_sets(sources, cleaned, "cy")
    assert {(o.name, o.rows) for o in own.outcomes} == {("kept", 20), ("other language", 1)}
    assert (first.shape, first.read_as, sum(o.rows for o in first.outcomes)) == ("aya", "pool", 30)
    assert sum(o.rows for o in second.outcomes) == 2
    assert ("empty", "line 2") in {(o.name, o.first) for o in second.outcomes}
