"""Prompts of OneRuler, and the largest one within a number of tokens."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

from compass.errors import DataError
from compass.evaluation.lm_eval.oneruler.material import Material
from compass.evaluation.lm_eval.oneruler.variants import COMMON_WORDS, DEPTHS, Needles

CountTokens = Callable[[Sequence[str]], list[int]]
"""Texts -> tokens of each, by the tokenizer of the model, without special tokens."""

UNSPACED = ("zh", "ja")
"""Languages whose sentences are joined without a space."""

FULL_STOPS = {"zh": "。", "ja": "。", "fa": "۔"}


def needle_prompt(
    material: Material, language: str, needles: Needles, n_sentences: int, rng: random.Random
) -> tuple[str, list[str]]:
    """Return a prompt with its needles in the first `n_sentences` of the book (again from its start where it ends),
    and the right answers."""
    wording, sentences = material.prompts(language), material.sentences(language)
    nouns = material.nouns(language)
    names = rng.sample(nouns, needles.keys + 1)
    keys, absent = names[:-1], names[-1]
    numbers = iter(rng.sample(range(10**6, 10**7), needles.keys * needles.values))
    values = {key: [str(next(numbers)) for _ in range(needles.values)] for key in keys}
    stop = FULL_STOPS.get(language, ".")
    hidden = [
        wording["needle_numbers"].format(key=key, value=value).rstrip() + stop for key in keys for value in values[key]
    ]
    rng.shuffle(hidden)
    book = [sentences[i % len(sentences)] for i in range(n_sentences)]
    cuts = [0, *sorted(int(n_sentences * depth / 100) for depth in rng.sample(DEPTHS, len(hidden))), n_sentences]
    parts: list[str] = []
    for i, (start, end) in enumerate(pairwise(cuts)):
        parts += book[start:end] + hidden[i : i + 1]
    asked = rng.sample(keys, needles.queries) if needles.answerable else [absent]
    space = "" if language in UNSPACED else " "
    kind = "single" if needles.queries == 1 else "multi"
    question = [wording[f"question_{kind}_numbers"], wording["please_list"], wording["if_no_numbers"]]
    answer = [wording["answer_prefix"], wording["answer_numbers"]]
    template = wording["task"] + space.join(question) + space.join(answer)
    queries = {f"query{i}": key for i, key in enumerate(asked, 1)}
    text = template.format(context=space.join(parts), **queries)
    return text, [value for key in asked for value in values[key]] if needles.answerable else [wording["none"]]


def word_prompt(
    material: Material, language: str, frequencies: tuple[int, int], n_words: int, rng: random.Random
) -> tuple[str, list[str]]:
    """Return a prompt with a list of `n_words` different words, and the ten that stand there most often."""
    words = rng.sample(material.words(language), n_words)
    common, others = words[:COMMON_WORDS], words[COMMON_WORDS:]
    listed = common * frequencies[0] + others * frequencies[1]
    rng.shuffle(listed)
    context = " ".join(f"{i}. {word}" for i, word in enumerate(listed, 1))
    return material.word_prompt(language).format(context=context, query=""), common


def largest_that_fits(
    make: Callable[[int, random.Random], tuple[str, list[str]]],
    draw: str,
    room: int,
    least: int,
    most: float,
    start: int,
    count_tokens: CountTokens,
) -> tuple[int, str, list[str], int]:
    """Return the largest prompt within `room` tokens: its size (sentences or words), text, answers and tokens.

    Looks around `start`, since rows of one task are of about one size. Raises DataError if the smallest is too large.
    """
    made: dict[int, tuple[str, list[str], int]] = {}

    def tokens(size: int) -> int:
        if size not in made:
            text, outputs = make(size, random.Random(draw))
            made[size] = (text, outputs, count_tokens([text])[0])
        return made[size][2]

    if tokens(least) > room:
        raise DataError(f"The shortest prompt of {draw} has {tokens(least)} tokens, and there is room for {room}.")
    low = high = int(min(max(start, least), most))
    step = max(1, low // 50)
    if tokens(low) <= room:
        while low < most and tokens(high := int(min(low + step, most))) <= room:
            low, step = high, 2 * step
        if low == most:
            return low, *made[low]
    else:
        while tokens(low := max(high - step, least)) > room:
            high, step = low, 2 * step
    # Now low fits and high does not.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tokens(middle) <= room else (low, middle)
    return low, *made[low]
