"""The one record that every room passes on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from sys import intern
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. role: system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt in one language, with its response where there is one (a usage row may have none)."""

    id: str
    """Unique within its set, stable between runs."""
    prompt: str
    """What the user says: the text that is embedded, clustered and shown."""
    response: str = ""
    """What the model should answer; empty for prompt-only usage."""
    language: str = "und"
    """BCP-47 tag; `und` when nobody has said or found it."""
    label: str = ""
    """Topic or intent where the data names one. For diagnostics and reports alone: selection never reads it."""
    source: str = ""
    """Where the row comes from (file, data set, or package)."""
    context: tuple[Message, ...] = ()
    """Turns before the prompt (a system message, an earlier exchange), oldest first."""
    parallel_id: str = ""
    """What translations of one item share in a parallel set; statistics then count them as one item."""
    role: str = ""
    """In the history of an adapter: `train`, a training row, or `picked`, a row that selection took from the pool."""
    period: int = 0
    """In the history of an adapter: the update that first trained on the row; 0 for the first adapter."""

    session: str = field(default="", compare=False, repr=False)
    """What the rows of one conversation share; empty where the row does not say. Kept with usage alone."""
    at: float = field(default=math.nan, compare=False, repr=False)
    """When the row came, in seconds since 1970; NaN where it does not say. Kept with usage alone."""
    place: str = field(default="", compare=False, repr=False)
    """File and line that the row was read from, for messages; not kept in files."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict without the empty optional fields."""
        row: dict[str, Any] = {
            "id": self.id,
            "language": self.language,
            "prompt": self.prompt,
            "response": self.response,
        }
        if self.label:
            row["label"] = self.label
        if self.source:
            row["source"] = self.source
        if self.parallel_id:
            row["parallel_id"] = self.parallel_id
        if self.role:
            row |= {"role": self.role, "period": self.period}
        if self.context:
            row["context"] = [{"role": m.role, "content": m.content} for m in self.context]
        return row

    def arrival(self) -> dict[str, Any]:
        """Return when the row came and of what session it is, as far as it is known, JSON-ready."""
        session = {"session": self.session} if self.session else {}
        return session if math.isnan(self.at) else {**session, "at": self.at}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Example:
        """Read back what `to_dict` wrote. Raises KeyError if `id` or `prompt` is missing."""
        return cls(
            id=str(row["id"]),
            prompt=str(row["prompt"]),
            response=str(row.get("response", "")),
            # Few different ones in many rows: each is kept once.
            language=intern(str(row.get("language", "und"))),
            label=intern(str(row.get("label", ""))),
            source=intern(str(row.get("source", ""))),
            parallel_id=str(row.get("parallel_id", "")),
            role=str(row.get("role", "")),
            period=int(row.get("period", 0)),
            session=str(row.get("session", "")),
            at=float(row.get("at", math.nan)),
            context=tuple(Message(str(m["role"]), str(m["content"])) for m in row.get("context", ())),
        )

    def with_language(self, language: str) -> Example:
        """Return a copy that carries another language tag."""
        return replace(self, language=language)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that was left out. Nothing in it is a text of the row."""

    id: str
    """Empty where the row has none."""
    reason: str
    detail: str
    """Such as the row that it repeats."""
    place: str = ""
    """File and line; empty where the row is not of a file."""

    def to_dict(self) -> dict[str, str]:
        """Return a JSON-ready dict."""
        return {"place": self.place, "id": self.id, "reason": self.reason, "detail": self.detail}


def on_one_line(examples: Iterable[Example]) -> bool:
    """Say whether no response has a line break: decoding then ends at one, for all of the examples alike."""
    return not any("\n" in example.response for example in examples)
