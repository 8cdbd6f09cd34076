"""Selection on a real Ray cluster of several node processes, with pool and results in a real S3 server.

Run by `make test-ray`, in an environment of its own; skipped where Ray or moto's server is not installed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from compass.encoders import CachedEncoder
from compass.engines import working_on
from compass.recipes.adapt import select
from compass.recipes.elsewhere import results_stored
from compass.steps.resources import Resources
from engines.sent import contents, options, write_rows
from engines.watched import Watched
from topics import TopicEncoder

ray = pytest.importorskip("ray", reason="needs Ray: make test-ray")
moto_server = pytest.importorskip("moto.server", reason="needs moto[server]: make test-ray")

import s3fs  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from compass.engines.ray import RayEngine  # noqa: E402

# Ray warns of its own options as it copies them.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]

WORKERS = (1, 2, 4)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder)
    return folder


@pytest.fixture(scope="module")
def here(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a selection in this process writes."""
    folder = tmp_path_factory.mktemp("here")
    _select(rows, folder / "run", TopicEncoder())
    return contents(folder / "run")


@pytest.fixture(scope="module")
def storage() -> Iterator[s3fs.S3FileSystem]:
    """An S3 server, which the environment names: nodes of a cluster that starts later have it, too."""
    server = moto_server.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(f"AWS_{name}", value)
        yield s3fs.S3FileSystem()
    server.stop()


@pytest.fixture(scope="module")
def cluster(storage: s3fs.S3FileSystem) -> Iterator[Cluster]:
    # On a busy machine a worker takes long to start, and one that takes longer than this is started again.
    slow = {"worker_register_timeout_seconds": 600}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": slow}
    made = Cluster(initialize_head=True, head_node_args=head)
    yield made
    ray.shutdown()
    made.shutdown()


def _select(rows: Path, output: Path, encoder: TopicEncoder, pool: str = "") -> None:
    cache = output.with_name(f"{output.name}-cache")
    config = options(rows, output, cache, pool)
    select(config, Resources(config, encoder=CachedEncoder(encoder, cache, chunk_rows=50)))


def _engine(cluster: Cluster, workers: int) -> RayEngine:
    """Return the engine on the cluster with so many nodes of one worker; nodes are only ever added."""
    while len(cluster.worker_nodes) < workers:
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    return RayEngine(cluster.address, block_rows=100, part_bytes=16_000)


@pytest.mark.parametrize("workers", WORKERS)
def test_any_number_of_workers_gives_the_files_of_one_process(
    cluster: Cluster, rows: Path, here: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    with working_on(_engine(cluster, workers)):
        _select(rows, tmp_path / "run", Watched(tmp_path))
    assert contents(tmp_path / "run") == here
    lines = (tmp_path / "embedded.log").read_text("utf-8").splitlines()
    pids = {line.split()[0] for line in lines}
    assert str(os.getpid()) not in pids
    assert max(Counter(line.partition(" ")[2] for line in lines).values()) == 1


def test_a_worker_killed_in_the_middle_costs_its_blocks_alone(
    cluster: Cluster, rows: Path, here: dict[str, bytes], tmp_path: Path
) -> None:
    """A lost worker would lose rows, end the run, or have all embedded again."""
    (tmp_path / "kill").touch()
    with working_on(_engine(cluster, 2)):
        _select(rows, tmp_path / "run", Watched(tmp_path))
    assert contents(tmp_path / "run") == here
    killed = (tmp_path / "killed").read_text("utf-8")
    lines = [line.partition(" ") for line in (tmp_path / "embedded.log").read_text("utf-8").splitlines()]
    times = Counter(text for _, _, text in lines)
    again = {text for text, n in times.items() if n > 1}
    assert again, "the chunk that the worker died of was embedded again"
    assert again <= {text for pid, _, text in lines if pid == killed}
    assert len(again) <= 2


def test_pool_and_results_in_object_storage(
    cluster: Cluster, storage: s3fs.S3FileSystem, rows: Path, here: dict[str, bytes], tmp_path: Path
) -> None:
    storage.mkdir("bucket")
    storage.put(str(rows / "pool.jsonl"), "bucket/pool.jsonl")
    config = options(rows, "s3://bucket/runs/en", tmp_path / "cache", "s3://bucket/pool.jsonl")
    encoder = CachedEncoder(Watched(tmp_path), tmp_path / "cache", chunk_rows=50)
    with working_on(_engine(cluster, 1)), results_stored(config) as local:
        select(local, Resources(local, encoder=encoder))
    for name in ("selection/selected.jsonl", "space/space.safetensors"):
        assert storage.cat(f"bucket/runs/en/{name}") == here[name]
    assert storage.exists("bucket/runs/en/report.html")
