"""Routing by language as a callback of LiteLLM's proxy, which the gateway of a company may be already.

    # routing.py, beside LiteLLM's config.yaml
    from compass.serve.litellm_callback import LanguageRouter

    router = LanguageRouter({"cy": "welsh", "el": "greek"}, default="base")

    # config.yaml
    litellm_settings:
      callbacks: routing.router

LiteLLM is imported with this module, and is no dependency of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from compass.data.languages import normalize_tag
from compass.serve.language import language_of
from compass.serve.router import Router
from compass.serve.routing import AUTO, RouteError, Table


class LanguageRouter(CustomLogger):  # type: ignore[misc]
    """Puts a model by language in the place of `auto`; requests for other models stay as they are.

    models: language -> name of its model in LiteLLM; default: the model for every other language.
    """

    def __init__(self, models: Mapping[str, str], *, default: str, auto: str = AUTO) -> None:
        """Load the identification of languages.

        A package that is missing is an ImportError now and not an error of each request. Raises LanguageError for a
        language that is none.
        """
        super().__init__()
        language_of("Good morning, everybody.")
        for language in models:
            normalize_tag(language)
        self._models, self._default, self._auto = dict(models), default, auto
        self._table = Table(live=dict.fromkeys(models, 1))
        self._router = Router()

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Set the model of a request, before LiteLLM looks for who serves it. Raises HTTPException with status 400."""
        if data.get("model") != self._auto or not ("messages" in data or "prompt" in data):
            return data
        request = data.get("proxy_server_request")
        headers = request.get("headers") if isinstance(request, Mapping) else None
        lowered = {str(name).lower(): str(value) for name, value in dict(headers or {}).items()}
        try:
            found = self._router.route({**data, "model": AUTO}, self._table, lowered)
        except RouteError as error:
            from fastapi import HTTPException

            raise HTTPException(400, str(error)) from None
        data["model"] = self._models.get(found.language, self._default)
        return data
