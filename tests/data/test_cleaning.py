"""What is dropped, what stays, and that neither depends on order or chance."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compass.data.cleaning import Cleaned, clean, decontaminate
from compass.data.cleaning.decontamination import ngrams
from compass.data.cleaning.duplicates import find_near_duplicates, fold, shingle_hashes
from compass.data.example import Example, Message
from compass.engines import working_on

WELSH = "Genir pawb yn rhydd ac yn gydradd â'i gilydd mewn urddas a hawliau."
ENGLISH = "All human beings are born free and equal in dignity and rights."


def rows(*prompts: str, response: str = "", language: str = "und") -> list[Example]:
    return [Example(id=str(i), prompt=p, response=response, language=language) for i, p in enumerate(prompts)]


def kept(cleaned: Cleaned) -> list[str]:
    return [example.id for example in cleaned.examples]


def shingles(text: str, size: int) -> set[str]:
    text = fold(text).ljust(size, "\0")
    return {text[i : i + size] for i in range(len(text) - size + 1)}


def shingle_size(text: str) -> int:
    han = sum("\u4e00" <= c <= "\u9fff" for c in text)
    return 3 if han > sum(c in string.ascii_lowercase for c in text) else 5


def jaccard(a: str, b: str, size: int = 5) -> float:
    one, other = shingles(a, size), shingles(b, size)
    return len(one & other) / len(one | other)


def test_private_data_is_replaced_after_the_comparisons() -> None:
    """A leaked row would not be found, or two callers be taken for one; or the count would say nothing."""
    texts = ("ring 029 2087 0000", "ring 029 2087 0001", "ring the bell", "mail a@b.org")
    examples = [Example(str(i), text, "ok", "cy") for i, text in enumerate(texts)]
    cleaned = clean(examples, against=rows("Mail a@b.org!"), check_language=False, near_duplicates=1.0, redact=True)
    assert [row.prompt for row in cleaned.examples] == ["ring [PHONE]", "ring [PHONE]", "ring the bell"]
    assert cleaned.to_dict() == {"kept": 3, "dropped": {"overlap": 1}, "redacted": 2}
    assert clean(examples, check_language=False, near_duplicates=1.0).examples == tuple(examples)


def test_empty_and_oversize() -> None:
    """Empty rows would be trained on, or the counts would not say what went."""
    examples = [*rows("  ", "a", "b" * 11), Example("r", "a", response="c" * 9), Example("s", "d", response=" ")]
    cleaned = clean(examples, max_chars=10)
    assert kept(cleaned) == ["1", "r", "s"]
    assert cleaned.to_dict() == {"kept": 3, "dropped": {"empty": 1, "oversize": 1}}
    assert [(d.id, d.reason) for d in cleaned.dropped] == [("0", "empty"), ("2", "oversize")]
    assert clean(examples, max_chars=10, require_response=True).counts["no response"] == 3


def test_list_is_bounded_but_counts_are_not() -> None:
    """A row would be dropped and nobody could say which."""
    cleaned = clean([replace(row, place=f"a.jsonl, line {row.id}") for row in rows(*[" "] * 305)])
    assert [row.place for row in cleaned.dropped] == [f"a.jsonl, line {i}" for i in range(305)]
    assert cleaned.counts == {"empty": 305}


def test_exact_duplicates() -> None:
    """Copies that differ in case, spacing or normal form would stay; the same question in another context would go."""
    examples = rows("Golau  ymlaen", "golau ymlaen\n", "Cafe\u0301 du", "CAFÉ du", "golau ymlaen")
    examples[1] = replace(examples[1], language="cy")
    examples[4] = replace(examples[4], context=(Message("user", "Hi"),))
    cleaned = clean(examples)
    assert kept(cleaned) == ["1", "2", "4"]
    assert cleaned.counts == {"duplicate": 2}
    assert {(d.id, d.detail) for d in cleaned.dropped} == {("0", "the same as 1"), ("3", "the same as 2")}


def test_same_prompt_with_another_response_stays() -> None:
    """Second answers to one question would be lost."""
    assert len(clean([Example("a", "Beth?", response="x"), Example("b", "Beth?", response="y")]).examples) == 2


def sentences(seed: int, n: int) -> list[str]:
    """Return texts of which many are edits of an earlier one, in Latin letters and in Han."""
    rng = random.Random(seed)
    han = [chr(c) for c in range(0x4E00, 0x4E80)]
    texts: list[str] = []
    while len(texts) < n:
        letters = han if len(texts) % 3 == 0 else list(string.ascii_lowercase) + [" "] * 6
        text = list(rng.choice(texts)) if texts and rng.random() < 0.6 else [rng.choice(letters) for _ in range(80)]
        for _ in range(rng.randint(0, 3)):
            text[rng.randrange(len(text))] = rng.choice(letters)
        texts.append("".join(text))
    return texts


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_near_duplicates_against_brute_force(threshold: float) -> None:
    """Pairs would be missed or wrongly dropped: all pairs of what stays, and each dropped row, are compared in sets."""
    examples = rows(*sentences(1, 300))
    cleaned = clean(examples, near_duplicates=threshold, check_language=False)
    texts = {e.id: e.prompt for e in examples}
    dropped = [d for d in cleaned.dropped if d.reason == "near duplicate"]
    assert len(dropped) > 20
    for row in dropped:
        other = row.detail.split()[1]
        size = shingle_size(texts[row.id])
        assert other in kept(cleaned)
        assert jaccard(texts[row.id], texts[other], size) >= threshold
    left = list(cleaned.examples)
    missed = 0
    for i, one in enumerate(left):
        size = shingle_size(one.prompt)
        missed += sum(jaccard(one.prompt, other.prompt, size) >= threshold for other in left[i + 1 :])
    # a pair at the threshold is missed with a probability below 0.01
    assert missed <= 0.02 * len(dropped)


@pytest.mark.parametrize("size", [1, 20, 1000])
def test_near_duplicates_are_the_same_however_rows_are_cut(size: int) -> None:
    """Rows that lie in different blocks would not be held against each other, or against one that goes."""
    examples = rows(*sentences(2, 300))
    here = find_near_duplicates(examples, 0.8)
    blocks: list[int] = []

    class Elsewhere:
        block_rows, part_bytes = size, 1

        def map(self, work: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
            for part in parts:
                blocks.append(len(part[0]) if isinstance(part, tuple) else 0)
                yield work(part)

    with working_on(Elsewhere()):
        assert find_near_duplicates(examples, 0.8) == here
    assert len(here) > 20
    assert (sum(n > 0 for n in blocks) > 1) == (size < 100)


def test_rows_that_have_nothing_in_common_are_no_near_duplicates() -> None:
    assert find_near_duplicates(rows("ab", "cd", "ef"), 0.8) == {}
    assert find_near_duplicates(rows("", "", "x"), 0.8).keys() == {1}


def test_near_duplicates_need_both_texts() -> None:
    """Sums with other numbers and other answers, or short commands with one long answer, would be thrown together."""
    prompt = "Janet has {} ducks that lay three eggs each day, and sells them at the market for two dollars an egg."
    a, b = Example("a", prompt.format(16), response="eighteen dollars"), Example("b", prompt.format(17), response="19")
    assert jaccard(a.prompt, b.prompt) > 0.85
    assert len(clean([a, b], near_duplicates=0.85).examples) == 2
    assert len(clean([a, replace(b, response=a.response)], near_duplicates=0.85).examples) == 1
    long = "{}" * 100
    assert (
        len(clean([Example("a", "Licht aan", response=long), Example("b", "Lights on", response=long)]).examples) == 2
    )
    assert len(clean([a, replace(b, response=a.response)], near_duplicates=1.0).examples) == 2


def test_hashes_are_the_same_in_every_process() -> None:
    """A seeded string hash would let two runs drop different rows. The expected value is computed in plain integers."""
    hashes, offsets = shingle_hashes(["ABCDEF", "ab", "开"])
    assert offsets.tolist() == [0, 2, 3, 4]

    def mix(value: int) -> int:
        mask = 2**64 - 1
        value = (value + 0x9E3779B97F4A7C15) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return value ^ (value >> 31)

    def expected(text: str) -> int:
        total = sum(ord(c) * (mix(i) | 1) for i, c in enumerate(text, 1))
        return mix((total + len(text)) % 2**64)

    assert hashes.tolist() == [expected(t) for t in ("abcde", "bcdef", "ab\0\0\0", "开\0\0")]
    assert hashes.dtype == np.uint64


def test_wrong_language() -> None:
    """Mistagged rows would teach the wrong language, or good rows would go: short, unknown, or in another script."""
    examples = [
        Example("right", WELSH, language="cy"),
        Example("wrong", ENGLISH, language="cy"),
        Example("close", "Sva ljudska bića rađaju se slobodna i jednaka u dostojanstvu i pravima.", language="bs"),
        Example("short", "Turn off", language="cy"),
        Example("untagged", ENGLISH + "!"),
        Example("unknown to it", ENGLISH + "?", language="kw"),
        Example(
            "other script", "sabhi manushya swatantra paida hote hain aur adhikar mein saman hain", language="hi-Latn"
        ),
        Example(
            "region",
            "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
            language="zh-TW",
        ),
    ]
    cleaned = clean(examples, near_duplicates=1.0)
    assert [(d.id, d.reason) for d in cleaned.dropped] == [("wrong", "wrong language")]
    assert cleaned.dropped[0].detail.startswith("tagged cy, reads as en")
    assert not clean(examples, near_duplicates=1.0, check_language=False).counts


def test_wrong_language_goes_before_duplicates() -> None:
    """The mistagged copy of a row would stay and the right one would go as its duplicate."""
    assert kept(clean([Example("a", ENGLISH, language="cy"), Example("b", ENGLISH, language="en")])) == ["b"]


LONG = "what is the name of the river that flows through the middle of the old town"


def test_shared_ngrams() -> None:
    """A test question inside a pool row (prompt, context or response) would be trained on."""
    against = [Example("test", LONG)]
    eight, seven = " ".join(LONG.split()[3:11]), " ".join(LONG.split()[3:10])
    examples = [
        Example("prompt", f"Answer me: {eight.upper()}, please."),
        Example("response", "q", response=f"You asked {eight}?"),
        Example("context", "q", context=(Message("user", eight.replace(" ", ", ")),)),
        Example("seven", f"so {seven} or"),
    ]
    cleaned = decontaminate(examples, against)
    assert kept(cleaned) == ["seven"]
    assert cleaned.counts == {"overlap": 3}
    assert cleaned.dropped[0].detail == "8 words in a row of test", "no text is quoted: the detail is kept in a file"
    assert kept(decontaminate(examples, against, ngram=7)) == []


def test_short_texts_overlap_only_when_the_same() -> None:
    """A test of short commands would leak, or would empty the pool of every row that holds its words."""
    cleaned = decontaminate(
        rows("Golau ymlaen!", "golau ymlaen", "Rho'r golau ymlaen", "ymlaen"), rows("golau, YMLAEN")
    )
    assert kept(cleaned) == ["2", "3"]


def test_responses_of_the_test_do_not_count() -> None:
    """Function calls are alike in all rows of an intent: the pool would lose every needed intent."""
    call = '{"intent":"TurnOn","area":"kitchen","domain":"light","brightness":50,"colour":"red","floor":1,"name":"x"}'
    assert not decontaminate(rows("Licht an", response=call), rows("golau ymlaen", response=call)).counts


@pytest.mark.parametrize(
    ("held_out", "size"),
    [
        ("人人生而自由在尊严和权利上一律平等他们赋有理性和良心", 16),
        ("มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิต่างมีเหตุผล", 32),
    ],
)
def test_overlap_without_spaces(held_out: str, size: int) -> None:
    """Chinese and Thai texts, one 'word' each, would never overlap; or a shared name would be enough."""
    against = rows(held_out)
    inside = "Translate: " + held_out[2 : 2 + size] + "!"
    below = "Translate: " + held_out[2 : 1 + size] + "!"
    assert kept(decontaminate(rows(inside, below), against)) == ["1"]


def test_marks_are_letters() -> None:
    """Devanagari would fall apart at its vowel signs, so that eight 'words' would be three."""
    text = "मेरो बैठक कोठाको बत्ती बालिदेऊ न है त भोलि"
    three = "मेरो बैठक कोठाको पंखा"
    assert kept(decontaminate(rows(three), rows(text))) == ["0"]
    assert list(ngrams(text, 9)) == [text]


def test_templates_do_not_count() -> None:
    """A fixed instruction around every test question would empty the pool; rarer text than that is still a leak."""
    template = "Answer the following question with one letter and nothing else:"
    eleven = rows(*(f"{template} {i}" for i in range(11)))
    pool = rows(f"{template} something new", f"{template} 3")
    assert kept(decontaminate(pool, eleven)) == ["0"]
    assert kept(decontaminate(pool, eleven[:10])) == []


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["Golau ymlaen", "golau  ymlaen", WELSH, WELSH + "!", WELSH.replace("rhydd", "rydd"), ENGLISH]),
        st.text(max_size=40),
        st.sampled_from(sentences(2, 40)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(texts=TEXTS, seed=st.integers(0, 99))
def test_idempotent_and_free_of_order(texts: list[str], seed: int) -> None:
    """A second pass would drop more, or the pool's files in another order would give other rows."""
    examples = [replace(e, language="cy" if i % 2 else "und") for i, e in enumerate(rows(*texts))]
    once = clean(examples, near_duplicates=0.7, against=rows(ENGLISH))
    again = clean(once.examples, near_duplicates=0.7, against=rows(ENGLISH))
    assert again.examples == once.examples
    assert not again.counts
    assert len(once.examples) + sum(once.counts.values()) == len(examples)
    random.Random(seed).shuffle(examples)
    other = clean(examples, near_duplicates=0.7, against=rows(ENGLISH))
    assert set(kept(other)) == set(kept(once))
    assert other.counts == once.counts
    assert kept(other) == [e.id for e in examples if e.id in set(kept(other))]
