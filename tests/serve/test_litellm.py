"""LiteLLM's callback, with a stand-in for LiteLLM's base class: its proxy calls `async_pre_call_hook` and no more."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from fastapi import HTTPException

from compass.errors import LanguageError

Ask = Callable[..., str]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Return the model that LiteLLM goes on with."""
    for name in ("litellm", "litellm.integrations", "litellm.integrations.custom_logger"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    vars(sys.modules["litellm.integrations.custom_logger"])["CustomLogger"] = type("CustomLogger", (), {})
    monkeypatch.delitem(sys.modules, "compass.serve.litellm_callback", raising=False)
    router = importlib.import_module("compass.serve.litellm_callback").LanguageRouter(
        {"cy": "welsh", "el": "greek"}, default="base"
    )
    # LiteLLM calls the hook of a class that defines it itself.
    assert "async_pre_call_hook" in vars(type(router))

    def ask(text: str, model: str = "auto", headers: dict[str, str] | None = None, **more: Any) -> str:
        data = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        data["proxy_server_request"] = {"headers": headers or {}}
        return str(asyncio.run(router.async_pre_call_hook(None, None, data, "acompletion"))["model"])

    return ask


def test_the_language_says_which_model_answers(ask: Ask) -> None:
    """Users of a gateway that is there already would be answered in another language."""
    assert ask("Trowch y golau ymlaen yn y gegin os gwelwch yn dda") == "welsh"
    assert ask("Άναψε το φως στην κουζίνα, σε παρακαλώ") == "greek"
    assert ask("Please turn on the light in the kitchen for me") == "base"
    assert ask("ok") == "base"
    assert ask("Trowch y golau ymlaen yn y gegin os gwelwch yn dda", model="gpt-4o") == "gpt-4o"


def test_headers_and_named_conversations_count(ask: Ask) -> None:
    """A short turn of a Welsh conversation would go to the base model."""
    named = {"X-Compass-Conversation": "c1"}
    assert ask("Trowch y golau ymlaen yn y gegin os gwelwch yn dda", headers=named) == "welsh"
    assert ask("ok 3", headers=named) == "welsh"
    assert ask("ok 3", headers={"X-Compass-Language": "ell"}) == "greek"
    assert ask("ok 3", metadata={"language": "cy"}) == "welsh"
    with pytest.raises(HTTPException, match="400"):
        ask("ok", headers={"X-Compass-Language": "no language"})


def test_what_is_missing_or_wrong_is_told_at_the_start(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy without py3langid would start, and answer every request for `auto` with 500."""
    module = importlib.import_module("compass.serve.litellm_callback")
    with pytest.raises(LanguageError, match="is not a language tag"):
        module.LanguageRouter({"no language": "welsh"}, default="base")

    def missing(_text: str) -> str:
        raise ModuleNotFoundError("No module named 'py3langid'")

    monkeypatch.setattr(module, "language_of", missing)
    with pytest.raises(ModuleNotFoundError, match="py3langid"):
        module.LanguageRouter({"cy": "welsh"}, default="base")
