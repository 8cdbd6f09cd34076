"""Sentences of the community-written grammars in `home-assistant-intents`, each with its function call.

A seeded random walk of a grammar gives a sentence and, on the way, its intent and slots, so that a response such as
`{"intent":"StartTimer","minutes":5}` is right by construction.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from compass.data.example import Example
from compass.errors import LanguageError, MissingExtraError

SENTENCES_PER_INTENT = 60
"""Distinct sentences that are kept of one intent in one language, at most."""
WALKS_PER_SENTENCE = 8
"""Random walks that are tried for each sentence wanted, before an intent is taken to be exhausted."""
MAX_DEPTH = 40
"""Nesting at which a walk is given up: the grammars are finite but deep."""


def assist_languages() -> tuple[str, ...]:
    """Return the languages of the grammars as BCP-47 tags, sorted."""
    return tuple(sorted(path.stem for path in _grammar_folder().glob("*.json")))


def assist_sentences(language: str, *, per_intent: int = SENTENCES_PER_INTENT, seed: int = 0) -> tuple[Example, ...]:
    """Walk one language's grammar at random and return its distinct sentences, at most `per_intent` of each intent.

    The label of an example is its intent; the response is the function call as compact JSON. Sentences with open
    wildcards (names of rooms and devices) are skipped. A sentence that two intents share is dropped: it has no one
    right response. Raises LanguageError if there is no grammar for the language.
    """
    return _sentences(language, per_intent, seed)


def _grammar_folder() -> Path:
    try:
        import home_assistant_intents
    except ImportError as error:
        raise MissingExtraError("home-assistant-intents", "embedded", "The data set 'assist'") from error
    return Path(home_assistant_intents.__file__).parent / "data"


@lru_cache(maxsize=128)
def _sentences(language: str, per_intent: int, seed: int) -> tuple[Example, ...]:
    path = _grammar_folder() / f"{language}.json"
    if not path.is_file():
        raise LanguageError(
            f"assist: there is no grammar for {language!r}. Languages: {', '.join(assist_languages())}."
        )
    from hassil.intents import Intents

    intents = Intents.from_dict(json.loads(path.read_text(encoding="utf-8")))
    calls: dict[str, dict[str, set[str]]] = {}
    for name in sorted(intents.intents):
        rng = random.Random(f"{seed}/{language}/{name}")
        for text, call in _walks(intents, name, language, per_intent, rng).items():
            calls.setdefault(text, {}).setdefault(name, set()).add(call)
    examples: list[Example] = []
    for text, by_name in calls.items():
        if len(by_name) == 1:
            name, responses = next(iter(by_name.items()))
            label = _short(name)
            examples.append(
                Example(
                    id=f"assist/{language}/{label}/{len(examples)}",
                    prompt=text,
                    response=min(responses),
                    language=language,
                    label=label,
                    source="home-assistant-intents",
                )
            )
    return tuple(examples)


def _walks(intents: Any, name: str, language: str, per_intent: int, rng: random.Random) -> dict[str, str]:
    """Return at most `per_intent` distinct sentences of one intent, each with its function call."""
    from hassil.errors import HassilError

    templates = [(data, sentence) for data in intents.intents[name].data for sentence in data.sentences]
    found: dict[str, str] = {}
    for _ in range(per_intent * WALKS_PER_SENTENCE if templates else 0):
        data, sentence = rng.choice(templates)
        walker = _Walker(intents, data, language, rng)
        try:
            text = " ".join(walker.walk(sentence.expression, 0).split())
        except (_DeadEnd, HassilError):
            continue
        text = unicodedata.normalize("NFC", text)
        if text and text not in found:
            found[text] = _function_call(name, {**data.slots, **walker.slots})
        if len(found) == per_intent:
            break
    return found


def _function_call(intent: str, slots: Mapping[str, Any]) -> str:
    call = {"intent": _short(intent), **dict(sorted(slots.items()))}
    return json.dumps(call, ensure_ascii=False, separators=(",", ":"))


def _short(intent: str) -> str:
    return intent.removeprefix("Hass")


class _DeadEnd(Exception):
    """A walk met an open wildcard, a missing list or a rule that nests too deep."""


class _Walker:
    """One random walk of a sentence template; collects the slots that it passes."""

    def __init__(self, intents: Any, data: Any, language: str, rng: random.Random) -> None:
        self.slots: dict[str, Any] = {}
        self._lists = {**intents.slot_lists, **data.slot_lists}
        self._rules = {**intents.expansion_rules, **data.expansion_rules}
        self._wildcards = data.wildcard_list_names
        self._language = language
        self._rng = rng

    def walk(self, expression: Any, depth: int) -> str:
        """Return the text of one random expansion. Raises _DeadEnd if it meets an open wildcard."""
        if depth > MAX_DEPTH:
            raise _DeadEnd
        # Classes of hassil by name: to import them in here would take most of a walk's time.
        kind = type(expression).__name__
        if kind == "TextChunk":
            return str(expression.original_text)
        if kind == "Sequence":
            return "".join([self.walk(item, depth + 1) for item in expression.items])
        if kind == "Alternative":
            return self.walk(self._rng.choice(expression.items), depth + 1) if expression.items else ""
        if kind == "Permutation":
            items = self._rng.sample(expression.items, len(expression.items))
            return " ".join([self.walk(item, depth + 1) for item in items])
        if kind == "RuleReference":
            if expression.rule_name not in self._rules:
                raise _DeadEnd
            return self.walk(self._rules[expression.rule_name].expression, depth + 1)
        if kind == "ListReference":
            return self._value(expression, depth)
        raise _DeadEnd

    def _value(self, reference: Any, depth: int) -> str:
        if reference.is_inline_range:
            start, stop, step = reference.get_inline_range()
            number = self._rng.choice(range(start, stop + 1, step))
            return self._fill(reference, number, str(number))
        values: Any = self._lists.get(reference.list_name)
        if reference.list_name in self._wildcards:
            raise _DeadEnd
        kind = type(values).__name__
        if kind == "TextSlotList" and values.values:
            value = self._rng.choice(values.values)
            return self._fill(reference, value.value_out, self.walk(value.text_in, depth + 1))
        if kind == "RangeSlotList" and values.digits:
            said: float = self._rng.choice(list(values.get_numbers()))
            meant = said if values.multiplier is None else said * values.multiplier
            return self._fill(reference, int(meant) if meant == int(meant) else meant, str(said))
        raise _DeadEnd

    def _fill(self, reference: Any, value: Any, text: str) -> str:
        self.slots[reference.slot_name] = value
        return f"{reference.prefix or ''}{text}{reference.suffix or ''}"
