"""Opening a monitor's database: every failure is a MonitorError, and no password is in it."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from compass.drift.tables import open_database
from compass.drift.writers import lock_of
from compass.errors import MonitorError

SECRET = "hemmelig"


@pytest.mark.filterwarnings("ignore:Query string argument")
@pytest.mark.parametrize(
    "url",
    [
        f"postgres//u:{SECRET}@h/db",
        f"postgresql://u:{SECRET}@h:port/db",
        f"postgresql://u:{SECRET}@127.0.0.1:1/db",
        f"postgresql://u:{SECRET}@127.0.0.1:99999999/db",
        f"postgresql://u@127.0.0.1:1/db?password={SECRET}",
        f"postgresql://127.0.0.1:1/db?pasword={SECRET}",
        f"postgresql://u:p@{SECRET}@127.0.0.1:1/db",
        f"postgresql://u:{SECRET}/x@127.0.0.1:1/db",
        f"postgresql://u:{SECRET}@[::1/db",
        f"postgresql+nope://u:{SECRET}@h/d",
        f"nodb://u:{SECRET}@h/db",
        f"sqlite:////proc/x/y?password={SECRET}",
        "sqlite:////proc/nothing\x00",
        "sqlite:////tmp",
        f"sqlite:///{'x' * 300}.db",
        "",
    ],
)
def test_no_message_or_traceback_holds_a_password(url: str) -> None:
    """A log of an address with a typo gave the production database's password to everybody who reads logs."""
    with pytest.raises(MonitorError, match=r"^database: ") as caught:
        open_database(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.filterwarnings("ignore:Selection of the SingletonThreadPool")
@pytest.mark.parametrize("database", ["", ":memory:", "file:{}/u.db?uri=true", "file:mem?mode=memory&uri=true"])
def test_what_is_no_plain_file_has_no_lock(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder and a lock of such a name came to be in the working folder."""
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")
    engine = open_database(f"sqlite:///{database.format(tmp_path)}")
    assert lock_of(engine, "one") is None
    assert not list(Path().iterdir())
    assert (tmp_path / "u.db").exists() == database.startswith("file:{}")
    engine.dispose()


def test_a_long_name_has_a_lock_of_its_own(tmp_path: Path) -> None:
    """A letter that is not of the Latin alphabet takes six characters: 60 of them were too long for a file."""
    engine = create_engine(f"sqlite:///{tmp_path}/s.db")
    locks = [lock_of(engine, name) for name in ("one", "ж" * 60, "ж" * 59 + "з")]
    assert locks[0] == tmp_path / "s.db.one.lock"
    assert len(set(locks)) == len(locks)
    for lock in locks:
        assert lock is not None
        lock.touch()
