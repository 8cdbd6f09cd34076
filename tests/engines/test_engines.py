"""Blocks that are worked on elsewhere give what they give here, to the bit."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile

from compass.cli import main
from compass.data.readers import SourceAccount, read_examples
from compass.data.readers.parts import parts_of
from compass.encoders import CachedEncoder
from compass.encoders.stored import StoredVectors
from compass.engines import each, each_block, working_on
from compass.errors import DataError, EncoderError
from compass.recipes.adapt import select
from compass.recipes.elsewhere import results_stored
from compass.semantic.arrays import unit_rows
from compass.semantic.blocks import LanguageFree
from compass.steps.resources import Resources
from engines.sent import Sent, contents, options, write_rows
from topics import TopicEncoder


def test_without_an_engine_blocks_are_done_one_after_another_as_they_are_asked_for() -> None:
    """A block that is worked on before its turn would be read into memory before its turn."""
    seen: list[int] = []
    results = each(lambda block: block + 1, (seen.append(i) or i for i in range(3)))
    assert next(results) == 1
    assert seen == [0]


def test_rows_are_cut_where_an_engine_says() -> None:
    with working_on(Sent(block_rows=2)):
        assert list(each_block(len, "abcde")) == [(0, 2), (2, 2), (4, 1)]
        assert list(each_block(len, "")) == []


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder)
    return folder


def test_a_selection_elsewhere_has_the_files_of_one_here(rows: Path, tmp_path: Path) -> None:
    """Rows would be cleaned by other rules, or an id or a line number would go by the part that a row was in."""
    for name, engine in (("here", None), ("sent", Sent())):
        cached = CachedEncoder(TopicEncoder(), tmp_path / f"cache-{name}", chunk_rows=50)
        with working_on(engine):
            config = options(rows, tmp_path / name, tmp_path / f"cache-{name}")
            select(config, Resources(config, encoder=cached))
        done = engine.works if engine else []
    assert contents(tmp_path / "here") == contents(tmp_path / "sent")
    dropped = (tmp_path / "sent" / "data" / "dropped.jsonl").read_text("utf-8").splitlines()
    reasons = {json.loads(line)["reason"] for line in dropped}
    assert reasons == {"a field of another type", "no response", "duplicate", "near duplicate"}
    assert {"_Reading", "_content_hashes", "_band_keys", "EncodeElsewhere"} <= set(done)


@pytest.mark.parametrize("part_bytes", [1, 100, 997, 10**6])
def test_parts_have_the_lines_of_the_whole_file(tmp_path: Path, part_bytes: int) -> None:
    """A line on the border of two parts would be read twice, or by neither."""
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"prompt": f"line {i} é", "response": "x" * (i % 9)}, ensure_ascii=False) for i in range(30)]
    lines[4] = ""
    path.write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    whole = [(row.id, row.prompt, row.place) for row in read_examples(path)]
    with working_on(Sent(part_bytes=part_bytes)):
        parts = parts_of(str(path))
    numbers = [place for part in parts for place, _ in part.rows(None)]
    assert numbers == [place.rpartition(", ")[2] for _, _, place in whole]
    assert [row["prompt"] for part in parts for _, row in part.rows(None)] == [prompt for _, prompt, _ in whole]


def test_parts_of_parquet_are_row_groups(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": [f"p{i}" for i in range(25)], "response": ["r"] * 25}), path, row_group_size=4)
    with working_on(Sent(part_bytes=1)):
        parts = parts_of(str(path))
    assert len(parts) == 7
    assert [place for part in parts for place, _ in part.rows(None)] == [f"record {i}" for i in range(1, 26)]
    with working_on(Sent()):
        there = read_examples(path)
    assert there == read_examples(path)


def test_what_can_not_be_cut_is_read_as_a_whole(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "p", "response": "r"}) + "\n"
    packed, table, wide = tmp_path / "a.jsonl.gz", tmp_path / "b.csv", tmp_path / "c.jsonl"
    packed.write_bytes(gzip.compress(line.encode()))
    table.write_text("prompt,response\np,r\n", encoding="utf-8")
    wide.write_text(line, encoding="utf-16")
    for path in (packed, table, wide):
        assert parts_of(str(path)) == []
        with working_on(Sent()):
            assert [row.prompt for row in read_examples(path)] == ["p"]


def test_a_broken_line_and_a_repeated_id_are_told_with_their_numbers_in_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = [json.dumps({"id": i, "prompt": "p", "response": "r"}) for i in range(2000)]
    path.write_text("\n".join([*good[:1500], "{broken", *good[1500:]]), encoding="utf-8")
    with working_on(Sent()), pytest.raises(DataError, match=r"rows\.jsonl, line 1501: broken JSON"):
        read_examples(path)
    path.write_text("\n".join([*good, good[7]]), encoding="utf-8")
    with working_on(Sent()), pytest.raises(DataError, match=r"line 2001: the id '7' occurs twice, first in line 8"):
        read_examples(path)


def test_the_account_of_a_source_in_parts_is_that_of_the_whole(rows: Path) -> None:
    told: list[list[SourceAccount]] = [[], []]
    read_examples(rows / "pool.jsonl", accounts=told[0])
    with working_on(Sent()):
        read_examples(rows / "pool.jsonl", accounts=told[1])
    (here,), (there,) = told
    assert here.dropped
    assert (here.rows, here.dropped, here.first, here.uses, here.unused) == (
        there.rows, there.dropped, there.first, there.uses, there.unused
    )  # fmt: skip


def test_clusters_and_hashes_are_the_same_elsewhere(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = unit_rows(rng.standard_normal((20_000, 8)))
    x.tofile(tmp_path / "x.f32")
    offsets = {"de": rng.standard_normal(8).astype(np.float32) / 9}
    centroids = unit_rows(rng.standard_normal((5, 8)))
    found = []
    for engine in (None, Sent()):
        stored = StoredVectors(tmp_path / "x.f32", 8)
        free = LanguageFree(stored, ["de", "fr"] * 10_000, offsets, np.zeros(8, dtype=np.float32))
        with working_on(engine):
            found.append((free.nearest(centroids, 3), free.keys(3)))
    for here, there in zip(*found, strict=True):
        np.testing.assert_array_equal(here, there)


class _Other(TopicEncoder):
    engine = "of another processor"


def test_a_worker_with_another_engine_of_the_encoder_is_refused(tmp_path: Path) -> None:
    """Vectors that differ would share a cache."""
    cached = CachedEncoder(TopicEncoder(), tmp_path, opener=_Other)
    with working_on(Sent()), pytest.raises(EncoderError, match="embeds with topics 1 of another processor, and this"):
        cached.encode(["lights on"])
    assert not len(cached.store)


def test_the_engine_needs_its_package_and_says_so(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    sources = ["--usage", str(rows / "usage.jsonl"), "--pool", str(rows / "pool.jsonl"), "--language", "en"]
    for more, said in (
        (["--engine", "ray"], "pip install 'compass-peft[ray]'"),
        (["--engine", "spark"], "--engine must be one of: local, ray; got 'spark'"),
        (["--address", "auto"], "--address names a Ray cluster"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["select", *sources, "--output-dir", str(tmp_path / "run"), *more])
        assert stopped.value.code
        assert said in capsys.readouterr().err


class _InRanges(AbstractBufferedFile):  # type: ignore[misc]
    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.cat_file(self.path, start, end))


class _Ranges(MemoryFileSystem):  # type: ignore[misc]
    """Storage whose files are read in ranges, as those of S3."""

    protocol = "ranges"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("ranges://").lstrip("/")

    def open(self, path: str, mode: str = "rb", **options: object) -> object:
        return _InRanges(self, path, mode, block_size=100, size=self.size(path))


def test_a_file_that_is_read_in_ranges(rows: Path) -> None:
    """Files of real object storage have no line of a given length, and no end of a line at the end of a range."""
    fsspec.register_implementation("ranges", _Ranges, clobber=True)
    fsspec.filesystem("memory").pipe({"/pool.jsonl": (rows / "pool.jsonl").read_bytes()})
    here = read_examples(rows / "pool.jsonl")
    for engine in (None, Sent()):
        with working_on(engine):
            there = read_examples("ranges://pool.jsonl")
        assert [(row.id, row.prompt, row.source) for row in there] == [(row.id, row.prompt, row.source) for row in here]


def test_sources_and_results_by_url(rows: Path, tmp_path: Path) -> None:
    """Of fsspec's own storage in memory; tests of S3 are in `test_ray.py`."""
    memory = fsspec.filesystem("memory")
    text = (rows / "pool.jsonl").read_text("utf-8").splitlines(keepends=True)
    memory.pipe({f"/bucket/pool/{i}.jsonl": "".join(text[i::2]).encode() for i in range(2)})
    config = options(rows, "memory://bucket/run/", tmp_path / "cache", "memory://bucket/pool/*.jsonl")
    cached = CachedEncoder(TopicEncoder(), tmp_path / "cache")
    with results_stored(config) as here:
        select(here, Resources(here, encoder=cached))
    stored = memory.cat("/bucket/run/selection/selected.jsonl")
    assert len(stored.splitlines()) == 30
    assert stored == (Path(here.run.output_dir) / "selection" / "selected.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"memory://bucket/none\.jsonl: no such file"):
        read_examples("memory://bucket/none.jsonl")
    with pytest.raises(DataError, match=r"none-\*\.jsonl: no file there fits this pattern"), results_stored(config):
        select(options(rows, tmp_path / "run", tmp_path / "cache", "memory://bucket/none-*.jsonl"))
