"""`select` with its blocks on a cluster, and its results in object storage."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compass.config import AdaptConfig
from compass.data.readers.remote import RemoteFile, is_url
from compass.engines import working_on
from compass.errors import ConfigError
from compass.runs import layout
from compass.runs.files import fingerprint
from compass.steps.resources import cache_folder

ENGINES = ("local", "ray")


@contextmanager
def on_engine(name: str, address: str = "") -> Iterator[None]:
    """Have what works on blocks of rows done by an engine. Raises ConfigError for one that there is not."""
    if name not in ENGINES:
        raise ConfigError(f"--engine must be one of: {', '.join(ENGINES)}; got {name!r}")
    if name == "local":
        if address:
            raise ConfigError("--address names a Ray cluster: add --engine ray, or leave it out")
        yield
        return
    from compass.engines.ray import RayEngine

    with working_on(RayEngine(address)):
        yield


@contextmanager
def results_stored(config: AdaptConfig) -> Iterator[AdaptConfig]:
    """Give options with a run folder on this machine; at the end its files go to the URL that `output_dir` names.

    The folder stays in the cache, so that the same command goes on where a killed one stopped.
    """
    url = config.run.output_dir.rstrip("/")
    if not is_url(url):
        yield config
        return
    folder = cache_folder(config.run.cache_dir) / "runs" / fingerprint({"output_dir": url})[:16]
    yield dataclasses.replace(config, run=dataclasses.replace(config.run, output_dir=str(folder)))
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if name != layout.RUN_LOCK:
            RemoteFile(f"{url}/{name}").put(file)


def stored_at(config: AdaptConfig, name: str) -> str | Path:
    """Return where a file of a run lies in the end."""
    url = config.run.output_dir.rstrip("/")
    return f"{url}/{name}" if is_url(url) else Path(url) / name
