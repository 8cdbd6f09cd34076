"""vLLM's plugin, with stand-ins for what vLLM does (its models/serving.py of version 0.32)."""

from __future__ import annotations

import asyncio
import json
import sys
import tomllib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from compass.errors import ServeError
from compass.registry import Registry
from compass.serve import vllm_resolver
from compass.serve.vllm_resolver import Follower, RegistryResolver, from_environment


@dataclass
class Request:
    """vLLM's LoRARequest."""

    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass
class Models:
    """vLLM's table of adapters: a name that was resolved once is never resolved again."""

    resolver: RegistryResolver
    base: str = "google/gemma-3-270m-it"
    lora_requests: dict[str, Request] = field(default_factory=dict)
    fails: bool = False
    ids: int = 0

    async def resolve_lora(self, name: str) -> Any:
        if name in self.lora_requests:
            return self.lora_requests[name]
        found = await self.resolver.resolve_lora(self.base, name)
        if found is None or self.fails:
            return SimpleNamespace(error=404)
        self.ids += 1
        found.lora_int_id = self.ids  # type: ignore[attr-defined]
        self.lora_requests[name] = found  # type: ignore[assignment]
        return found


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 30))


@pytest.fixture
def models(registry: Registry) -> Models:
    return Models(RegistryResolver(registry, Request))


def asked(models: Models, name: str) -> str:
    """Return the version that a name gets, or nothing."""
    return str(getattr(run(models.resolve_lora(name)), "lora_name", ""))


def test_names_of_the_registry_are_found_and_no_others(models: Models, registry: Registry, runs: list[Path]) -> None:
    """A client could load any folder of the machine, or a version that nobody has registered."""
    candidate = registry.register(runs[1])
    assert asked(models, "cy") == "cy@1"
    assert asked(models, "cy@1") == "cy@1"
    assert asked(models, "cy@2") == "cy@2"
    assert models.lora_requests["cy@2"].lora_path == str(candidate.adapter.resolve())
    assert models.lora_requests["cy@2"].lora_int_id != models.lora_requests["cy@1"].lora_int_id
    for name in ("cy@7", "fr", "fr@1", "CY", "../cy", "cy/../el", "", "candidate", "/etc", "cy@", "x\0", "gpt-4"):
        assert asked(models, name) == "", name


def test_a_damaged_version_is_refused(models: Models, registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Weights that are not those that were measured would be served."""
    weights = registry.get("cy", "1").adapter / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o600)
    weights.write_bytes(content)
    assert asked(models, "cy") == asked(models, "cy@1") == ""
    assert "damaged" in caplog.text


def test_another_base_model_is_refused(models: Models, registry: Registry, tmp_path: Path) -> None:
    """An adapter fits every model of the same shape, and answers nonsense on another one."""
    resolver = models.resolver
    version = registry.get("cy", "1")
    file = version.adapter / "adapter_config.json"
    file.chmod(0o600)
    content = json.loads(file.read_text()) | {"base_model_name_or_path": "other/model"}
    file.write_text(json.dumps(content))
    with pytest.raises(ServeError, match="trained on other/model"):
        vllm_resolver._check_base(version, models.base)
    vllm_resolver._check_base(version, "other/model")
    vllm_resolver._check_base(version, str(tmp_path))
    assert resolver.production("cy") == 1


def test_a_promotion_is_seen_without_a_restart(models: Models, registry: Registry, runs: list[Path]) -> None:
    """vLLM keeps what a name meant when it was first asked for: a rollback would never arrive."""
    follower = Follower(models.resolver)
    before = asked(models, "cy"), models.lora_requests["cy"]
    models.lora_requests["own"] = Request("own", 90, "/own")
    registry.register(runs[1])
    run(follower.look(models))
    assert models.lora_requests["cy"] is before[1]
    registry.promote("cy")
    models.fails = True
    run(follower.look(models))
    assert models.lora_requests["cy"] is before[1], "what can't be loaded must not take the place of what is served"
    models.fails = False
    run(follower.look(models))
    assert models.lora_requests["cy"].lora_name == "cy@2"
    assert before[1].lora_name == "cy@1", "requests that run hold on to it"
    registry.rollback("cy")
    run(follower.look(models))
    assert models.lora_requests["cy"].lora_name == "cy@1"
    assert models.lora_requests["own"].lora_path == "/own"
    assert models.lora_requests["cy@2"].lora_name == "cy@2"


def test_the_servers_task_follows_the_registry(models: Models, registry: Registry, runs: list[Path]) -> None:
    """Nobody would call `look`; and a registry that can't be read must not end the task."""

    async def work() -> None:
        follower, state = Follower(models.resolver, poll_seconds=0.01), SimpleNamespace(openai_serving_models=models)
        follower.attach_router(None)
        await follower.init_state(None, SimpleNamespace(), None)
        await models.resolve_lora("cy")
        await follower.init_state(object(), state, None)
        state_file = registry.folder("cy") / "state.json"
        content = state_file.read_bytes()
        state_file.write_bytes(b"{")
        await asyncio.sleep(0.05)
        state_file.write_bytes(content)
        registry.register(runs[1])
        registry.promote("cy")
        while models.lora_requests["cy"].lora_name != "cy@2":
            await asyncio.sleep(0.01)
        state.compass_follower.cancel()

    run(work())


def test_vllm_finds_the_plugin(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong entry point shows only in vLLM, as a name that does not exist."""
    found: dict[str, Any] = {}
    for name, content in {
        "vllm": {},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": Request},
        "vllm.lora.resolver": {"LoRAResolverRegistry": SimpleNamespace(register_resolver=found.__setitem__)},
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("COMPASS_REGISTRY", str(registry.root))
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    groups = project["entry-points"]
    for group in ("vllm.general_plugins", "vllm.endpoint_plugins"):
        EntryPoint("compass", groups[group]["compass"], group).load()()
    assert isinstance(found["compass"], RegistryResolver)
    with pytest.raises(ServeError, match="is not a folder"):
        from_environment({"COMPASS_REGISTRY": str(registry.root / "no")})
    assert from_environment({}) is None
