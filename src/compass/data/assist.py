"""The embedded data set `assist`: home-assistant commands in 65 languages, with a function call as the response.

As a source it is named `assist`, or with one of its settings: `assist:disjoint`.

Sentences come from a seeded random walk of the community-written grammars in `home-assistant-intents`; the walk also
gives the intent and its slots, so a response such as `{"intent":"StartTimer","minutes":5}` is right by construction.
The two settings (`skewed`, `disjoint`) and all sizes are our own choice, fixed before any result was seen [ours].
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from compass.data.example import Example
from compass.errors import DataError, LanguageError, MissingExtraError

ASSIST = "assist"
"""The name of the source."""
SENTENCES_PER_INTENT = 60
"""Distinct sentences that are kept of one intent in one language, at most."""
WALKS_PER_SENTENCE = 8
"""Random walks that are tried for each sentence wanted, before an intent is taken to be exhausted."""
POOL_LANGUAGES = ("ar", "ca", "cs", "da", "de", "el", "en", "es", "fr", "hi", "hu", "it", "ko", "nl", "pl", "pt", "ro",
                  "ru", "th", "vi", "zh-CN")  # fmt: skip
"""Languages of the pool, less the target language: widely taught or spoken, none of them Celtic."""
MAX_DEPTH = 40
"""Nesting at which a walk is given up: the grammars are finite but deep."""


@dataclass(frozen=True)
class AssistSetting:
    """How many rows of each kind a draw holds."""

    needed_intents: int = 6
    """Intents that usage asks for."""
    usage_per_intent: int = 6
    """Usage rows of each needed intent."""
    current_needed_per_intent: int = 2
    """Rows of each needed intent in the data at hand: 2 is the skewed setting, 0 the disjoint one."""
    current_per_other_intent: int = 10
    """Rows of each intent that the data at hand knows well."""
    other_intents: int = 6
    """Intents that the data at hand knows well."""
    test_per_intent: int = 25
    """Held-out usage rows of each needed intent."""
    pool_needed_share: float = 0.2
    """Share of the pool's rows that carry a needed intent: relevant rows are scarce in real pools."""
    pool_rows_per_language: int = 320
    """Rows of each pool language, at most."""


SETTINGS: Mapping[str, AssistSetting] = {
    "skewed": AssistSetting(),
    "disjoint": AssistSetting(current_needed_per_intent=0),
}


@dataclass(frozen=True)
class AssistData:
    """One draw of the data set for a target language; no sentence is in two of its parts."""

    usage: tuple[Example, ...]
    current: tuple[Example, ...]
    pool: tuple[Example, ...]
    tests: Mapping[str, tuple[Example, ...]]
    """Held-out rows by test name: `<language>` for the target, and for each retention language."""
    needed: tuple[str, ...]
    """Intents that usage needs and the data at hand lacks."""
    known: tuple[str, ...]
    """Intents of which the data at hand has plenty."""


def parse_assist(source: str) -> str | None:
    """Return the setting of a source that names this data set, None for any other source.

    `assist` is `skewed`, `assist:SETTING` any of SETTINGS. Raises DataError for a setting that there is not.
    """
    name, colon, setting = source.partition(":")
    if name != ASSIST:
        return None
    if not colon:
        return "skewed"
    if setting not in SETTINGS:
        known = " or ".join(f"{ASSIST}:{known}" for known in SETTINGS)
        raise DataError(f"{source}: {ASSIST} has no setting {setting!r}. Write {known}; {ASSIST} alone is skewed.")
    return setting


def common_setting(sources: Iterable[str]) -> str | None:
    """Return the setting of the sources that name this data set, None if none does.

    Raises DataError if they name different settings: their parts are cut from one draw.
    """
    named = {setting: source for source in sources if (setting := parse_assist(source)) is not None}
    if len(named) > 1:
        raise DataError(
            f"{' and '.join(sorted(named.values()))} name different settings of {ASSIST}. Its parts "
            "are cut from one draw: name the same setting for usage, training data, pool and test."
        )
    return next(iter(named), None)


def assist_languages() -> tuple[str, ...]:
    """Return the languages of the grammars as BCP-47 tags, sorted."""
    return tuple(sorted(path.stem for path in _grammar_folder().glob("*.json")))


def assist_sentences(language: str, *, per_intent: int = SENTENCES_PER_INTENT, seed: int = 0) -> tuple[Example, ...]:
    """Walk one language's grammar at random and return its distinct sentences, at most `per_intent` of each intent.

    The label of an example is its intent; the response is the function call as compact JSON. Sentences with open
    wildcards (names of rooms and devices) are skipped. A sentence that two intents share is dropped: it has no one
    right answer. Raises LanguageError if there is no grammar for the language.
    """
    return _sentences(language, per_intent, seed)


def load_assist(
    language: str, *, setting: str = "skewed", seed: int = 0, retention_languages: Sequence[str] = ("en", "de", "es")
) -> AssistData:
    """Draw usage, data at hand, pool and tests for a target language under a documented setting [ours].

    Usage and tests hold the needed intents alone; the data at hand holds the known ones and, in the skewed setting,
    two rows of each needed intent; `pool_needed_share` of the pool's rows carry a needed intent. Tests in the
    retention languages share no sentence with the pool. Raises LanguageError for a language without a grammar,
    DataError where its grammar has too few sentences.
    """
    if setting not in SETTINGS:
        raise DataError(f"assist: unknown setting {setting!r}. Use one of: {', '.join(SETTINGS)}.")
    sizes = SETTINGS[setting]
    rng = random.Random(f"assist/{language}/{seed}")
    by_intent = _by_intent(assist_sentences(language, seed=seed))
    pool_languages = [tag for tag in POOL_LANGUAGES if tag != language]
    pool_by_language = {tag: _by_intent(assist_sentences(tag, seed=seed)) for tag in pool_languages}
    needed, known = _choose_intents(language, by_intent, pool_by_language, sizes)

    usage: list[Example] = []
    current: list[Example] = []
    test: list[Example] = []
    for intent in needed:
        rows = rng.sample(by_intent[intent], len(by_intent[intent]))
        cuts = _cut(rows, sizes.usage_per_intent, SETTINGS["skewed"].current_needed_per_intent, sizes.test_per_intent)
        usage += cuts[0]
        current += cuts[1][: sizes.current_needed_per_intent]
        test += cuts[2]
    for intent in known:
        current += rng.sample(by_intent[intent], min(sizes.current_per_other_intent, len(by_intent[intent])))

    tests = {language: tuple(_shuffled(test, rng))}
    pool: list[Example] = []
    for tag, intents in pool_by_language.items():
        own = random.Random(f"assist/{language}/{seed}/{tag}")
        held_out: list[Example] = []
        rest: dict[str, list[Example]] = {}
        for intent in sorted(intents):
            rows = own.sample(intents[intent], len(intents[intent]))
            taken = sizes.test_per_intent if tag in retention_languages and intent in needed else 0
            taken = min(taken, len(rows) // 2)
            held_out += rows[:taken]
            rest[intent] = rows[taken:]
        if tag in retention_languages:
            tests[tag] = tuple(_shuffled(held_out, own))
        pool += _pool_rows(rest, needed, sizes, own)
    order = {tag: i for i, tag in enumerate([language, *retention_languages])}
    return AssistData(
        usage=tuple(_shuffled(usage, rng)),
        current=tuple(_shuffled(current, rng)),
        pool=tuple(pool),
        tests=dict(sorted(tests.items(), key=lambda item: order[item[0]])),
        needed=tuple(needed),
        known=tuple(known),
    )


def _choose_intents(
    language: str,
    by_intent: Mapping[str, Sequence[Example]],
    pool_by_language: Mapping[str, Mapping[str, Sequence[Example]]],
    sizes: AssistSetting,
) -> tuple[list[str], list[str]]:
    """Split the target language's intents into needed and known ones by a rule that does not look at results.

    An intent can be needed if the grammar has enough sentences of it for usage, data and test, and if at least half
    of the pool's languages have it. The candidates are shuffled by a generator seeded with the language alone, so
    that every seed of a run asks for the same intents.
    """
    skewed = SETTINGS["skewed"]
    enough = sizes.usage_per_intent + skewed.current_needed_per_intent + sizes.test_per_intent
    spread = Counter(intent for intents in pool_by_language.values() for intent in intents)
    candidates = sorted(
        intent
        for intent, rows in by_intent.items()
        if len(rows) >= enough and spread[intent] * 2 >= len(pool_by_language)
    )
    if len(candidates) < sizes.needed_intents:
        raise DataError(
            f"assist: {language} has {len(candidates)} intents with at least {enough} sentences, the setting needs "
            f"{sizes.needed_intents}. Choose a language with a richer grammar, such as cy, ne, el, hi or zh-CN."
        )
    random.Random(f"assist/intents/{language}").shuffle(candidates)
    needed = candidates[: sizes.needed_intents]
    others = sorted((i for i in by_intent if i not in needed), key=lambda i: (-len(by_intent[i]), i))
    return needed, others[: sizes.other_intents]


def _pool_rows(
    rows_by_intent: Mapping[str, Sequence[Example]], needed: Sequence[str], sizes: AssistSetting, rng: random.Random
) -> list[Example]:
    """Draw the pool rows of one language with the share of needed intents that the setting names, even over intents."""
    relevant = _even_draw({i: rows for i, rows in rows_by_intent.items() if i in needed}, rng)
    other = _even_draw({i: rows for i, rows in rows_by_intent.items() if i not in needed}, rng)
    share = sizes.pool_needed_share
    total = min(sizes.pool_rows_per_language, int(len(other) / (1 - share)))
    n_relevant = min(len(relevant), round(total * share))
    return _shuffled(relevant[:n_relevant] + other[: total - n_relevant], rng)


def _even_draw(rows_by_intent: Mapping[str, Sequence[Example]], rng: random.Random) -> list[Example]:
    """Order rows so that every prefix is as even over the intents as it can be."""
    queues = [rng.sample(list(rows), len(rows)) for _, rows in sorted(rows_by_intent.items())]
    rounds = max((len(queue) for queue in queues), default=0)
    return [queue[i] for i in range(rounds) for queue in queues if i < len(queue)]


def _by_intent(examples: Sequence[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.label].append(example)
    return dict(groups)


def _cut(rows: Sequence[Example], *sizes: int) -> list[list[Example]]:
    cuts, start = [], 0
    for size in sizes:
        cuts.append(list(rows[start : start + size]))
        start += size
    return cuts


def _shuffled(rows: Sequence[Example], rng: random.Random) -> list[Example]:
    return rng.sample(list(rows), len(rows))


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
    from hassil.errors import HassilError
    from hassil.intents import Intents

    intents = Intents.from_dict(json.loads(path.read_text(encoding="utf-8")))
    calls: dict[str, dict[str, set[str]]] = {}
    for name, intent in sorted(intents.intents.items()):
        rng = random.Random(f"{seed}/{language}/{name}")
        templates = [(data, sentence) for data in intent.data for sentence in data.sentences]
        found: dict[str, str] = {}
        for _ in range(per_intent * WALKS_PER_SENTENCE if templates else 0):
            data, sentence = rng.choice(templates)
            walker = _Walker(intents, data, language, rng)
            try:
                text = " ".join(walker.walk(sentence.expression, 0).split())
            except (_DeadEnd, HassilError):
                continue
            text = unicodedata.normalize("NFC", text)
            slots = {**data.slots, **walker.slots}
            if text and text not in found:
                found[text] = _function_call(name, slots)
            if len(found) == per_intent:
                break
        for text, call in found.items():
            calls.setdefault(text, {}).setdefault(name, set()).add(call)
    examples: list[Example] = []
    for text, by_name in calls.items():
        if len(by_name) == 1:
            name, answers = next(iter(by_name.items()))
            label = _short(name)
            examples.append(
                Example(
                    id=f"assist/{language}/{label}/{len(examples)}",
                    prompt=text,
                    response=min(answers),
                    language=language,
                    label=label,
                    source="home-assistant-intents",
                )
            )
    return tuple(examples)


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
        from hassil.expression import Alternative, Group, ListReference, Permutation, RuleReference, TextChunk

        if depth > MAX_DEPTH:
            raise _DeadEnd
        if isinstance(expression, TextChunk):
            return str(expression.original_text)
        if isinstance(expression, Alternative):
            return self.walk(self._rng.choice(expression.items), depth + 1) if expression.items else ""
        if isinstance(expression, Permutation):
            items = self._rng.sample(expression.items, len(expression.items))
            return " ".join(self.walk(item, depth + 1) for item in items)
        if isinstance(expression, Group):
            return "".join(self.walk(item, depth + 1) for item in expression.items)
        if isinstance(expression, RuleReference):
            if expression.rule_name not in self._rules:
                raise _DeadEnd
            return self.walk(self._rules[expression.rule_name].expression, depth + 1)
        if isinstance(expression, ListReference):
            return self._value(expression, depth)
        raise _DeadEnd

    def _value(self, reference: Any, depth: int) -> str:
        from hassil.intents import RangeSlotList, TextSlotList

        if reference.is_inline_range:
            start, stop, step = reference.get_inline_range()
            number = self._rng.choice(range(start, stop + 1, step))
            return self._fill(reference, number, str(number))
        values = self._lists.get(reference.list_name)
        if reference.list_name in self._wildcards:
            raise _DeadEnd
        if isinstance(values, TextSlotList) and values.values:
            value = self._rng.choice(values.values)
            return self._fill(reference, value.value_out, self.walk(value.text_in, depth + 1))
        if isinstance(values, RangeSlotList) and values.digits:
            said: float = self._rng.choice(list(values.get_numbers()))
            meant = said if values.multiplier is None else said * values.multiplier
            return self._fill(reference, int(meant) if meant == int(meant) else meant, str(said))
        raise _DeadEnd

    def _fill(self, reference: Any, value: Any, text: str) -> str:
        self.slots[reference.slot_name] = value
        return f"{reference.prefix or ''}{text}{reference.suffix or ''}"
