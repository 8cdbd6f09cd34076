"""What a request asks for, and which version answers it. Nothing here waits, reads or remembers.

`model: auto` goes by the language of the conversation, `model: cy` to what stands for a language now, `model: cy@3` to
a version. A header or a field of `metadata` says the language and the conversation in the client's own words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compass.data.languages import UNDETERMINED, normalize_tag
from compass.errors import LanguageError
from compass.serve.language import language_of_turns, served_as

AUTO = "auto"
BASE = "base"
"""What an answer's header, and the answer to feedback, call the base model."""
LANGUAGE_HEADER, CONVERSATION_HEADER = "x-compass-language", "x-compass-conversation"
LANGUAGE_FIELD, CONVERSATION_FIELD = "language", "conversation_id"
"""Fields of `metadata` that say the same as the headers."""
OPENING_CHARS = 300
"""Characters of a conversation's first prompt that tell it from others where the client does not name it."""
_NAME = re.compile(r"([A-Za-z0-9-]+)@v?(\d{1,9})")


class RouteError(ValueError):
    """A request asks for what there is not, or says it wrongly; the message is for the client."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True)
class Asked:
    """What of a request decides who answers it."""

    model: str
    turns: tuple[str, ...]
    """What the user said, oldest first."""
    ends_with_user: bool
    """Whether the last message is the user's: a tool's answer follows a prompt that was asked before."""
    language: str
    """As the client says; empty where it does not."""
    conversation: str
    """What tells the conversation from others: a hash."""
    named: bool
    """Whether the client named the conversation."""


@dataclass(frozen=True)
class Table:
    """What each name stands for now."""

    live: Mapping[str, int] = field(default_factory=dict)
    """Language -> number of the version that its tag stands for."""
    base: Sequence[str] = ()
    """Names of the base model at the backends."""
    candidates: Mapping[str, int] = field(default_factory=dict)
    """Language -> number of the version that a share of conversations gets."""
    versions: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Language -> numbers that can be asked for by name."""
    share: float = 0.0
    """Share of conversations that a candidate answers."""


@dataclass(frozen=True)
class Route:
    """Who answers a request."""

    language: str
    """Tag of the registry; `und` for the base model."""
    version: int
    """0: the base model."""
    candidate: bool = False
    """Whether the version is a candidate that the conversation was drawn for."""
    spoken: str = UNDETERMINED
    """The language of the conversation, served or not; `und` where it says none."""
    exact: bool = False
    """Whether the request names the version, which is no part of the draw."""

    @property
    def adapter(self) -> str:
        """Name of the adapter at the backends, `cy@3`; empty for the base model."""
        return adapter_name(self.language, self.version) if self.version else ""


def adapter_name(language: str, version: int) -> str:
    """Return the name of a version at every backend."""
    return f"{language}@{version}"


def parse_adapter_name(name: str) -> tuple[str, int] | None:
    """Return language and number of a versioned name as the gateway gives it; None for another name."""
    found = _NAME.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def asked_of(values: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
    """Read what decides the route. values: the body's; headers: by lower-case name. Raises RouteError."""
    model = values.get("model", AUTO)
    if not isinstance(model, str):
        raise RouteError("`model` must be a text: auto, a language, or a version such as cy@3")
    metadata = values.get("metadata")
    fields: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    turns, ends_with_user = _turns(values)
    said = headers.get(LANGUAGE_HEADER) or fields.get(LANGUAGE_FIELD) or ""
    name = headers.get(CONVERSATION_HEADER) or fields.get(CONVERSATION_FIELD) or ""
    return Asked(
        model.strip(),
        turns,
        ends_with_user,
        _tag(said) if said else "",
        conversation_hash(str(name)) if name else conversation_hash(_opening(values, turns)),
        bool(name),
    )


def route(asked: Asked, table: Table, remembered: str = "") -> Route:
    """Return who answers. remembered: language that the conversation was in before. Raises RouteError.

    What the client says goes first; then a model's name; then the latest turn of the user that says a language, then
    what the conversation was in. A language without a version in production goes to the base model.
    """
    if asked.model in table.base:
        return Route(UNDETERMINED, 0, spoken=asked.language or _spoken(asked.turns) or UNDETERMINED)
    if exact := parse_adapter_name(asked.model):
        return _exact(exact, table)
    if asked.model == AUTO:
        language = asked.language or _spoken(asked.turns) or remembered or UNDETERMINED
    else:
        language = _named(asked.model, table)
    tag = served_as(language, table.live) if language != UNDETERMINED else ""
    if not tag:
        return Route(UNDETERMINED, 0, spoken=language)
    candidate = table.candidates.get(tag, 0)
    if candidate and drawn(asked.conversation, adapter_name(tag, candidate), table.share):
        return Route(tag, candidate, candidate=True, spoken=tag)
    return Route(tag, table.live[tag], spoken=tag)


def drawn(conversation: str, adapter: str, share: float) -> bool:
    """Say whether a conversation is among the share that gets a candidate: always the same, and for a larger share
    too; each candidate has a draw of its own."""
    number = int.from_bytes(hashlib.sha256(f"{adapter}\0{conversation}".encode()).digest()[:8], "big")
    return number < share * 2**64


def conversation_hash(name: str) -> str:
    """Return what is kept in place of a conversation's name."""
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]


def models(table: Table) -> list[str]:
    """Return every name that can be asked for: `auto`, the base model, languages, versions."""
    versions = (adapter_name(tag, number) for tag in sorted(table.versions) for number in sorted(table.versions[tag]))
    return [AUTO, *table.base, *sorted(table.live), *versions]


def _exact(name: tuple[str, int], table: Table) -> Route:
    tag = served_as(_tag(name[0]), table.versions)
    if not tag or name[1] not in table.versions[tag]:
        raise RouteError(f"{name[0]}@{name[1]} is not served. Served are: {', '.join(models(table))}", missing=True)
    return Route(tag, name[1], spoken=tag, exact=True)


def _named(model: str, table: Table) -> str:
    try:
        tag = served_as(normalize_tag(model), table.live)
    except LanguageError:
        tag = ""
    if not tag:
        raise RouteError(f"There is no model {model[:100]!r}. Served are: {', '.join(models(table))}", missing=True)
    return tag


def _tag(said: object) -> str:
    try:
        return normalize_tag(said if isinstance(said, str) else str(said))
    except LanguageError as error:
        raise RouteError(f"X-Compass-Language or language in metadata: {str(error).rstrip('.')}") from None


def _spoken(turns: Sequence[str]) -> str:
    found = language_of_turns(turns)
    return "" if found == UNDETERMINED else found


def _turns(values: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Return the user's texts, oldest first, and whether the request ends with one of them."""
    messages = values.get("messages")
    if not isinstance(messages, list):
        prompt = values.get("prompt")
        texts = [prompt] if isinstance(prompt, str) else prompt if isinstance(prompt, list) else []
        return tuple(text for text in texts if isinstance(text, str)), True
    turns, last = [], False
    for message in messages:
        last = isinstance(message, Mapping) and message.get("role") == "user"
        if last and (text := text_of(message.get("content"))):
            turns.append(text)
    return tuple(turns), last


def text_of(content: object) -> str:
    """Return the text of a message's content: a text, or a list of parts of which some are texts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))


def _opening(values: Mapping[str, Any], turns: Sequence[str]) -> str:
    """Return how a conversation begins, which every later request of it repeats."""
    user = values.get("user")
    return f"{user if isinstance(user, str) else ''}\0{turns[0][:OPENING_CHARS] if turns else ''}"
