"""The mirror, in a real MLflow registry on SQLite."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compass.errors import MissingExtraError, RegistryError
from compass.registry import Registry, mirror
from run_folders import MakeRun


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty MLflow database; its tables take seconds to make, so the tests share them."""
    for module in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(module, reason="needs the extra mlflow: pip install 'compass-peft[mlflow]'")
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.mark.filterwarnings("ignore")  # MLflow's own, of its libraries
def test_the_mirror_says_the_same(uri: str, three: Registry, make_run: MakeRun) -> None:
    """Teams that look at MLflow would see other versions in production than are served."""
    from mlflow import MlflowClient

    first, second, third = three.versions("cy")
    made = mirror(three, "cy", uri)
    assert (made.model, made.added, made.removed) == ("compass-cy", (first.id, second.id, third.id), ())
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def named(alias: str) -> str:
        return str(client.get_model_version_by_alias("compass-cy", alias).tags["compass.version"])

    assert (named("production"), named("candidate")) == (first.id, third.id)
    there = client.get_model_version_by_alias("compass-cy", "production")
    assert Path(there.source.removeprefix("file://")) == first.adapter.resolve()
    assert there.tags["compass.identity"] == first.identity
    assert client.get_registered_model("compass-cy").tags == {"compass.language": "cy"}

    three.promote("cy")
    assert mirror(three, "cy", uri).added == ()
    assert named("production") == third.id
    assert set(client.get_registered_model("compass-cy").aliases) == {"production"}

    three.rollback("cy")
    three.register(make_run(3))
    three.prune("cy", keep=1)
    again = mirror(three, "cy", uri)
    assert (named("production"), again.removed) == (first.id, (second.id, third.id))
    tags = {entry.tags["compass.version"] for entry in client.search_model_versions("name = 'compass-cy'")}
    assert tags == {version.id for version in three.versions("cy")}


def test_without_the_extra_the_line_to_install_it_is_told(three: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"compass-peft\[mlflow\]"):
        mirror(three, "cy", "sqlite:///x.db")


@pytest.mark.parametrize("uri", ["foo://bar", "sqlite:///{folder}/file/mlflow.db"])
@pytest.mark.filterwarnings("ignore")
def test_an_address_that_is_none_is_a_registry_error(three: Registry, uri: str, tmp_path: Path) -> None:
    """A promotion that was made would end in MLflow's traceback, and the watch loop with it at each start."""
    pytest.importorskip("mlflow", reason="needs the extra mlflow: pip install 'compass-peft[mlflow]'")
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match="MLflow"):
        mirror(three, "cy", uri.format(folder=tmp_path))
