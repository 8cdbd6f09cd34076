"""Routing by itself, for a gateway of one's own: it remembers what language a conversation was in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from compass.serve.routing import Asked, Route, Table, asked_of, route

MOST_CONVERSATIONS = 100_000
"""Named conversations whose language is remembered, the latest."""


class Router:
    """Routes requests, and remembers the language of conversations that clients name."""

    def __init__(self) -> None:
        self._languages: OrderedDict[str, str] = OrderedDict()

    def route(self, values: Mapping[str, Any], table: Table, headers: Mapping[str, str] | None = None) -> Route:
        """Return who answers a request of OpenAI's API. values: its body; headers: by name in lower case.

        Raises RouteError, whose message is for the client.
        """
        return self.routed(values, table, headers)[1]

    def routed(
        self, values: Mapping[str, Any], table: Table, headers: Mapping[str, str] | None = None
    ) -> tuple[Asked, Route]:
        """Return what a request asks for, and who answers it."""
        asked = asked_of(values, headers or {})
        found = route(asked, table, self._languages.get(asked.conversation, ""))
        # A later request may hold one short turn alone.
        if asked.named and found.version:
            self._languages[asked.conversation] = found.language
            self._languages.move_to_end(asked.conversation)
            if len(self._languages) > MOST_CONVERSATIONS:
                self._languages.popitem(last=False)
        return asked, found
