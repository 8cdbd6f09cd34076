"""The registry's adapters in a vLLM of one's own, without the gateway: a plugin of vLLM, `VLLM_PLUGINS=compass`.

vLLM asks a resolver for a model name that it does not know, and keeps what it got under that name until it ends. A
version, `cy@3`, stays what it is. For a language, `cy`, a task of vLLM's API server looks at the registry and puts the
version that is in production now under the name, once it is loaded; requests that run end on the one they began with.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from compass.errors import CompassError, ServeError
from compass.registry import Registry, Version
from compass.registry.commands import no_folder
from compass.registry.folders import number_of
from compass.runs import layout
from compass.serve.routing import adapter_name, parse_adapter_name

logger = logging.getLogger(__name__)

VARIABLE = "COMPASS_REGISTRY"
"""Environment variable with the registry's folder."""
POLL_SECONDS = 0.5
NAME = "compass"


class LoRARequest(Protocol):
    """What vLLM calls an adapter that it is to load."""

    lora_name: str
    lora_path: str


class ServingModels(Protocol):
    """vLLM's table of adapters, of which these two are used."""

    @property
    def lora_requests(self) -> dict[str, Any]:
        """Name that clients give -> adapter."""

    async def resolve_lora(self, lora_name: str) -> Any:
        """Return a loaded adapter, or an error."""


class RegistryResolver:
    """Finds `cy` (in production) and `cy@3` in a registry. request: makes vLLM's LoRARequest."""

    def __init__(self, registry: Registry, request: Callable[..., LoRARequest]) -> None:
        self.registry, self._request = registry, request

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
        """Return an adapter under its versioned name; None for a name that the registry does not have, a version that
        is damaged or removed, and one of another base model."""
        return await asyncio.to_thread(self._resolve, base_model_name, lora_name)

    def production(self, language: str) -> int:
        """Return the number of the version in production, 0 for none. Raises RegistryError, LanguageError."""
        return number_of(self.registry.aliases(language).current)

    def _resolve(self, base: str, name: str) -> LoRARequest | None:
        language, number = parse_adapter_name(name) or (name, 0)
        try:
            # Names come from clients: only those of the registry's own folders get any further.
            if language not in self.registry.languages():
                return None
            found = self.registry.get(language, str(number) if number else "production")
            _check_base(found, base)
        except (CompassError, OSError, ValueError) as error:
            logger.warning("%s is not served: %s", name, error)
            return None
        path = str(found.adapter.resolve())
        return self._request(lora_name=adapter_name(language, found.number), lora_int_id=1, lora_path=path)


class Follower:
    """An endpoint plugin of vLLM without endpoints: keeps what a language means at what is in production."""

    name = NAME
    required_tasks = ("generate",)

    def __init__(self, resolver: RegistryResolver | None = None, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._resolver, self._poll = resolver or from_environment(), poll_seconds

    def attach_router(self, app: Any) -> None:
        """Add no routes."""

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """Start the task."""
        models = getattr(state, "openai_serving_models", None)
        if engine_client is not None and models is not None and self._resolver is not None:
            # vLLM's state keeps it: a task that nothing refers to may be collected.
            state.compass_follower = asyncio.create_task(self._keep_looking(models))

    async def look(self, models: ServingModels) -> None:
        """Look once at every language that clients have asked for."""
        for name, request in list(models.lora_requests.items()):
            if parse_adapter_name(name) or not parse_adapter_name(request.lora_name):
                continue
            number = await asyncio.to_thread(self._resolver.production, name) if self._resolver else 0
            wanted = adapter_name(name, number)
            if not number or request.lora_name == wanted:
                continue
            loaded = models.lora_requests.get(wanted) or await models.resolve_lora(wanted)
            if hasattr(loaded, "lora_name") and name in models.lora_requests:
                models.lora_requests[name] = loaded
                logger.info("%s means %s from now on", name, wanted)

    async def _keep_looking(self, models: ServingModels) -> None:
        said = ""
        while True:
            await asyncio.sleep(self._poll)
            try:
                await self.look(models)
            except Exception as error:
                if said != str(error):
                    said = str(error)
                    logger.warning("The registry can't be followed, so languages mean what they did: %s", error)


def from_environment(environment: Mapping[str, str] = os.environ) -> RegistryResolver | None:
    """Return a resolver for the registry that VARIABLE names; None, with a warning, if it names none.

    Raises ServeError if there is no such folder.
    """
    named = environment.get(VARIABLE, "")
    if not named:
        logger.warning("No adapter is found in a registry: set %s to its folder.", VARIABLE)
        return None
    if not Path(named).is_dir():
        raise ServeError(f"{VARIABLE}: {no_folder(named)}.")
    from vllm.lora.request import LoRARequest

    return RegistryResolver(Registry(Path(named)), LoRARequest)


def register() -> None:
    """Tell vLLM of the resolver: the entry point `compass` of `vllm.general_plugins`. May be called more than once."""
    from vllm.lora.resolver import LoRAResolverRegistry

    if resolver := from_environment():
        LoRAResolverRegistry.register_resolver(NAME, resolver)


def _check_base(version: Version, served: str) -> None:
    """Raise ServeError for an adapter of another base model. A folder's name says nothing, so any may be served."""
    config = json.loads((version.folder / layout.ADAPTER_CONFIG).read_text("utf-8"))
    trained = str(config.get("base_model_name_or_path", ""))
    if trained and served != trained and not any(Path(name).is_dir() or ":" in name for name in (served, trained)):
        raise ServeError(f"Version {version.id} was trained on {trained}, and vLLM serves {served}.")
