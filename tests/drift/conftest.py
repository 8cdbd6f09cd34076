"""A world of known topics, a reference in it, and the databases that the state is tested on."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from compass.drift import Reference
from compass.semantic import SemanticSpace

K, D = 12, 24


@dataclass(frozen=True)
class World:
    """Topics as directions; a prompt is its topic plus noise."""

    topics: npt.NDArray[np.float64]
    mix: npt.NDArray[np.float64]
    """Shares of the topics without drift."""
    space: SemanticSpace

    def draw(
        self, n: int, rng: np.random.Generator, mix: npt.ArrayLike | None = None, *, noise: float = 0.08
    ) -> npt.NDArray[np.float32]:
        """Return (n, D) unit rows."""
        chosen = rng.choice(len(self.topics), n, p=self.mix if mix is None else mix)
        x = self.topics[chosen] + noise * rng.normal(size=(n, self.topics.shape[1]))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    def reference(self, n: int = 300, seed: int = 1, **options: object) -> Reference:
        """Return a reference of n rows that the space was not fitted on."""
        return Reference.fit(self.space, self.draw(n, np.random.default_rng(seed)), ["cy"] * n, **options)


@pytest.fixture(scope="session")
def world() -> World:
    rng = np.random.default_rng(0)
    topics = np.linalg.qr(rng.normal(size=(D, K)))[0].T
    mix = rng.dirichlet(np.full(K, 2.0))
    x = topics[rng.choice(K, 600)] + 0.08 * rng.normal(size=(600, D))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    space = SemanticSpace.fit(x, ["cy"] * 600, language_removal="none", n_clusters=K, seed=0)
    return World(topics, mix, space)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    url: str = request.getfixturevalue("postgresql")
    from sqlalchemy import create_engine, text

    name = f"test_{os.urandom(6).hex()}"
    engine = create_engine(url.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.format(name)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Start a PostgreSQL server of our own for these tests; yield its URL with {} for the database's name."""
    folders = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    binaries = os.pathsep.join([*folders, os.environ.get("PATH", "")])
    initdb, postgres = shutil.which("initdb", path=binaries), shutil.which("postgres", path=binaries)
    if not initdb or not postgres:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    # The server refuses to run as root, and needs a short path for its socket.
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    who: dict[str, object] = {}
    if os.geteuid() == 0:
        account = next((entry for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")), None)
        if account is None:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
        os.chown(folder, account.pw_uid, account.pw_gid)
        who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data, log = folder / "data", folder / "log"
    made = subprocess.run(
        [initdb, "-D", data, "-U", "compass", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"],
        capture_output=True, text=True, cwd=folder, timeout=120, **who,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"PostgreSQL can't be set up here: {made.stderr.strip()[-300:]}")
    with log.open("wb") as output:
        server = subprocess.Popen(
            [postgres, "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
            stdout=output, stderr=output, cwd=folder, **who,
        )  # fmt: skip
    try:
        _wait_until_ready(folder, server, log)
        yield f"postgresql://compass@/{{}}?host={folder}"
    finally:
        # A fast shutdown: does not wait for clients to leave.
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(folder: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    for _ in range(300):
        if server.poll() is not None:
            pytest.skip(f"PostgreSQL does not start here: {log.read_text(errors='replace')[-300:]}")
        try:
            psycopg.connect(host=str(folder), user="compass", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    pytest.fail("PostgreSQL did not answer within 30 seconds")
