"""Who is logged in: sessions by a random cookie, a token against forged requests in each, and few tries at a time.

Sessions are in memory: a restart logs everybody out.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from compass.runs.files import write_text
from compass.serve.door import Bucket
from compass.serve.keys import ACT, Key, Keys, hash_of

logger = logging.getLogger(__name__)

SESSION_SECONDS = 12 * 3600.0
MOST_SESSIONS, MOST_ADDRESSES = 1000, 10_000
TRIES_A_MINUTE = 30
"""Logins of one address: five at once, and then one every two seconds. Keys are drawn at random [ours]."""
OWN_KEY = "dashboard.key"
"""In the gateway's folder: a key that is made where no other opens the dashboard."""
OWNER = "owner"
OWN_KEY_LETTERS = 64


@dataclass(frozen=True)
class Session:
    """Somebody who is logged in."""

    name: str
    """Of the key; beside all that is done."""
    may_act: bool
    csrf: str
    until: float
    """Seconds of a monotonic clock."""
    told: list[tuple[str, str]] = field(default_factory=list)
    """Tone and words that the next page shows, once."""


class Sessions:
    """All sessions of this process."""

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = keys, clock
        self._by_hash: OrderedDict[str, Session] = OrderedDict()
        self._tries: OrderedDict[str, Bucket] = OrderedDict()

    def wait(self, address: str) -> float:
        """Count a try of an address; return 0, or the seconds until it may try again."""
        bucket = self._tries.setdefault(address, Bucket(TRIES_A_MINUTE, self._clock))
        self._tries.move_to_end(address)
        while len(self._tries) > MOST_ADDRESSES:
            self._tries.popitem(last=False)
        return bucket.take()

    def open(self, given: str) -> str:
        """Return the cookie of a new session; empty where the key opens none."""
        key = self._keys.known(given)
        if key is None or not key.dashboard:
            return ""
        token = secrets.token_urlsafe(32)
        session = Session(key.name, key.dashboard == ACT, secrets.token_urlsafe(32), self._clock() + SESSION_SECONDS)
        self._by_hash[hash_of(token)] = session
        while len(self._by_hash) > MOST_SESSIONS:
            self._by_hash.popitem(last=False)
        return token

    def find(self, token: str) -> Session | None:
        """Return the session of a cookie; None where there is none, or it has ended."""
        session = self._by_hash.get(hash_of(token)) if token else None
        if session and session.until < self._clock():
            self.close(token)
            return None
        return session

    def close(self, token: str) -> None:
        """End a session."""
        self._by_hash.pop(hash_of(token), None)


def same(given: str, expected: str) -> bool:
    """Compare two tokens, in a time that says nothing of them."""
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def keys_or_own(keys: Keys, serve_dir: Path) -> Keys:
    """Return keys of which one opens the dashboard: where none does, one that lies in the gateway's folder joins them.

    The file is its owner's alone, and stays over restarts.
    """
    if keys.open_dashboard:
        return keys
    path = serve_dir / OWN_KEY
    try:
        serve_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = path.read_text("utf-8").strip() if path.is_file() else ""
        if len(own) < OWN_KEY_LETTERS:
            own = secrets.token_hex(OWN_KEY_LETTERS // 2)
            write_text(path, f"{own}\n")
    except OSError as error:
        logger.warning("Nobody can log in to the dashboard: no key has the right, and %s: %s", path, error.strerror)
        return keys
    logger.info("No key of yours opens the dashboard; the one in %s does", path)
    return Keys([Key(OWNER, hash_of(own), dashboard=ACT)])
