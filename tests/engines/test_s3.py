"""Pool and results in a real S3 server, with parts read as workers read them. Run by `make test-ray`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compass.encoders import CachedEncoder
from compass.engines import working_on
from compass.errors import DataError
from compass.recipes.adapt import select
from compass.recipes.elsewhere import results_stored
from compass.steps.resources import Resources
from engines.sent import Sent, contents, options, write_rows
from topics import TopicEncoder

moto_server = pytest.importorskip("moto.server", reason="needs moto[server]: make test-ray")
s3fs = pytest.importorskip("s3fs", reason="needs s3fs: make test-ray")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    # Servers of one process share their buckets, and file systems that were opened before know another address.
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3fs.S3FileSystem(skip_instance_cache=True)
    server.stop()


def test_pool_and_results_in_object_storage(storage: s3fs.S3FileSystem, tmp_path: Path) -> None:
    write_rows(tmp_path)
    here = options(tmp_path, tmp_path / "here", tmp_path / "cache")
    select(here, Resources(here, encoder=CachedEncoder(TopicEncoder(), tmp_path / "cache")))
    storage.mkdir("pools")
    storage.put(str(tmp_path / "pool.jsonl"), "pools/pool.jsonl")
    for engine in (None, Sent()):
        config = options(tmp_path, f"s3://pools/runs/{engine is None}", tmp_path / "cache", "s3://pools/pool.jsonl")
        with working_on(engine), results_stored(config) as local:
            select(local, Resources(local, encoder=CachedEncoder(TopicEncoder(), tmp_path / "cache")))
        picks = storage.cat(f"{config.run.output_dir}/selection/selected.jsonl")
        assert picks == contents(tmp_path / "here")["selection/selected.jsonl"]
        assert storage.exists(f"{config.run.output_dir}/report.html")
    missing = options(tmp_path, tmp_path / "none", tmp_path / "cache", "s3://pools/none.jsonl")
    with pytest.raises(DataError, match=r"s3://pools/none\.jsonl: no such file"):
        select(missing)
