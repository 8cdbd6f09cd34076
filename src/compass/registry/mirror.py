"""The same versions and aliases in an MLflow model registry, for teams that look there.

The folder stays the truth: the mirror is written from it, points to it, and can be written again at any time. Each
language is a registered model `compass-<language>`; a version carries the id of ours in its tag `compass.version`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from compass.errors import MissingExtraError, RegistryError
from compass.registry.store import Registry
from compass.registry.versions import Version
from compass.sanitize import without_secrets

logger = logging.getLogger(__name__)

TAG = "compass.version"


@dataclass(frozen=True)
class Mirrored:
    """What had to be written to make the mirror the same."""

    model: str
    added: tuple[str, ...]
    """Ids of versions."""
    removed: tuple[str, ...]
    aliases: dict[str, str]
    """Id by alias, as it stands now."""


def mirror(registry: Registry, language: str, uri: str) -> Mirrored:
    """Make the MLflow registry at `uri` (`sqlite:///mlflow.db`, `http://host:5000`) say what ours says of a language.

    Needs the extra `mlflow`. Raises MissingExtraError without it, RegistryError if MLflow can't be written.
    """
    client = _client(uri)
    from mlflow.exceptions import MlflowException

    versions = registry.versions(language)
    now = registry.aliases(language)
    model = f"compass-{registry.folder(language).name}"
    try:
        _ensure_model(client, model, registry.folder(language).name)
        known = {entry.tags[TAG]: entry.version for entry in _all_versions(client, model) if TAG in entry.tags}
        added = []
        for version in versions:
            if version.id not in known:
                known[version.id] = _add(client, model, version)
                added.append(version.id)
        wanted = {alias: id for alias, id in (("candidate", now.candidate), ("production", now.current)) if id in known}
        for alias in ("candidate", "production"):
            if alias in wanted:
                client.set_registered_model_alias(model, alias, known[wanted[alias]])
            else:
                client.delete_registered_model_alias(model, alias)
        removed = sorted(set(known) - {version.id for version in versions})
        for id in removed:
            client.delete_model_version(model, known[id])
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"MLflow couldn't be written ({without_secrets(str(error))}). "
            "The registry itself is whole; mirror it again later."
        ) from None
    return Mirrored(model, tuple(added), tuple(removed), wanted)


def _client(uri: str) -> Any:
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            error.name or "mlflow-skinny", "mlflow", "Mirroring the registry into MLflow"
        ) from error
    try:
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, OSError) as error:
        raise RegistryError(
            without_secrets(f"The MLflow registry at {uri} can't be opened ({error}). Check mlflow_uri.")
        ) from None


def _ensure_model(client: Any, model: str, language: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(model)
    except MlflowException:
        client.create_registered_model(model, tags={"compass.language": language})


def _all_versions(client: Any, model: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{model}'", max_results=1000, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _add(client: Any, model: str, version: Version) -> str:
    tags = {
        TAG: version.id,
        "compass.identity": version.identity,
        "compass.parent": version.parent,
        "compass.trigger": version.trigger,
        "compass.created_at": version.created_at,
        # MLflow keeps 5,000 characters of a tag.
        "compass.metrics": json.dumps(version.metrics)[:5000],
    }
    made = client.create_model_version(model, source=version.adapter.resolve().as_uri(), tags=tags)
    return str(made.version)
