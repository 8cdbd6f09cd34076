from __future__ import annotations

import os
import signal
import sqlite3
import textwrap
import time
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from compass.drift.reading import read_kept, read_skipped
from compass.drift.results import Skipped
from compass.drift.state import MonitorState, NewPrompt, Position
from compass.drift.tables import MonitorRow, open_database, open_to_read
from compass.errors import MonitorError
from forked import Forked, start_script
from processes import wait_for

NOTHING = {
    "streams": {},
    "checks": [],
    "events": [],
    "kept": [],
    "skipped": (),
    "reservoir_size": 3,
    "oldest": 0.0,
    "at": 1.0,
}


@pytest.fixture
def state(database):
    state = MonitorState(database, "one")
    state.begin("reference", {"window": 10}, restart=False)
    yield state
    state.close()


def prompts_of(url: str, name: str = "one") -> int:
    engine = open_database(url)
    with Session(engine) as session:
        found = session.scalar(select(MonitorRow.prompts).where(MonitorRow.name == name))
    engine.dispose()
    return found


def test_a_batch_is_counted_once(state, database):
    """Breaks if a batch that is sent again, or a stretch of a file that is read again, is added again."""
    assert state.write(prompts=5, batch="a", position=None, **NOTHING)
    assert not state.write(prompts=5, batch="a", position=None, **NOTHING)
    assert state.counted("a", None)
    assert not state.counted("b", None)
    first = Position("log", 0, 100, "head")
    assert state.write(prompts=7, batch=None, position=first, **NOTHING)
    assert not state.write(prompts=7, batch=None, position=first, **NOTHING)
    assert state.offsets() == {"log": first}
    with pytest.raises(MonitorError, match="0 to 150 are counted up to 100"):
        state.counted(None, Position("log", 0, 150, "head"))
    assert not state.counted(None, Position("log", 0, 150, "another file"))
    assert prompts_of(database) == 12


def test_all_or_nothing(state, database):
    """Breaks if counts are kept of a batch whose other parts failed: then they would be counted again."""
    broken = NOTHING | {"kept": [NewPrompt("text", "cy", 0, "full", None)]}  # a rank is required
    with pytest.raises(MonitorError) as error:
        state.write(prompts=5, batch="a", position=None, **broken)
    assert "text" not in str(error.value)
    assert error.value.__cause__ is None
    assert not state.counted("a", None)
    assert prompts_of(database) == 0


def test_skipped_lines_are_counted_with_their_batch(state, database):
    """Breaks if lines that could not be used are forgotten by the next process, or counted twice with their batch."""
    for at, batch in enumerate(("a", "b", "b"), 1):
        skipped = [Skipped("broken JSON", 2, f"{batch}, line 1"), Skipped("empty", 1, f"{batch}, line 2")]
        state.write(prompts=1, batch=batch, position=None, **(NOTHING | {"skipped": skipped, "at": float(at)}))
    long = Skipped("x" * 300, 1, "y" * 900)
    state.write(prompts=1, batch="c", position=None, **(NOTHING | {"skipped": [Skipped("empty", 9, "c"), long]}))
    again = MonitorState(database, "one")
    assert again.skipped() == [
        Skipped("empty", 11, "a, line 2", 1.0),
        Skipped("broken JSON", 4, "a, line 1", 1.0),
        Skipped("x" * 200, 1, "y" * 500, 1.0),
    ]
    again.close()


def test_a_database_from_before_places_were_kept_goes_on(tmp_path):
    """Breaks if a table that lacks the newer columns ends in an error."""
    url = f"sqlite:///{tmp_path}/s.db"
    MonitorState(url, "one").close()
    with closing(sqlite3.connect(tmp_path / "s.db")) as old:
        for column in ("first_place", "first_at"):
            old.execute(f"ALTER TABLE compass_skipped DROP COLUMN {column}")
    again = MonitorState(url, "one")
    again.begin("reference", {"window": 10}, restart=False)
    again.write(prompts=0, batch="a", position=None, **(NOTHING | {"skipped": [Skipped("empty", 1, "here")]}))
    assert [skip.first for skip in again.skipped()] == ["here"]
    again.close()


@pytest.fixture
def without_locks(monkeypatch):
    """Every database as one that has no locks."""
    monkeypatch.setattr("compass.drift.state.only_writer", lambda *_: nullcontext())


def test_two_writers(without_locks, state, database):
    """Breaks if two processes that write one monitor overwrite each other's windows."""
    other = MonitorState(database, "one")
    other.begin("reference", {"window": 10}, restart=False)
    assert state.write(prompts=1, batch=None, position=None, **NOTHING)
    with pytest.raises(MonitorError, match="Another process"):
        other.write(prompts=1, batch=None, position=None, **NOTHING)
    other.begin("reference", {"window": 10}, restart=False)
    assert other.write(prompts=1, batch=None, position=None, **NOTHING)
    other.close()
    assert prompts_of(database) == 2


@pytest.mark.parametrize("sent", [("a", None), (None, Position("log", 0, 100, "head"))])
def test_two_writers_of_the_same_prompts(without_locks, state, database, sent):
    """Breaks if the second monitor on a log takes what the first one counted for its own, and goes deaf."""
    batch, position = sent
    other = MonitorState(database, "one")
    other.begin("reference", {"window": 10}, restart=False)
    assert state.write(prompts=1, batch=batch, position=position, **NOTHING)
    with pytest.raises(MonitorError, match="Another process"):
        other.counted(batch, position)
    with pytest.raises(MonitorError, match="Another process"):
        other.write(prompts=1, batch=batch, position=position, **NOTHING)
    other.close()


def test_one_process_writes_a_monitor(database):
    """Breaks if a second monitor on one state starts; or if others that share the database, or read it, are refused."""
    first, second, other = (MonitorState(database, name) for name in ("one", "one", "two/three"))
    first.begin("reference", {"window": 10}, restart=False)
    first.begin("reference", {"window": 10}, restart=False)
    for _ in range(2):
        with pytest.raises(MonitorError, match=r"another Monitor in this one, .* monitor 'one'\. Stop or close it"):
            second.begin("reference", {"window": 10}, restart=False)
    other.begin("reference", {"window": 10}, restart=False)
    assert (second.skipped(), read_skipped(database, "one")) == ([], [])
    first.close()
    second.begin("reference", {"window": 10}, restart=False)
    with pytest.raises(MonitorError, match="Another process"):
        first.begin("reference", {"window": 10}, restart=False)
    for state in (first, second, other):
        state.close()


def test_a_lock_goes_with_its_process(database, tmp_path):
    """Breaks if a monitor that was killed keeps the next one out."""
    MonitorState(database, "one").close()
    program = """
        import sys, time
        from compass.drift.state import MonitorState
        state = MonitorState(sys.argv[1], "one")
        state.begin("reference", {"window": 10}, restart=False)
        print("ready", flush=True)
        time.sleep(600)
    """
    holder = started(program, [database], tmp_path)
    state = MonitorState(database, "one")
    with pytest.raises(MonitorError, match="Another process"):
        state.begin("reference", {"window": 10}, restart=False)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    state.begin("reference", {"window": 10}, restart=False)
    state.close()


def test_reading_makes_no_tables(database):
    """Breaks if listing what was skipped, or labelling what is kept, writes to a database that it only reads."""
    if database.startswith("sqlite"):
        pytest.skip("tests/drift/test_reading.py: not even the file is made")
    assert (read_skipped(database, "one"), read_kept(database, ["one"], "cy", oldest=0.0)) == (None, [])
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    with pytest.raises(SQLAlchemyError, match="read-only"), open_to_read(database).begin() as connection:
        connection.execute(text("CREATE TABLE one (two int)"))


def test_another_reference_needs_a_restart(without_locks, state, database):
    """Breaks if windows of one reference are compared with another, or a restart counts old input again."""
    state.write(prompts=5, batch="a", position=None, **(NOTHING | {"streams": {"cy": {"x": 1}}, "checks": [{"p": 1}]}))
    other = MonitorState(database, "one")
    with pytest.raises(MonitorError, match="another reference"):
        other.begin("new", {"window": 10}, restart=False)
    with pytest.raises(MonitorError, match="was started with window 10"):
        other.begin("reference", {"window": 20}, restart=False)
    assert other.begin("reference", {"window": 10}, restart=False) == (5, {"cy": {"x": 1}})
    assert other.begin("new", {"window": 20}, restart=True) == (5, {})
    assert other.checks() == []
    assert other.counted("a", None)
    other.close()
    second = MonitorState(database, "two")
    assert second.begin("new", {"window": 20}, restart=False) == (0, {})
    second.close()


def test_an_option_that_is_not_stored_yet_is_taken(state, database):
    """Breaks if a test that comes with a later version needs a new start, or its option is not held to from then on."""
    state.begin("reference", {"window": 10, "of_a_later_test": 3}, restart=False)
    with pytest.raises(MonitorError, match="was started with of_a_later_test 3"):
        state.begin("reference", {"window": 10, "of_a_later_test": 4}, restart=False)
    assert prompts_of(database) == 0


def test_the_reservoir_keeps_the_highest_ranks(state):
    """Breaks if it grows, mixes languages, or keeps others than the best."""
    ranks = [0.3, 0.9, 0.1, 0.7, 0.5]
    kept = [NewPrompt(f"prompt {rank}", "cy", 2, "full", rank) for rank in ranks]
    kept.append(NewPrompt("english", "en", 1, "full", 0.0))
    state.write(prompts=6, batch=None, position=None, **(NOTHING | {"kept": kept}))
    assert {row.text for row in state.prompts("cy")} == {"prompt 0.9", "prompt 0.7", "prompt 0.5"}
    assert state.lowest_ranks(3) == {"cy": 0.5}
    assert [row.text for row in state.prompts("en", cluster=1)] == ["english"]


def test_old_and_unwanted_prompts_go(state):
    """Breaks if a prompt outlives its time or a stricter option."""
    keep = [NewPrompt("full", "cy", 0, "full", 1.0), NewPrompt("redacted", "cy", 0, "redacted", 1.0)]
    state.write(prompts=1, batch=None, position=None, **(NOTHING | {"kept": keep, "at": 100.0}))
    assert state.purge(modes=("redacted",), oldest=0.0) == 1
    assert [row.text for row in state.prompts("cy")] == ["redacted"]
    state.write(prompts=1, batch=None, position=None, **(NOTHING | {"oldest": 100.5}))
    assert state.prompts("cy") == []


def test_checks_and_batches_are_bounded(database):
    """Breaks if the database grows with the stream."""
    state = MonitorState(database, "one", checks_kept=4, batches_remembered=2)
    state.begin("reference", {"window": 10}, restart=False)
    for i in range(6):
        state.write(prompts=1, batch=str(i), position=None, **(NOTHING | {"checks": [{"n": i}, {"n": i + 0.5}]}))
    assert [check["n"] for check in state.checks()] == [4, 4.5, 5, 5.5]
    assert [state.counted(str(i), None) for i in range(6)] == [False] * 4 + [True] * 2
    state.close()


def test_deleted_prompts_leave_the_file(tmp_path):
    """Breaks if SQLite leaves deleted prompts in free pages, or if others may read the file."""
    path = tmp_path / "folder" / "state.db"
    state = MonitorState(f"sqlite:///{path}", "one")
    state.begin("reference", {}, restart=False)
    kept = [NewPrompt(f"my secret {i} " * 50, "cy", 0, "full", float(i)) for i in range(100)]
    state.write(prompts=1, batch=None, position=None, **(NOTHING | {"kept": kept, "reservoir_size": 100}))
    assert b"my secret" in path.read_bytes()
    assert state.purge(modes=(), oldest=0.0) == 100
    state.close()
    assert b"my secret" not in b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_databases_that_can_not_be_used_are_named(tmp_path):
    """Breaks if a password is printed, or a user meets a driver's traceback."""
    with pytest.raises(MonitorError, match="SQLAlchemy URL"):
        MonitorState("not a url", "one")
    with pytest.raises(MonitorError) as error:
        MonitorState("postgresql://me:hidden@127.0.0.1:1/none", "one")
    assert "hidden" not in str(error.value)
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database" * 100)
    with pytest.raises(MonitorError, match="can't be opened"):
        MonitorState(f"sqlite:///{broken}", "one")
    sqlite3.connect(tmp_path / "fine.db").close()


def started(program: str, arguments: list[str], folder: Path) -> Forked:
    """Start a program in a process of its own; return once it says that it is ready."""
    script, out = folder / "program.py", folder / "out.txt"
    script.write_text(textwrap.dedent(program), "utf-8")
    out.write_text("", "utf-8")
    process = start_script(script, arguments, os.environ, folder, out, out)

    def ready() -> bool:
        ended = process.poll() is not None
        said = out.read_text("utf-8")
        assert not ended or "ready" in said, said
        return said.startswith("ready\n")

    wait_for(ready, every=0.01)
    return process


WRITER = """
    import sys
    import numpy as np
    from compass.config import MonitorConfig
    from compass.drift import Monitor, Reference
    reference = Reference.load(sys.argv[1])
    vectors = np.load(sys.argv[3])
    with Monitor(reference, MonitorConfig(window=100), database=sys.argv[2], checks_every=20) as monitor:
        print("ready", flush=True)
        for i in range(200):
            seen = monitor.observe(vectors[10 * i : 10 * i + 10], ["cy"] * 10, batch_id=str(i))
            assert seen.prompts == (0 if seen.repeated else 10)
            print(i, flush=True)
"""


def test_killed_between_and_within_batches_each_batch_counts_once(world, database, tmp_path):
    """Breaks if a killed monitor loses a batch or counts one twice: killed with SIGKILL after random times and started
    again with all batches, its windows must be those of a monitor that was never killed."""
    import numpy as np

    from compass.config import MonitorConfig
    from compass.drift import Monitor

    reference = world.reference(100)
    reference.save(tmp_path / "reference")
    vectors = world.draw(2000, np.random.default_rng(0))
    np.save(tmp_path / "vectors.npy", vectors)
    arguments = [str(tmp_path / "reference"), database, str(tmp_path / "vectors.npy")]
    for pause in (0.15, 0.4, None):
        process = started(WRITER, arguments, tmp_path)
        if pause is not None:
            time.sleep(pause)
            os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == (0 if pause is None else -signal.SIGKILL)
    config = MonitorConfig(window=100)
    with (
        Monitor(reference, config, database=database, checks_every=20) as killed,
        Monitor(reference, config, database=f"sqlite:///{tmp_path}/whole.db", checks_every=20) as whole,
    ):
        for i in range(200):
            whole.observe(vectors[10 * i : 10 * i + 10], ["cy"] * 10, batch_id=str(i))
        assert killed.status()["prompts"] == 2000
        for name, stream in whole._streams.items():
            assert killed._streams[name].to_dict()["window"] == stream.to_dict()["window"]
            histogram = "languages" if name == "*" else "histogram"
            assert killed._streams[name].last[histogram] == stream.last[histogram]


FILE_READER = """
    import sys
    import numpy as np
    from compass.config import MonitorConfig
    from compass.drift import Monitor, Reference, read_files
    reference = Reference.load(sys.argv[1])
    vectors = np.load(sys.argv[3])
    with Monitor(reference, MonitorConfig(window=100), database=sys.argv[2], checks_every=20) as monitor:
        print("ready", flush=True)
        for batch in read_files(sys.argv[4], monitor.offsets(), batch_size=7, follow=True, poll_seconds=0.01):
            if batch is None:
                if monitor.status()["prompts"] >= 2000:
                    break
                continue
            rows = [int(record.prompt) for record in batch.records]
            monitor.observe(vectors[rows], ["cy"] * len(rows), position=batch.position)
"""


def test_killed_while_it_reads_growing_files_each_line_counts_once(world, database, tmp_path):
    """Breaks if a file's offset and its counts are not one transaction, or a line that is torn when the kill comes is
    lost or counted in part: the files grow all the while, and their last line is whole only at the end."""
    import json

    import numpy as np

    from compass.config import MonitorConfig
    from compass.drift import Monitor

    reference = world.reference(100)
    reference.save(tmp_path / "reference")
    vectors = world.draw(2000, np.random.default_rng(0))
    np.save(tmp_path / "vectors.npy", vectors)
    logs = tmp_path / "logs"
    logs.mkdir()
    lines = [json.dumps({"prompt": str(i)}).encode() + b"\n" for i in range(2000)]
    first, second = logs / "1.jsonl", logs / "2.jsonl"
    first.write_bytes(b"".join(lines[:1000]))
    arguments = [str(tmp_path / "reference"), database, str(tmp_path / "vectors.npy"), str(logs)]
    for pause, until in ((0.15, 1400), (0.3, 1800), (None, 2000)):
        process = started(FILE_READER, arguments, tmp_path)
        if pause is not None:
            # Some lines, and the beginning of one that the next round ends.
            grown = b"".join(lines[1000:until])
            second.write_bytes(grown + lines[until][:9])
            time.sleep(pause)
            os.kill(process.pid, signal.SIGKILL)
        else:
            second.write_bytes(b"".join(lines[1000:]))
        assert process.wait() == (0 if pause is None else -signal.SIGKILL)
    config = MonitorConfig(window=100)
    with (
        Monitor(reference, config, database=database, checks_every=20) as killed,
        Monitor(reference, config, database=f"sqlite:///{tmp_path}/whole.db", checks_every=20) as whole,
    ):
        whole.observe(vectors, ["cy"] * 2000)
        assert killed.status()["prompts"] == 2000
        for name, stream in whole._streams.items():
            assert killed._streams[name].to_dict()["window"] == stream.to_dict()["window"]
