"""Opening a monitor's database: every failure is a MonitorError, and no password is in it."""

from __future__ import annotations

import traceback

import pytest

from compass.drift.tables import open_database
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
