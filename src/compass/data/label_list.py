"""What `compass label` finds: the usage prompts that a person should answer first, as run folder and report have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from compass.data.example import Message


@dataclass(frozen=True, slots=True)
class LabelPrompt:
    """A usage prompt that a person should answer, and what its answer brings."""

    id: str
    prompt: str
    language: str
    stands_for: int
    """Usage prompts that are closer to it than to the others of the list and are not served in full yet."""
    served: float
    """What training data and pool serve of it already, from 0 to 1."""
    covered: float
    """Share of what usage needs that is covered once this prompt and all before it are answered."""
    cluster: int
    reason: str
    context: tuple[Message, ...] = ()
    """Turns before the prompt."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; `context` only where there is one."""
        content = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "context"}
        return content | ({"context": list(map(asdict, self.context))} if self.context else {})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LabelPrompt:
        """Read back what `to_dict` returned."""
        return cls(
            id=str(content["id"]),
            prompt=str(content["prompt"]),
            language=str(content["language"]),
            stands_for=int(content["stands_for"]),
            served=float(content["served"]),
            covered=float(content["covered"]),
            cluster=int(content["cluster"]),
            reason=str(content["reason"]),
            context=tuple(Message(str(turn["role"]), str(turn["content"])) for turn in content.get("context", ())),
        )


@dataclass(frozen=True, slots=True)
class LabelList:
    """Which usage prompts to answer first, and what to know about the list as a whole."""

    prompts: tuple[LabelPrompt, ...]
    """Those that help most first; a shorter list is the beginning of a longer one."""
    covered_before: float
    """Share of what usage needs that training data and pool cover already."""
    worthwhile: int
    """How many of the first prompts cover at least one whole usage prompt more each: where one may stop."""
    asked_for: int
    usage: int
    """Usage prompts, repeats counted."""
    notes: tuple[str, ...] = ()
    """What the reader should know of how the list was made."""

    def summary(self) -> str:
        """Say in one sentence what the list covers, and where one may stop."""
        if not self.prompts:
            return f"training data and pool cover {100 * self.covered_before:.0f} % of what usage needs."
        text = (
            f"training data and pool cover {100 * self.covered_before:.0f} % of what usage needs; with all "
            f"{len(self.prompts)} answers it is {100 * self.prompts[-1].covered:.0f} %."
        )
        if 0 < self.worthwhile < len(self.prompts):
            text += f" After the first {self.worthwhile}, an answer covers less than one more usage prompt."
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "covered_before": self.covered_before,
            "worthwhile": self.worthwhile,
            "asked_for": self.asked_for,
            "usage": self.usage,
            "notes": list(self.notes),
            "prompts": [prompt.to_dict() for prompt in self.prompts],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LabelList:
        """Read back what `to_dict` returned."""
        return cls(
            prompts=tuple(map(LabelPrompt.from_dict, content["prompts"])),
            covered_before=float(content["covered_before"]),
            worthwhile=int(content["worthwhile"]),
            asked_for=int(content["asked_for"]),
            usage=int(content["usage"]),
            notes=tuple(map(str, content.get("notes", ()))),
        )
