"""The cache: nothing twice, nothing lost, nothing wrong; with real processes that are really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from stand_in import HashEncoder, expected

from compass.encoders import cache, vector_store
from compass.encoders.cache import CachedEncoder
from compass.encoders.protocol import FloatArray
from compass.encoders.vector_store import RECORD
from compass.errors import EncoderError
from forked import Forked, start_script
from processes import kill_when

TEXTS = [f"text {i}" for i in range(1000)]


def cached(folder: Path, chunk_rows: int = 256, **options: object) -> tuple[HashEncoder, CachedEncoder]:
    inner = HashEncoder(**options)  # type: ignore[arg-type]
    return inner, CachedEncoder(inner, folder, chunk_rows=chunk_rows)


def files(folder: Path) -> tuple[Path, Path]:
    (store,) = (folder / "embeddings").iterdir()
    return store / "vectors.f32", store / "index.bin"


@pytest.fixture(autouse=True)
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with the first chunk, whatever this process's number is."""
    monkeypatch.setattr(cache, "_first_chunk", lambda n: 0)


def test_second_run_embeds_nothing(tmp_path: Path) -> None:
    """Breaks if keys differ between runs, rows come back in another order, or a cached row differs by a bit."""
    first, encoder = cached(tmp_path)
    rows = encoder.encode(TEXTS)
    np.testing.assert_allclose(rows, expected(TEXTS), atol=1e-6)
    assert first.asked == TEXTS
    second, encoder = cached(tmp_path)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], rows)
    assert second.asked == []
    assert len(encoder.store) == 1000


def test_stored_vectors_are_those_of_encode(tmp_path: Path) -> None:
    """Breaks if rows on disk come in another order, what is there is embedded again, or damage is taken for whole."""
    inner, encoder = cached(tmp_path, chunk_rows=64)
    encoder.encode(TEXTS[300:600])
    texts = [*TEXTS, *TEXTS[:5]]
    stored = encoder.stored(texts)
    assert len(inner.asked) == len(TEXTS)
    np.testing.assert_array_equal(stored[:], encoder.encode(texts))
    np.testing.assert_array_equal(stored[np.array([1002, 3])], encoder.encode([TEXTS[2], TEXTS[3]]))
    vectors, _ = files(tmp_path)
    with vectors.open("r+b") as file:
        file.seek(4 * 17)
        file.write(b"\xff\xff")
    again, encoder = cached(tmp_path)
    np.testing.assert_allclose(encoder.stored(texts)[:], expected(texts), atol=1e-6)
    assert len(again.asked) == 1
    assert len(encoder.stored([])) == 0


def test_duplicates_are_embedded_once(tmp_path: Path) -> None:
    """Breaks if equal texts of one call are embedded again, or share a row with a different text."""
    inner, encoder = cached(tmp_path, chunk_rows=2)
    texts = ["b", "a", "b", "c", "a", "b"]
    np.testing.assert_allclose(encoder.encode(texts), expected(texts), atol=1e-6)
    assert inner.asked == ["b", "a", "c"]


def test_only_missing_texts_are_embedded(tmp_path: Path) -> None:
    """Breaks if old and new rows are mixed up when a call holds both."""
    inner, encoder = cached(tmp_path, chunk_rows=3)
    encoder.encode(TEXTS[5:9])
    inner.asked.clear()
    assert encoder.missing([*TEXTS[:12], TEXTS[0]]) == TEXTS[:5] + TEXTS[9:12]
    np.testing.assert_allclose(encoder.encode(TEXTS[:12]), expected(TEXTS[:12]), atol=1e-6)
    assert inner.asked == TEXTS[:5] + TEXTS[9:12]


def test_identity_decides(tmp_path: Path) -> None:
    """Breaks if another model, prompt or revision is served the rows of the first."""
    for options in ({}, {"name": "hash#query"}, {"revision": "2"}):
        inner, encoder = cached(tmp_path, **options)
        encoder.encode(["a"])
        assert inner.asked == ["a"], options


def test_texts_are_not_stored(tmp_path: Path) -> None:
    """Breaks if a text of a user gets into a file of the cache, or others may read the folder."""
    _, encoder = cached(tmp_path)
    encoder.encode(["a very private sentence"])
    for path in encoder.store.folder.iterdir():
        assert b"private" not in path.read_bytes(), path
    assert encoder.store.folder.stat().st_mode & 0o077 == 0


def test_odd_texts_are_keys(tmp_path: Path) -> None:
    """Breaks if a lone surrogate raises, or NUL and composition make two texts one."""
    inner, encoder = cached(tmp_path)
    texts = ["", "\0", "\ud83d", "é", "e\u0301"]
    encoder.encode(texts)
    encoder.encode(texts)
    assert inner.asked == texts


def test_no_texts(tmp_path: Path) -> None:
    """Breaks if an empty call raises or makes a folder."""
    assert cached(tmp_path)[1].encode([]).shape == (0, 8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 19, 20, 21, 200])
@pytest.mark.parametrize("which", [0, 1])
def test_torn_tails_are_cut(tmp_path: Path, which: int, cut: int) -> None:
    """Breaks if a tail that was half written shifts later rows: every row must be right, and only lost ones redone."""
    _, encoder = cached(tmp_path, chunk_rows=10)
    encoder.encode(TEXTS[:30])
    path = files(tmp_path)[which]
    os.truncate(path, path.stat().st_size - cut)
    lost = -(-cut // (32, RECORD.itemsize)[which])
    inner, encoder = cached(tmp_path, chunk_rows=10)
    np.testing.assert_allclose(encoder.encode(TEXTS[:40]), expected(TEXTS[:40]), atol=1e-6)
    assert inner.asked == TEXTS[30 - lost : 40]
    inner, encoder = cached(tmp_path)
    np.testing.assert_allclose(encoder.encode(TEXTS[:40]), expected(TEXTS[:40]), atol=1e-6)
    assert inner.asked == []


def test_tail_that_no_record_points_to_is_cut(tmp_path: Path) -> None:
    """Breaks if what a killed writer left behind the last whole row stays in the files."""
    cached(tmp_path)[1].encode(TEXTS[:3])
    vectors, index = files(tmp_path)
    for path, tail in ((vectors, 1000), (index, 19)):
        with path.open("ab") as file:
            file.write(b"x" * tail)
    inner, encoder = cached(tmp_path)
    np.testing.assert_allclose(encoder.encode(TEXTS[:4]), expected(TEXTS[:4]), atol=1e-6)
    assert inner.asked == TEXTS[3:4]
    assert (vectors.stat().st_size, index.stat().st_size) == (4 * 32, 4 * RECORD.itemsize)


def test_damaged_rows_are_embedded_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if flipped bytes (a bad disk, zeros after a power failure) are served as vectors."""
    cached(tmp_path)[1].encode(TEXTS[:30])
    vectors, _ = files(tmp_path)
    data = bytearray(vectors.read_bytes())
    data[7 * 32 : 9 * 32] = bytes(64)
    vectors.write_bytes(data)
    inner, encoder = cached(tmp_path)
    np.testing.assert_allclose(encoder.encode(TEXTS[:30]), expected(TEXTS[:30]), atol=1e-6)
    assert inner.asked == TEXTS[7:9]
    assert "2 cached vectors" in caplog.text
    inner, encoder = cached(tmp_path)
    np.testing.assert_allclose(encoder.encode(TEXTS[:30]), expected(TEXTS[:30]), atol=1e-6)
    assert inner.asked == []


def test_large_index_is_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if look-ups differ between the sorted index of a large cache and the young part beside it."""
    monkeypatch.setattr(vector_store, "YOUNG_ROWS", 50)
    _, encoder = cached(tmp_path, chunk_rows=30)
    rows = encoder.encode(TEXTS)
    encoder.encode(["young"])
    inner, again = cached(tmp_path)
    assert len(again.store) == 1001
    assert len(again.store._high) == 1001
    again.encode(["younger"])
    assert len(again.store._recent) == 1
    inner.asked.clear()
    np.testing.assert_array_equal(again.encode(TEXTS), rows)
    found = again.encode(["younger", TEXTS[3], "young", "new"])
    np.testing.assert_allclose(found, expected(["younger", TEXTS[3], "young", "new"]), atol=1e-6)
    assert inner.asked == ["new"]


def test_halves_that_collide_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the sorted index trusts the first half of a hash."""
    monkeypatch.setattr(vector_store, "YOUNG_ROWS", 10)
    monkeypatch.setattr(cache, "text_key", lambda text: b"12345678" + text.encode().ljust(8, b"\0"))
    texts = [f"t{i}" for i in range(50)]
    cached(tmp_path)[1].encode(texts)
    inner, encoder = cached(tmp_path)
    assert len(encoder.store) == len(encoder.store._high) == 50
    np.testing.assert_allclose(encoder.encode(texts), expected(texts), atol=1e-6)
    assert inner.asked == []


def test_changed_dimension_is_refused(tmp_path: Path) -> None:
    """Breaks if a model that changed under its revision is mixed with the old rows."""
    cached(tmp_path)[1].encode(["a"])
    with pytest.raises(EncoderError, match=r"gave 4 dimensions.*have 8"):
        cached(tmp_path, dimension=4)[1].encode(["b"])


def test_threads_share_one_encoder(tmp_path: Path) -> None:
    """Breaks if two threads of a server corrupt the index in memory or the files."""
    _, encoder = cached(tmp_path, chunk_rows=7)
    wrong: list[int] = []

    def work(offset: int) -> None:
        texts = TEXTS[offset : offset + 200]
        if not np.allclose(encoder.encode(texts), expected(texts), atol=1e-6):
            wrong.append(offset)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in (0, 100, 150, 400)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_two_that_embed_the_same_texts_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two draws of a comparison would embed one pool twice, chunk by chunk side by side."""
    begin = {"one": 0, "two": 50}
    monkeypatch.setattr(cache, "_first_chunk", lambda n: begin[threading.current_thread().name])
    together = threading.Barrier(2)

    class InStep(HashEncoder):
        def encode(self, texts: Sequence[str]) -> FloatArray:
            with suppress(threading.BrokenBarrierError):
                together.wait(timeout=2)
            return super().encode(texts)

    encoders = {name: InStep() for name in begin}
    rows = {}

    def work(name: str) -> None:
        rows[name] = CachedEncoder(encoders[name], tmp_path, chunk_rows=10).encode(TEXTS)

    threads = [threading.Thread(target=work, name=name, args=(name,)) for name in begin]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in begin:
        np.testing.assert_allclose(rows[name], expected(TEXTS), atol=1e-6)
    assert 1000 <= sum(len(encoder.asked) for encoder in encoders.values()) <= 1000 + 2 * 10


def test_processes_begin_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbouring process numbers would begin with neighbouring chunks, and one would run into the other at once."""
    monkeypatch.undo()
    places = []
    for pid in range(4000, 4008):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        places.append(cache._first_chunk(100))
    assert all(0 <= place < 100 for place in places)
    assert min(abs(a - b) for a, b in pairwise(places)) >= 20
    assert cache._first_chunk(1) == 0


def start(folder: Path, begin: int, end: int, seconds: float, chunk_rows: int, log: Path) -> Forked:
    script = Path(__file__).with_name("stand_in.py")
    arguments = [str(value) for value in (folder, begin, end, seconds, chunk_rows, log)]
    return start_script(script, arguments, os.environ, log.parent, Path(os.devnull), log.parent / "errors")


def finish(process: Forked, folder: Path) -> None:
    assert process.wait() == 0, (folder / "errors").read_text()


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
def test_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Breaks if kill -9 loses finished chunks or leaves wrong rows. Killed at three different moments."""
    log = tmp_path / "log"
    for rows in (20, 90, 200):
        process = start(tmp_path / "c", 0, 300, 0.002, 10, log)
        kill_when(process, lambda rows=rows: log.exists() and len(log.read_text().splitlines()) >= rows)
        assert process.wait() == -signal.SIGKILL
    kept = len(cached(tmp_path / "c")[1].store)
    # the log counts chunks that were asked for; each kill has lost at most the one in flight
    assert 170 <= kept < 300
    before = len(log.read_text().splitlines())
    finish(start(tmp_path / "c", 0, 300, 0.0, 10, log), tmp_path)
    asked = log.read_text().splitlines()
    assert len(asked) - before == 300 - kept
    assert len(asked) <= 300 + 3 * 10
    finish(start(tmp_path / "c", 0, 300, 0.0, 10, log), tmp_path)
    assert log.read_text().splitlines() == asked


def test_two_processes_at_once(tmp_path: Path) -> None:
    """Breaks if two writers interleave: both must get right rows, and a third run finds every one of them."""
    logs = [tmp_path / "log1", tmp_path / "log2"]
    both = [
        start(tmp_path / "c", 0, 300, 0.001, 5, logs[0]),
        start(tmp_path / "c", 100, 400, 0.001, 5, logs[1]),
    ]
    for process in both:
        finish(process, tmp_path)
    inner, encoder = cached(tmp_path / "c")
    np.testing.assert_allclose(encoder.encode(TEXTS[:400]), expected(TEXTS[:400]), atol=1e-6)
    assert inner.asked == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from stand_in import HashEncoder
from compass.encoders import CachedEncoder, cache
from compass.errors import EncoderError
cache._first_chunk = lambda n: 0
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    CachedEncoder(HashEncoder(), Path(sys.argv[1]), chunk_rows=10).encode([f"text {i}" for i in range(100)])
except EncoderError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_no_room_is_said_and_loses_nothing(tmp_path: Path) -> None:
    """Breaks if a write that fails in the middle (here by a real limit of 1,000 bytes a file) harms finished chunks."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    # three chunks of 10 rows of 32 bytes fit; 70 rows of 32 + 20 bytes are left
    assert "70 rows are left and need 0.0 MB" in run.stdout
    assert "are kept" in run.stdout
    inner, encoder = cached(tmp_path)
    np.testing.assert_allclose(encoder.encode(TEXTS[:100]), expected(TEXTS[:100]), atol=1e-6)
    assert inner.asked == TEXTS[30:100]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Breaks if a read-only folder is a traceback."""
    tmp_path.chmod(0o500)
    with pytest.raises(EncoderError, match="cannot be written"):
        cached(tmp_path)[1].encode(["a"])
