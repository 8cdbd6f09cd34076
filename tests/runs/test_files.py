"""Files are replaced whole, are their owner's alone, and nothing that is no file is replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compass.data.example import Example
from compass.data.readers import write_jsonl as write_examples
from compass.errors import RunError
from compass.registry import Registry
from compass.report import build_status
from compass.report.html import write_page
from compass.runs.files import read_options, write_bytes, write_json, write_jsonl, write_parquet, write_text


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_files_are_their_owners_alone_in_a_folder_for_all(tmp_path: Path) -> None:
    """Prompts in a folder that was there before, with 0755, could be read by everybody on the machine."""
    tmp_path.chmod(0o755)
    before = os.umask(0o022)
    try:
        (tmp_path / "old.json").write_text("{}")
        write_json(tmp_path / "old.json", {})
        write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "x"}])
        write_parquet(tmp_path / "rows.parquet", [{"prompt": "x"}])
        write_examples(tmp_path / "examples.jsonl", [Example("1", "x")])
        write_examples(tmp_path / "examples.jsonl.gz", [Example("1", "x")])
        assert {mode(path) for path in tmp_path.iterdir()} == {0o600}
        write_text(tmp_path / "page.html", "x", private=False)
        assert mode(tmp_path / "page.html") == 0o644
    finally:
        os.umask(before)


def test_a_pipe_is_refused_and_stays(tmp_path: Path) -> None:
    """A page that is written to a pipe took its place, and whoever read from it waited for ever."""
    os.mkfifo(tmp_path / "page.html")
    with pytest.raises(RunError, match=r"page\.html is not a file but a pipe, and can't be written to"):
        build_status(Registry(tmp_path / "registry"), tmp_path / "page.html")
    assert (tmp_path / "page.html").is_fifo()
    (tmp_path / "link.html").symlink_to("page.html")
    with pytest.raises(RunError, match="pipe"):
        build_status(Registry(tmp_path / "registry"), tmp_path / "link.html")
    (tmp_path / "null.html").symlink_to(os.devnull)
    with pytest.raises(RunError, match="a device"):
        build_status(Registry(tmp_path / "registry"), tmp_path / "null.html")
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "null.html", "page.html"]


def test_a_status_page_is_written_behind_its_link(tmp_path: Path) -> None:
    """A web server's folder that is linked to would keep the page of the day that the link was made."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "page.html").write_text("old")
    for name in ("page.html", "new.html"):
        link = tmp_path / name
        link.symlink_to(tmp_path / "www" / name)
        build_status(Registry(tmp_path / "registry"), link)
        assert link.is_symlink()
        assert "COMPASS status" in (tmp_path / "www" / name).read_text("utf-8")


def test_links_in_a_folder_lead_nowhere_else(tmp_path: Path) -> None:
    """A run folder from somebody else could have a file of ours overwritten: `report.html -> ~/.profile`."""
    run, own = tmp_path / "run", tmp_path / "profile"
    run.mkdir()
    own.write_text("mine")
    (run / "report.html").symlink_to(own)
    with pytest.raises(RunError, match="outside of its folder"):
        write_page(run / "report.html", "x", private=True)
    (run / "lock.json").symlink_to(own)
    write_json(run / "lock.json", {})
    (run / "a.json.partial").symlink_to(own)
    write_json(run / "a.json", {})
    assert own.read_text() == "mine"
    (run / "page.html").symlink_to("pages.html")
    assert write_page(run / "page.html", "x", private=True).is_symlink()
    assert (run / "pages.html").read_text() == "x"


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(TypeError):
        write_bytes(tmp_path / "file", None)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("text", ["language: !!bool x", "language: !!timestamp soon", "language: !!int ''"])
def test_options_with_a_tag_that_does_not_fit_are_no_bug(tmp_path: Path, text: str) -> None:
    """Breaks if a run folder from somebody else ends `registry add` in a traceback."""
    (tmp_path / "compass.yaml").write_text(text, "utf-8")
    with pytest.raises(RunError, match="is not valid YAML: a value is not what its tag says"):
        read_options(tmp_path / "compass.yaml")
