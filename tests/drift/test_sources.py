from __future__ import annotations

import gzip
import io
import itertools
import json
import logging
import math
import os
import random
import re
import time
from dataclasses import replace
from unittest.mock import Mock

import pytest

from compass.drift import log_files, places, read_files, read_stream, rotation, sources
from compass.drift.log_lines import parse
from compass.errors import DataError


def lines(*prompts: str) -> str:
    return "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)


def prompts(batches) -> list[str]:
    return [record.prompt for batch in batches if batch for record in batch.records]


def test_lines():
    """Breaks if a field is read from another place, or feedback is turned over."""
    record = parse(b'{"prompt": "golau", "language": "cy", "loss": 2}')
    assert (record.prompt, record.language, record.loss) == ("golau", "cy", 2.0)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    record = parse(json.dumps({"messages": turns, "correct": False}).encode())
    assert (record.prompt, record.language, record.loss) == ("c", "", 1.0)
    assert parse(b'{"prompt": "a", "correct": true}').loss == 0.0
    with pytest.raises(ValueError, match="more than 32,000 characters"):
        parse(json.dumps({"prompt": "e" * 32_001}).encode())
    assert math.isnan(parse(b'{"prompt": "a"}').loss)
    assert math.isnan(parse(b'{"prompt": "a", "loss": NaN, "correct": null}').loss)


@pytest.mark.parametrize(
    ("line", "prompt", "language"),
    [
        ({"prompt": "a", "lang": "en"}, "a", "en"),
        ({"prompt": "a", "language_code": "cym"}, "a", "cy"),
        ({"prompt": "a", "language": "unknown"}, "a", ""),
        ({"prompt": "a", "language": float("nan")}, "a", ""),
        ({"prompt": "a", "language": "no such tongue"}, "a", "?"),
        ({"prompt": "a", "language": 4}, "a", "?"),
        ({"prompt": "a", "language": "c\ud800y"}, "a", "?"),
        ({"prompt": "a", "language": "cy\0"}, "a", "?"),
        ({"prompt": "a", "language": "x" * 1_000_000}, "a", "?"),
        ({"prompt": "a\0b\ud800"}, "a\ufffdb\ufffd", ""),
        ({"prompt": "a", "messages": None}, "a", ""),
        ({"inputs": "a", "targets": "b", "language": "Welsh"}, "a", "cy"),
        ({"instruction": "a", "input": "b", "output": "c"}, "a\n\nb", ""),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "a", ""),
        ({"question": "q", "prompt": "p"}, "q", ""),
    ],
)
def test_the_monitor_reads_a_row_as_the_reader_does(line, prompt, language):
    """Breaks if prompts that `adapt --usage` takes are passed over, or other languages count as the target's."""
    record = parse(json.dumps(line).encode(), {"prompt": "question"})
    assert (record.prompt, record.language) == (prompt, language)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", '{"prompt": " "}', '{"prompt": "secret", "loss": "x"}', '{"prompt": "secret", "loss": Infinity}',
     '{"prompt": "secret", "correct": 1}', "\xff", '{"prompt": "secret", "loss": 1e300}',
     '{"prompt": "secret", "loss": 1' + "0" * 400 + "}", '{"prompt": "secret", "loss": 1' + "0" * 5_000 + "}",
     '{"prompt": "secret", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "[" * 100_000,
     '{"messages": [' * 50_000, '{"prompt": ["secret"]}', '{"messages": "[[[["}'],
)  # fmt: skip
def test_unusable_lines_are_counted_and_not_shown(line, caplog):
    """Breaks if one bad line ends the monitor, is passed over silently, or puts a prompt into the log."""
    stream = io.BytesIO(b'{"prompt": "one"}\n' + line.encode("latin-1") + b'\n\n{"prompt": "two"}')
    with caplog.at_level(logging.WARNING):
        batches = list(read_stream(stream, batch_size=10))
    assert prompts(batches) == ["one", "two"]
    (skip,) = [skip for batch in batches for skip in batch.skipped]
    assert (skip.n, skip.first) == (1, "standard input, line 2")
    assert "secret" not in skip.reason
    assert "line 2" in caplog.text
    assert "secret" not in caplog.text


def test_a_stream_is_handed_on_as_it_comes():
    """Breaks if a slow pipe is held back until a batch is full, or a line is cut where the pipe's chunks end."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream, os.fdopen(write, "wb", buffering=0) as pipe:
        batches = read_stream(stream, batch_size=2)
        pipe.write(lines("a", "b", "c").encode() + b'{"prom')
        assert [prompts([next(batches)]) for _ in range(2)] == [["a", "b"], ["c"]]
        pipe.write(b'pt": "d"}\n')
        assert prompts([next(batches)]) == ["d"]
        pipe.close()
        assert list(batches) == []


def test_files_go_on_where_they_were_left(tmp_path):
    """Breaks if a line is read twice or not at all: a folder read three times while it grows."""
    (tmp_path / "b.jsonl").write_text(lines("b1", "b2", "b3"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jsonl").write_text(lines("a1"))
    (tmp_path / "notes.txt").write_text("not read")
    places = {}
    first = list(read_files(tmp_path, places, batch_size=2))
    places |= {batch.position.source: batch.position for batch in first}
    assert prompts(first) == ["b1", "b2", "b3", "a1"]
    assert [(batch.position.source, batch.position.start) for batch in first] == [
        ("b.jsonl", 0), ("b.jsonl", len(lines("b1", "b2"))), ("sub/a.jsonl", 0),
    ]  # fmt: skip
    assert list(read_files(tmp_path, places, batch_size=2)) == []
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write(lines("b4"))
    (tmp_path / "c.jsonl").write_text(lines("c1"))
    assert prompts(read_files(tmp_path, places, batch_size=2)) == ["b4", "c1"]


def test_a_followed_file_waits_for_whole_lines(tmp_path):
    """Breaks if half a line that a server is just writing is taken for a line, or the idle sign does not come."""
    path = tmp_path / "log.jsonl"
    path.write_text('{"prompt": "on')
    rounds = iter(range(100))
    follow = read_files(path, {}, batch_size=10, follow=True, poll_seconds=0.0, stop=lambda: next(rounds) > 20)
    assert next(follow) is None
    path.write_text('{"prompt": "one"}\n{"prompt": "tw')
    assert prompts([next(follow)]) == ["one"]
    path.write_text(lines("one", "two"))
    assert prompts(follow) == ["two"]


def test_half_a_line_waits_for_the_next_run_too(tmp_path, caplog):
    """Breaks if a command that runs every hour beside a server loses the line that is just written, and counts two."""
    path = tmp_path / "log.jsonl"
    path.write_text(lines("one") + '{"prompt": "tw')
    (batch,) = read_files(path, {}, batch_size=10)
    places = {"log.jsonl": batch.position}
    assert (prompts([batch]), batch.skipped) == (["one"], ())
    assert "log.jsonl: its last line is not complete; it is read once it is" in caplog.text
    path.write_text(lines("one", "two") + '{"prompt": "three"}')
    (batch,) = read_files(path, places, batch_size=10)
    assert prompts([batch]) == ["two", "three"]
    assert list(read_files(path, {"log.jsonl": batch.position}, batch_size=10)) == []
    assert len(caplog.records) == 1


def test_a_time_that_can_not_be_read_is_told_and_costs_no_prompt(tmp_path, caplog):
    """Breaks if a log in another format of times loses all of them, and the hours that traffic is compared by."""
    path = tmp_path / "log.jsonl"
    times = ["01/05/2026 10:00", "yesterday", None, "", "2026-05-01T10:00:00Z", 1777629600]
    path.write_text("".join(json.dumps({"prompt": "p", "timestamp": time}) + "\n" for time in times))
    (batch,) = read_files(path, {}, batch_size=10)
    assert [math.isnan(record.at) for record in batch.records] == [True, True, True, True, False, False]
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"log.jsonl, line {n}: its time is neither ISO 8601 nor a number since 1970, and is left out" for n in (1, 2)
    ]


def test_cut_and_replaced_files_are_read_from_their_start(tmp_path):
    """Breaks if lines are lost, or read as halves, after a log was rotated or cut."""
    path = tmp_path / "log.jsonl"
    path.write_text(lines("one", "two"))
    (batch,) = read_files(path, {}, batch_size=10)
    places = {"log.jsonl": batch.position}
    path.write_text(lines("other one", "two", "three", "four"))
    (replaced,) = read_files(path, places, batch_size=10)
    assert prompts([replaced]) == ["other one", "two", "three", "four"]
    path.write_text(lines("one"))
    (cut,) = read_files(path, places, batch_size=10)
    assert (prompts([cut]), cut.position.start) == (["one"], 0)
    assert cut.position.head != batch.position.head
    with path.open("a") as file:
        file.write(lines("five"))
    assert prompts(read_files(path, {"log.jsonl": cut.position}, batch_size=10)) == ["five"]


def test_a_pipe_is_read_as_standard_input(tmp_path):
    """Breaks if a pipe is taken for an empty folder, and followed for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="Give - as source"):
        list(read_files(tmp_path / "pipe", {}, batch_size=1))


def test_a_missing_input_is_named(tmp_path):
    """Breaks if a mistyped path is an empty input."""
    with pytest.raises(DataError, match="does not exist"):
        list(read_files(tmp_path / "nowhere", {}, batch_size=1))


def test_a_renamed_file_goes_on_where_it_was_left(tmp_path):
    """Breaks if rotation counts a day's prompts twice, or loses those that came between."""
    (tmp_path / "app.jsonl").write_text(lines("one", "two"))
    (tmp_path / "twin.jsonl").write_text(lines("one"))
    places = {batch.position.source: batch.position for batch in read_files(tmp_path, {}, batch_size=10)}
    (tmp_path / "app.jsonl").rename(tmp_path / "app-1.jsonl")
    with (tmp_path / "app-1.jsonl").open("a") as file:
        file.write(lines("three"))
    (tmp_path / "app.jsonl").write_text(lines("four"))
    rotated = list(read_files(tmp_path, places, batch_size=10))
    assert prompts(rotated) == ["three", "four"]
    places |= {batch.position.source: batch.position for batch in rotated}
    # Under a name that comes after the one it had, once that is another file.
    (tmp_path / "app.jsonl").rename(tmp_path / "z.jsonl")
    (tmp_path / "app.jsonl").write_text(lines("five"))
    assert prompts(read_files(tmp_path, places, batch_size=10)) == ["five"]
    # A file of another name that begins alike and stands beside it is another log.
    (tmp_path / "other.jsonl").write_text(lines("one", "six"))
    assert sorted(prompts(read_files(tmp_path, places, batch_size=10))) == ["five", "one", "six"]


def test_a_line_without_end_is_passed_over(tmp_path, monkeypatch):
    """Breaks if one long line stops the stream, fills the memory, or its middle is read as a line of its own."""
    monkeypatch.setattr("compass.drift.log_lines.LONGEST_LINE", 100)
    text = lines("one") + "x" * 101 + lines("not one") + lines("two")
    piped = list(read_stream(io.BytesIO(text.encode()), batch_size=10))
    (tmp_path / "log.jsonl").write_text(text)
    filed = list(read_files(tmp_path, {}, batch_size=10))
    for found in (piped, filed):
        assert prompts(found) == ["one", "two"]
        assert sum(batch.skipped_lines for batch in found) == 1
    assert filed[-1].position.end == len(text)


@pytest.mark.parametrize("compress", [False, True])
def test_a_rotated_log_is_read_to_its_end(tmp_path, compress):
    """Breaks if what was written between the last look and the rotation is lost, or anything is counted twice."""
    log = tmp_path / "prompts.jsonl"
    log.write_text(lines(*map(str, range(10))))
    places = {batch.position.source: batch.position for batch in read_files(tmp_path, {}, batch_size=4)}
    with log.open("a") as file:
        file.write(lines(*map(str, range(10, 15))))
    old = log.rename(tmp_path / "prompts.jsonl.1")
    if compress:
        with gzip.open(tmp_path / "prompts.jsonl.1.gz", "wb") as file:
            file.write(old.read_bytes())
        # For a moment both are there.
        both = list(read_files(tmp_path, places, batch_size=4))
        assert prompts(both) == list(map(str, range(10, 15)))
        places |= {batch.position.source: batch.position for batch in both}
        old.unlink()
    log.write_text(lines("15", "16"))
    found = list(read_files(tmp_path, places, batch_size=4))
    assert sorted(prompts(found)) == (["15", "16"] if compress else [*map(str, range(10, 17))])


def test_every_kind_of_log_is_read_and_other_files_are_named(tmp_path, caplog):
    """Breaks if a folder of prompts counts nothing without a word."""
    (tmp_path / "a.ndjson").write_text(lines("a"))
    with gzip.open(tmp_path / "b.jsonl.gz", "wb") as file:
        file.write(lines("b").encode())
    (tmp_path / "c.csv").write_text("prompt\nc\n")
    with gzip.open(tmp_path / "d.jsonl.gz", "wb") as file:
        file.write(lines("d", "e").encode())
    whole = (tmp_path / "d.jsonl.gz").read_bytes()
    (tmp_path / "d.jsonl.gz").write_bytes(whole[: len(whole) - 12])
    with caplog.at_level(logging.WARNING):
        assert prompts(read_files(tmp_path, {}, batch_size=10))[:2] == ["a", "b"]
    assert "c.csv" in caplog.text
    assert "d.jsonl.gz" in caplog.text
    caplog.clear()
    (tmp_path / "none").mkdir()
    with caplog.at_level(logging.WARNING):
        assert prompts(read_files(tmp_path / "none", {}, batch_size=10)) == []
    assert "holds no .jsonl" in caplog.text


def test_a_compressed_log_is_unpacked_again_only_when_it_has_changed(tmp_path, monkeypatch):
    """Breaks if a followed folder unpacks every old log once a second, or misses one that was written anew."""
    file = tmp_path / "old.jsonl.gz"
    file.write_bytes(gzip.compress(lines("one").encode()))
    read = Mock(wraps=sources._next)
    monkeypatch.setattr(sources, "_next", read)
    rounds = iter(range(100))
    follow = read_files(tmp_path, {}, batch_size=10, follow=True, poll_seconds=0.0, stop=lambda: next(rounds) > 60)
    assert prompts([next(follow)]) == ["one"]
    assert [next(follow) for _ in range(5)] == [None] * 5
    assert read.call_count == 2
    file.write_bytes(gzip.compress(lines("two", "three").encode()))
    assert prompts(follow) == ["two", "three"]


def test_many_bad_lines_are_counted_and_the_first_named(tmp_path, caplog):
    """Breaks if a broken log of a million lines writes a million warnings, or only some of them are counted."""
    (tmp_path / "a.jsonl").write_text("x\n" * 150 + '{"prompt": 1}\n')
    with caplog.at_level(logging.WARNING):
        found = list(read_files(tmp_path, {}, batch_size=40))
    assert sum(batch.skipped_lines for batch in found) == 151
    named = [message for message in caplog.messages if " skipped: " in message]
    assert [message.split(" skipped")[0] for message in named[:3]] == [f"a.jsonl, line {n}" for n in (1, 2, 3)]
    assert len(named) == 4
    assert [message.split()[0] for message in caplog.messages if "so far" in message] == ["10", "100"]


@pytest.mark.parametrize("name", ["app.jsonl-20261130", "app.jsonl-20261130.gz", "app.ndjson-20261130", "app.jsonl_1"])
def test_a_log_is_rotated_with_a_date_behind_its_name(tmp_path, name, caplog):
    """Breaks if logrotate's `dateext` takes a log out of what is read, and what came before its rotation is lost."""
    log, old, runs = tmp_path / re.split("[-_]", name)[0], tmp_path / name, Runs(tmp_path)
    log.write_text(lines("one"))
    assert runs.read() == ["one"]
    text = lines("one", "two")
    old.write_bytes(gzip.compress(text.encode()) if old.suffix == ".gz" else text.encode())
    log.write_text(lines("three"))
    assert sorted(runs.read()) == ["three", "two"]
    assert runs.read() == []
    assert "not read" not in caplog.text


@pytest.mark.parametrize("how", ["rename", "copy", "gzip", "both"])
@pytest.mark.parametrize("name", ["prompts.jsonl.1", "prompts.jsonl-20261130"])
def test_a_file_by_itself_is_read_to_its_end_when_it_is_rotated(tmp_path, how, name):
    """Breaks if what was written between the last look and the rotation is lost, or an older log is counted."""
    log, old = tmp_path / "prompts.jsonl", tmp_path / name
    (tmp_path / "prompts.jsonl.2").write_text(lines("older"))
    log.write_text(lines("0", "1"))
    places = {batch.position.source: batch.position for batch in read_files(log, {}, batch_size=1)}
    with log.open("a") as file:
        file.write(lines("2", "3", "4"))
    if how in ("gzip", "both"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(log.read_bytes()))
    if how != "gzip":
        old.write_bytes(log.read_bytes())
    if how == "copy":
        log.write_text("")
    else:
        log.unlink()
        log.touch()
    for new, expected in (("5", ["2", "3", "4", "5"]), ("6", ["6"]), ("7", ["7"])):
        with log.open("a") as file:
            file.write(lines(new))
        found = list(read_files(log, places, batch_size=2))
        assert prompts(found) == expected
        places |= {batch.position.source: batch.position for batch in found}
        if how == "both" and new == "5":
            old.unlink()


def test_a_followed_file_may_be_away_while_it_is_rotated(tmp_path):
    """Breaks if the moment between rename and creation ends the monitor, or hides the log for good."""
    log = tmp_path / "prompts.jsonl"
    log.write_text(lines("a"))
    rounds = iter(range(100))
    follow = read_files(log, {}, batch_size=10, follow=True, poll_seconds=0.0, stop=lambda: next(rounds) > 60)
    assert prompts([next(follow)]) == ["a"]
    with log.open("a") as file:
        file.write(lines("b"))
    log.rename(tmp_path / "prompts.jsonl.1")
    assert prompts([next(follow)]) == ["b"]
    assert next(follow) is None
    log.write_text(lines("c"))
    assert prompts(follow) == ["c"]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("how", ["rename", "copy", "dated", "gzip"])
@pytest.mark.parametrize("half", ['{"prompt": "cut o', '{"prompt": "whole"}'])
def test_the_last_line_of_a_rotated_log_does_not_wait_for_ever(tmp_path, how, half, alone):
    """Breaks if half a line that will never be whole is neither read nor counted, or counted while it may be."""
    log = tmp_path / "prompts.jsonl"
    old = tmp_path / {"dated": "prompts-20261129.jsonl", "gzip": "prompts.jsonl.1.gz"}.get(how, "prompts.jsonl.1")
    log.write_text(lines("a") + half)
    rounds = iter(range(400))
    follow = read_files(
        log if alone else tmp_path, {}, batch_size=9, follow=True, poll_seconds=0.0, stop=lambda: next(rounds) > 300
    )
    assert prompts([next(follow)]) == ["a"]
    assert next(follow) is None
    if how == "gzip":
        old.write_bytes(gzip.compress(log.read_bytes()))
    elif how == "copy":
        old.write_bytes(log.read_bytes())
    else:
        log.rename(old)
        assert not prompts([next(follow)])
    log.write_text("")
    if how != "gzip":
        assert not prompts([next(follow)]), "who writes the log may still hold it open"
        os.utime(old, (time.time() - 60,) * 2)
    if alone and how == "dated":
        pytest.skip("a file by itself is looked for under its name with more after it")
    found = [batch for batch in follow if batch]
    assert prompts(found) == ["whole"] * (half[-1] == "}")
    assert [skip.reason for batch in found for skip in batch.skipped] == ["broken JSON"] * (half[-1] != "}")


def test_a_file_that_is_rotated_before_its_first_line_is_whole_is_read(tmp_path):
    """Breaks if a log that was just begun when reading began is taken for one of the time before."""
    log = tmp_path / "prompts.jsonl"
    (tmp_path / "prompts.jsonl.1").write_text(lines("older"))
    log.write_text('{"prompt": "on')
    rounds = iter(range(100))
    follow = read_files(log, {}, batch_size=9, follow=True, poll_seconds=0.0, stop=lambda: next(rounds) > 60)
    assert next(follow) is None
    log.write_text(lines("one", "two"))
    (tmp_path / "prompts.jsonl.1").rename(tmp_path / "prompts.jsonl.2")
    log.rename(tmp_path / "prompts.jsonl.1")
    log.write_text(lines("three"))
    assert prompts(follow) == ["one", "two", "three"]


def test_logs_that_vanish_or_cannot_be_unpacked(tmp_path, caplog, monkeypatch):
    """Breaks if a log that goes between two looks ends the monitor, or compressed bytes are counted as bad lines."""
    (tmp_path / "a.jsonl").write_text(lines("a"))
    (tmp_path / "a.jsonl.1.xz").write_bytes(b"\xfd7zXZ\n\n\n")
    gone = tmp_path / "gone.jsonl.gz"
    monkeypatch.setattr(sources, "_files", lambda *_: [tmp_path / "a.jsonl", tmp_path / "a.jsonl.1.xz", gone])
    with caplog.at_level(logging.WARNING):
        found = list(read_files(tmp_path, {}, batch_size=10))
    assert (prompts(found), sum(batch.skipped_lines for batch in found)) == (["a"], 0)
    assert "plain or in gzip: a.jsonl.1.xz" in caplog.text


class Runs:
    """Reads again and again, in processes of their own as far as places go."""

    def __init__(self, source, **options):
        self.source, self.options, self.places = source, {"batch_size": 3, **options}, {}

    def read(self):
        """Return the prompts that are new."""
        found = []
        for batch in read_files(self.source, dict(self.places), **self.options):
            found.append(batch)
            self.places[batch.position.source] = batch.position
        return prompts(found)


@pytest.mark.parametrize("new", [True, False])
def test_logs_that_are_rotated_again_and_again_are_counted_once(tmp_path, new):
    """Breaks if logrotate's chain of names, or a log to which nothing was added before its rotation, counts anew."""
    log, runs = tmp_path / "app.jsonl", Runs(tmp_path)
    seen = []
    for day in range(13):
        log.write_text(lines(f"{day}a", f"{day}b"))
        seen += runs.read()
        if new:
            log.write_text(log.read_text() + lines(f"{day}c"))
        for number in range(day, 0, -1):
            (tmp_path / f"app.jsonl.{number}").rename(tmp_path / f"app.jsonl.{number + 1}")
        log.rename(tmp_path / "app.jsonl.1")
    seen += runs.read()
    assert sorted(seen) == sorted(f"{day}{part}" for day in range(13) for part in "abc"[: 3 if new else 2])
    assert runs.read() == []


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("seed", [*range(20), 1060, 1123])
def test_each_line_is_counted_once_whatever_is_done_to_logs(tmp_path, seed, begins):
    """Breaks if some order of rotations, copies and kills loses a line or counts one twice."""
    rng, log, places = random.Random(seed), tmp_path / "app.jsonl", {}
    written, begun, seen = 0, 0, []

    def read(batches):
        found = read_files(tmp_path, dict(places), batch_size=3)
        for batch in itertools.islice(found, batches):
            places[batch.position.source] = batch.position
            seen.extend(prompts([batch]))
        # Nothing is deleted before it was read.
        if batches is None:
            for old in sorted(tmp_path.glob("app.jsonl.[0-9]*"), key=lambda file: int(file.suffix[1:]))[keep:]:
                old.unlink()

    for _ in range(40):
        keep = 2 if rng.random() < 0.2 else 99
        what = rng.choice(["read", "killed", "rename", "copytruncate", "backup", "half a copy", *["write"] * 5])
        if what == "write":
            with log.open("a") as file:
                if begins and not file.tell():
                    begun += 1
                    file.write(lines("Helo"))
                file.write(lines(*map(str, range(written, written := written + rng.randint(1, 4)))))
        elif what in ("read", "killed"):
            read(None if what == "read" else rng.randrange(3))
        elif not log.exists() or not log.stat().st_size or (begins and what == "half a copy"):
            # Of a copy that is gone and was no more than the line that all logs begin with, nothing can be told.
            continue
        elif what == "backup":
            (tmp_path / f"app.jsonl.bak{rng.randrange(2)}").write_bytes(log.read_bytes())
        elif what == "half a copy":
            (tmp_path / "app.jsonl.part").write_bytes(log.read_bytes()[: rng.randrange(log.stat().st_size)])
            read(None)
            (tmp_path / "app.jsonl.part").unlink()
        else:
            for number in range(40, 0, -1):
                if (old := tmp_path / f"app.jsonl.{number}").exists():
                    old.rename(tmp_path / f"app.jsonl.{number + 1}")
            if what == "rename":
                log.rename(tmp_path / "app.jsonl.1")
            else:
                (tmp_path / "app.jsonl.1").write_bytes(log.read_bytes())
                read(rng.choice([0, 1, None]))
                log.write_text("")
    read(None)
    assert seen.count("Helo") == begun
    assert sorted(int(prompt) for prompt in seen if prompt != "Helo") == list(range(written))


def test_another_log_that_begins_alike_is_read_from_its_start(tmp_path):
    """Breaks if a log that was read and is gone, or whose name another has, takes the beginning of the next one."""
    runs = Runs(tmp_path)
    (tmp_path / "2026-11-01.jsonl").write_text(lines("Helo", *(f"November {i}" for i in range(40))))
    assert len(runs.read()) == 41
    (tmp_path / "2026-11-01.jsonl").unlink()
    (tmp_path / "2026-12-01.jsonl").write_text(lines("Helo", *(f"December {i}" for i in range(30))))
    assert len(runs.read()) == 31
    # Another one of its name that is longer.
    (tmp_path / "2026-12-01.jsonl").write_text(lines("Helo", *(f"another {i}" for i in range(50))))
    assert len(runs.read()) == 51
    assert runs.read() == []


@pytest.mark.parametrize("numbered", [False, True])
def test_conversations_that_begin_alike_are_counted_in_full(tmp_path, numbered, caplog):
    """Breaks if files of their own that share a beginning, or are the same, count as copies."""
    for i in range(20):
        (tmp_path / (f"a-{i}.jsonl" if numbered else f"{i}.jsonl")).write_text(lines("Helo", f"q {i}"))
    (tmp_path / "short").mkdir()
    for i in range(20):
        (tmp_path / "short" / f"{i}.jsonl").write_text(lines("Helo"))
    runs = Runs(tmp_path)
    assert len(runs.read()) == 60
    assert runs.read() == []
    assert caplog.messages == []


@pytest.mark.parametrize("rotated", [False, True])
def test_many_logs_that_begin_alike_are_not_read_for_each_other(tmp_path, monkeypatch, rotated):
    """Breaks if the first read of a folder, or of one log's many rotations, takes time with the square of its files."""
    opened = Mock(wraps=places.open_log)
    for module in (places, log_files, sources):
        monkeypatch.setattr(module, "open_log", opened)
    for i in range(200):
        name = f"app.jsonl.{i}" if rotated else f"{i}.jsonl"
        (tmp_path / name).write_text(lines("Helo", *(f"q {i} {j}" for j in range(2))))
    runs = Runs(tmp_path)
    assert len(runs.read()) == 600
    assert runs.read() == []
    assert opened.call_count < 15 * 200


def test_whether_logs_were_left_behind_takes_no_look_at_each_pair(tmp_path, monkeypatch):
    """Breaks if each round of a followed folder takes time with the square of its files."""
    looked = Mock(wraps=rotation.origins)
    monkeypatch.setattr(rotation, "origins", looked)
    files = {tmp_path / f"app.jsonl.{i}" for i in range(200)}
    assert not any(rotation.is_left_behind(file, files) for file in files)
    assert looked.call_count == 200


def test_what_is_left_out_is_told(tmp_path, caplog):
    """Breaks if a log is passed over as a copy, or read in part, without a word."""
    runs = Runs(tmp_path)
    (tmp_path / "a.jsonl").write_text(lines("one", "two"))
    for name in ("a.jsonl.bak", "a.jsonl.1.bak"):
        (tmp_path / name).write_text(lines("one"))
    assert runs.read() == ["one", "two"]
    assert caplog.messages == [
        "a.jsonl.1.bak is a copy of a.jsonl, a.jsonl.bak is a copy of a.jsonl; left out, so that nothing is counted "
        "twice"
    ]
    caplog.clear()
    (tmp_path / "a.jsonl").rename(tmp_path / "z.jsonl")
    assert runs.read() == []
    assert caplog.messages[:1] == ["z.jsonl continues a.jsonl; read from where that stopped"]


def test_places_of_an_earlier_version_hold_under_their_own_names(tmp_path):
    """Breaks if an upgrade counts every log anew, or takes another one for it."""
    runs = Runs(tmp_path)
    (tmp_path / "a.jsonl").write_text(lines("one", "two"))
    runs.read()
    runs.places = {name: replace(place, tail="") for name, place in runs.places.items()}
    old = dict(runs.places)
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
    assert runs.read() == ["one", "two"]
    (tmp_path / "b.jsonl").rename(tmp_path / "a.jsonl")
    runs.places = old
    assert runs.read() == []
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write(lines("three"))
    assert runs.read() == ["three"]


def test_lines_that_were_blanked_do_not_count_a_log_again(tmp_path):
    """Breaks if `compass serve forget` makes the monitor count what it counted."""
    runs, log = Runs(tmp_path), tmp_path / "a.jsonl"
    log.write_text(lines("one", "two", "three"))
    runs.read()
    log.write_text(lines("one") + " " * (len(lines("two")) - 1) + "\n" + lines("three", "four"))
    assert runs.read() == ["four"]
    assert runs.read() == []


def test_a_renamed_log_is_on_record_before_its_name_is_another_ones(tmp_path):
    """Breaks if a process that is killed after each batch counts a rotated log anew."""
    log, places, seen = tmp_path / "app.jsonl", {}, []
    log.write_text(lines("old"))
    (tmp_path / "app.jsonl.1").write_text(lines("older"))
    places |= {batch.position.source: batch.position for batch in read_files(tmp_path, {}, batch_size=3)}
    (tmp_path / "app.jsonl.1").rename(tmp_path / "app.jsonl.2")
    log.rename(tmp_path / "app.jsonl.1")
    log.write_text(lines("new"))
    while batch := next(read_files(tmp_path, dict(places), batch_size=3), None):
        places[batch.position.source] = batch.position
        seen += prompts([batch])
    assert seen == ["new"]


@pytest.mark.parametrize("name", ["app.jsonl.bak", "app.jsonl.1", "app-20261129.jsonl", "app.jsonl.gz"])
@pytest.mark.parametrize("alone", [False, True])
def test_a_copy_beside_a_log_is_not_counted_again(tmp_path, name, alone):
    """Breaks if a backup raises a false alarm, or a copytruncate loses or repeats what was written before the cut."""
    log, copy = tmp_path / "app.jsonl", tmp_path / name
    runs = Runs(log if alone else tmp_path)
    log.write_text(lines("0", "1"))
    assert runs.read() == ["0", "1"]

    def copied(text, end=None):
        copy.write_bytes((gzip.compress(text.encode()) if copy.suffix == ".gz" else text.encode())[:end])

    # While it is copied, its last line in parts; then whole, while the log goes on.
    log.write_text(lines("0", "1", "2", "3"))
    for end in (10, len(lines("0")), len(lines("0", "1")) + 5):
        copied(log.read_text(), end)
        assert runs.read() == (["2", "3"] if end == 10 else [])
    log.write_text(lines("0", "1", "2", "3", "4"))
    copied(log.read_text())
    assert runs.read() == ["4"]
    log.write_text(lines("0", "1", "2", "3", "4", "5"))
    assert runs.read() == ["5"]
    # The copy gets a line of its own.
    if not alone:
        copied(lines("0", "1", "2", "3", "4", "six"))
        assert runs.read() == ["six"]
    # Cut: all but what came after the copy is in it.
    log.write_text("")
    assert runs.read() == []
    log.write_text(lines("7"))
    assert runs.read() == ["7"]
    assert runs.read() == []


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_copytruncate_while_prompts_are_not_read_yet(tmp_path, alone, follow):
    """Breaks if what was written since the last look is lost with the cut, or read from log and copy."""
    log, copy = tmp_path / "app.jsonl", tmp_path / "app.jsonl.1"
    source = log if alone else tmp_path
    log.write_text(lines("0", "1"))
    if follow:
        rounds = iter(range(500))
        reading = read_files(source, {}, batch_size=9, follow=True, poll_seconds=0.0, stop=lambda: next(rounds) > 400)

        def read():
            found = []
            while batch := next(reading):
                found += prompts([batch])
            return found
    else:
        read = Runs(source).read
    assert read() == ["0", "1"]
    log.write_text(lines("0", "1", "2", "3"))
    copy.write_text(log.read_text())
    log.write_text("")
    assert read() == ["2", "3"]
    log.write_text(lines("4"))
    assert read() == ["4"]
    log.write_text(lines("4", "5"))
    copy.write_text(log.read_text())
    assert read() == ["5"]
    log.write_text(lines("6"))
    assert read() == ["6"]
    assert read() == []


def test_hidden_files_are_not_read(tmp_path):
    """Breaks if what rsync is writing, or a snapshot, is counted beside the log."""
    for name in ("a.jsonl", ".a.jsonl.Xy12Zq", ".snapshots/a.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(lines(name))
    assert prompts(read_files(tmp_path, {}, batch_size=9)) == ["a.jsonl"]


def test_a_source_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    """Breaks if a log of another owner, or a folder of one, counts as one without prompts."""
    log = tmp_path / "a.jsonl"
    log.write_text(lines("a"))
    for reader, path in (("pathlib.Path.open", log), ("os.listdir", tmp_path), ("pathlib.Path.stat", log)):
        with monkeypatch.context() as patch:
            patch.setattr(reader, Mock(side_effect=PermissionError(13, "Permission denied", str(path))))
            with pytest.raises(DataError, match=r"can't be read: Permission denied.*right to read it"):
                list(read_files(path, {}, batch_size=1))


def test_what_may_not_be_read_in_a_folder_is_named_once(tmp_path, caplog, monkeypatch):
    """Breaks if a log or a folder of another owner is passed over without its reason, or hides the others."""
    for name in ("a", "b", "closed/c", "listed/d", "listed/e"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jsonl").write_text(lines(name))

    def refuse(real, what):
        def call(path, *rest, **options):
            if str(path).endswith(what):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *rest, **options)

        return call

    monkeypatch.setattr("pathlib.Path.open", refuse(type(tmp_path).open, "a.jsonl"))
    monkeypatch.setattr("os.scandir", refuse(os.scandir, "closed"))
    monkeypatch.setattr("pathlib.Path.is_file", refuse(type(tmp_path).is_file, "d.jsonl"))
    rounds = iter(range(60))
    follow = read_files(tmp_path, {}, batch_size=9, follow=True, poll_seconds=0.0, stop=lambda: next(rounds) > 30)
    assert sorted(prompts(follow)) == ["b", "listed/e"]
    told = [message for message in caplog.messages if "may not be read" in message]
    assert sorted(told) == [
        f"{name} may not be read, so its prompts are left out: Permission denied"
        for name in ("a.jsonl", "closed", "listed/d.jsonl")
    ]


@pytest.mark.parametrize("alone", [False, True])
def test_a_followed_source_that_goes_is_missed_once(tmp_path, caplog, alone):
    """Breaks if a monitor whose logs were moved away waits without a word for ever."""
    caplog.set_level(logging.INFO)
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.jsonl").write_text(lines("a"))
    source = folder / "a.jsonl" if alone else folder
    rounds = iter(range(100))
    follow = read_files(source, {}, batch_size=9, follow=True, poll_seconds=0.0, stop=lambda: next(rounds) > 80)
    assert prompts([next(follow)]) == ["a"]
    folder.rename(tmp_path / "away")
    assert [next(follow) for _ in range(3)] == [None] * 3
    assert caplog.messages == [f"{source} is gone; it is read again once it is back"]
    (tmp_path / "away").rename(folder)
    (folder / "a.jsonl").write_text(lines("a", "b"))
    assert prompts(follow) == ["b"]
    assert caplog.messages[1:] == [f"{source} is back"]


def test_a_prompt_about_a_picture_is_skipped_by_its_reason():
    """Breaks if its text is counted as a prompt of its own, or the reason says that there is no prompt."""
    turn = {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {}}]}
    with pytest.raises(ValueError, match="images or other media"):
        parse(json.dumps({"messages": [turn]}).encode())
