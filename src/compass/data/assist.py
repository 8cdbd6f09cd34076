"""The embedded data set `assist`: home-assistant commands in 65 languages, with a function call as the response.

As a source it is named `assist`, or with one of its settings: `assist:disjoint`. Its sentences come from `grammars`.
The settings (`skewed`, `disjoint`, `mixed-usage`) and all sizes are our own choice [ours]; those of the first two were
fixed before any result was seen.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from compass.data.example import Example
from compass.data.grammars import assist_sentences
from compass.errors import DataError

ASSIST = "assist"
"""The name of the source."""
POOL_LANGUAGES = ("ar", "ca", "cs", "da", "de", "el", "en", "es", "fr", "hi", "hu", "it", "ko", "nl", "pl", "pt", "ro",
                  "ru", "th", "vi", "zh-CN")  # fmt: skip
"""Languages of the pool, less the target language: widely taught or spoken, none of them Celtic."""


@dataclass(frozen=True)
class AssistSetting:
    """How many rows of each kind a draw holds."""

    needed_intents: int = 6
    """Intents that usage asks for."""
    usage_per_intent: int = 6
    """Usage rows of each needed intent."""
    train_rows_per_needed_intent: int = 2
    """Training rows of each needed intent: 2 in the skewed setting, 0 in the disjoint one."""
    train_rows_per_known_intent: int = 10
    """Training rows of each known intent."""
    known_intents: int = 6
    """Intents that the training data covers well."""
    usage_asks_known: bool = False
    """Whether usage and tests ask for the known intents as they do for the needed ones."""
    test_per_intent: int = 25
    """Held-out usage rows of each needed intent."""
    pool_needed_share: float = 0.2
    """Share of the pool's rows that carry a needed intent: relevant rows are scarce in real pools."""
    pool_rows_per_language: int = 320
    """Rows of each pool language, at most."""


SETTINGS: Mapping[str, AssistSetting] = {
    "skewed": AssistSetting(),
    "disjoint": AssistSetting(train_rows_per_needed_intent=0),
    "mixed-usage": AssistSetting(usage_asks_known=True, test_per_intent=15),
}


@dataclass(frozen=True)
class AssistData:
    """One draw of the data set for a target language; no sentence is in two of its parts."""

    usage: tuple[Example, ...]
    train: tuple[Example, ...]
    pool: tuple[Example, ...]
    tests: Mapping[str, tuple[Example, ...]]
    """Held-out rows by test name: `<language>` for the target, and for each retention language."""
    needed: tuple[str, ...]
    """Intents that usage asks for and the training data (nearly) lacks."""
    known: tuple[str, ...]
    """Intents that the training data covers well."""


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


def load_assist(
    language: str, *, setting: str = "skewed", seed: int = 0, retention_languages: Sequence[str] = ("en", "de", "es")
) -> AssistData:
    """Draw usage, training data, pool and tests for a target language under a documented setting [ours].

    Usage and tests hold the needed intents alone, in `mixed-usage` the known ones as well. The training data holds the
    known ones and, but for the disjoint setting, two rows of each needed intent; `pool_needed_share` of the pool's rows
    carry a needed intent. Tests in the retention languages share no sentence with the pool. Raises LanguageError for a
    language without a grammar, DataError if its grammar has too few sentences.
    """
    if setting not in SETTINGS:
        raise DataError(f"assist: unknown setting {setting!r}. Use one of: {', '.join(SETTINGS)}.")
    sizes = SETTINGS[setting]
    by_intent = _by_intent(assist_sentences(language, seed=seed))
    pool_languages = [tag for tag in POOL_LANGUAGES if tag != language]
    pool_by_language = {tag: _by_intent(assist_sentences(tag, seed=seed)) for tag in pool_languages}
    needed, known = _choose_intents(language, by_intent, pool_by_language, sizes)

    usage, train, test = _target_rows(by_intent, needed, known, sizes, random.Random(f"assist/{language}/{seed}"))
    tests = {language: test}
    pool: list[Example] = []
    for tag, intents in pool_by_language.items():
        rng = random.Random(f"assist/{language}/{seed}/{tag}")
        asked = [*needed, *(known if sizes.usage_asks_known else ())]
        held_out, rest = _hold_out(intents, asked if tag in retention_languages else (), sizes, rng)
        if tag in retention_languages:
            tests[tag] = tuple(_shuffled(held_out, rng))
        pool += _pool_rows(rest, needed, sizes, rng)
    order = [tag for tag in (language, *retention_languages) if tag in tests]
    return AssistData(
        usage=usage,
        train=train,
        pool=tuple(pool),
        tests={tag: tests[tag] for tag in order},
        needed=tuple(needed),
        known=tuple(known),
    )


def _target_rows(
    by_intent: Mapping[str, Sequence[Example]],
    needed: Sequence[str],
    known: Sequence[str],
    sizes: AssistSetting,
    rng: random.Random,
) -> tuple[tuple[Example, ...], tuple[Example, ...], tuple[Example, ...]]:
    """Return usage, training data and test in the target language.

    All settings cut usage and test alike: the disjoint one leaves out the training rows that the skewed one takes.
    """
    usage: list[Example] = []
    train: list[Example] = []
    test: list[Example] = []
    for intent in needed:
        rows = _shuffled(by_intent[intent], rng)
        start = sizes.usage_per_intent
        stop = start + SETTINGS["skewed"].train_rows_per_needed_intent
        usage += rows[:start]
        train += rows[start:stop][: sizes.train_rows_per_needed_intent]
        test += rows[stop : stop + sizes.test_per_intent]
    for intent in known:
        rows = list(by_intent[intent])
        if sizes.usage_asks_known:
            asked = _shuffled(rows, rng)
            stop = sizes.usage_per_intent + sizes.test_per_intent
            usage += asked[: sizes.usage_per_intent]
            test += asked[sizes.usage_per_intent : stop]
            rows = asked[stop:]
        train += rng.sample(rows, min(sizes.train_rows_per_known_intent, len(rows)))
    in_test = tuple(_shuffled(test, rng))
    return tuple(_shuffled(usage, rng)), tuple(_shuffled(train, rng)), in_test


def _hold_out(
    by_intent: Mapping[str, Sequence[Example]], intents: Collection[str], sizes: AssistSetting, rng: random.Random
) -> tuple[list[Example], dict[str, list[Example]]]:
    """Split one pool language: test rows of some intents, at most half of each; and the rest by intent."""
    held_out: list[Example] = []
    rest: dict[str, list[Example]] = {}
    for intent in sorted(by_intent):
        rows = _shuffled(by_intent[intent], rng)
        taken = min(sizes.test_per_intent, len(rows) // 2) if intent in intents else 0
        held_out += rows[:taken]
        rest[intent] = rows[taken:]
    return held_out, rest


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
    owned = max(sizes.train_rows_per_known_intent if sizes.usage_asks_known else 0, skewed.train_rows_per_needed_intent)
    enough = sizes.usage_per_intent + owned + sizes.test_per_intent
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
    if sizes.usage_asks_known:
        # Usage and tests take rows of these too, so they are intents with enough.
        known = candidates[sizes.needed_intents :][: sizes.known_intents]
        if len(known) < sizes.known_intents:
            raise DataError(
                f"assist: {language} has {len(candidates)} intents with at least {enough} sentences, mixed-usage needs "
                f"{sizes.needed_intents + sizes.known_intents}. Choose a language with a richer grammar, such as cy."
            )
        return needed, known
    others = sorted((i for i in by_intent if i not in needed), key=lambda i: (-len(by_intent[i]), i))
    return needed, others[: sizes.known_intents]


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


def _shuffled(rows: Sequence[Example], rng: random.Random) -> list[Example]:
    return rng.sample(list(rows), len(rows))
