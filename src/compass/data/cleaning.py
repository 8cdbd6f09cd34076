"""What is dropped from a set of examples before anything is learnt from it, and why.

The steps, in order: empty, oversize, wrong language, exact duplicates, near duplicates, overlap with held-out texts.
Last, if asked for, private data in the rows that stay is replaced: the comparisons before need the texts as they came.
No step draws at random, and none depends on the order of the rows: which of several duplicates stays is decided by tag,
id and text. The rows that stay keep their order. All thresholds and rules here are our own choice [ours].
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.data.example import Example
from compass.data.identify import can_identify, language_confidences
from compass.data.languages import UNDETERMINED, same_language
from compass.data.redaction import redact_example
from compass.data.scripts import CHARACTERS_PER_WORD, is_mostly_unspaced, unspaced_kind

logger = logging.getLogger(__name__)

EMPTY, NO_RESPONSE, OVERSIZE = "empty", "no response", "oversize"
WRONG_LANGUAGE = "wrong language"
DUPLICATE, NEAR_DUPLICATE = "duplicate", "near duplicate"
OVERLAP, TRANSLATION = "overlap", "translation of a held-out row"

LISTED_PER_REASON = 200
"""Dropped rows that a result lists for each reason; the counts are complete."""

LANGUAGE_MIN_LETTERS = 30
LANGUAGE_TOP = 0.95
LANGUAGE_OWN = 0.001
"""A row is in the wrong language if it has this many letters, another language has this much of the confidence or more,
and its own this little or less. Of rows with the right tag that drops 0.2 % in SIB-200 and 1 in 8,000 assistant
commands; of sentences with the tag of another language it finds 97 %, of commands, most of them too short, 13 %."""

CLOSE_LANGUAGES = (
    frozenset({"bs", "hr", "sr"}),
    frozenset({"id", "ms"}),
    frozenset({"da", "nb", "nn", "no"}),
    frozenset({"cs", "sk"}),
    frozenset({"bg", "mk"}),
    frozenset({"xh", "zu"}),
)
"""Languages whose texts trigrams take for one another with full confidence: none of them contradicts another's tag."""

TEMPLATE_TEXTS = 10
TEMPLATE_SHARE = 0.01
"""An n-gram in more held-out texts than both of these is a template (`answer with one letter ...`), not a leak."""

_PERMUTATIONS = 128
_SEED = 42
_SHINGLE, _SHINGLE_UNSPACED = 5, 3
_RECALL = 0.99
_MOST_COMPARED = 100
_CHUNK = 4096

UInt64s = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Dropped:
    """A row that was dropped: its id, one of the reasons above, and what it was held against."""

    id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Cleaned:
    """The rows that stay, in their order, and what was dropped."""

    examples: tuple[Example, ...]
    dropped: tuple[Dropped, ...] = ()
    """The first rows dropped for each reason, at most LISTED_PER_REASON of each."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Rows dropped, by reason: all of them."""
    redacted: int = 0
    """Rows that stay with private data replaced."""

    def to_dict(self) -> dict[str, Any]:
        """Return `{"kept": n, "dropped": {reason: n}, "redacted": n}`, the last only where it is not 0."""
        found: dict[str, Any] = {"kept": len(self.examples), "dropped": dict(self.counts)}
        return {**found, "redacted": self.redacted} if self.redacted else found


def clean(
    examples: Iterable[Example],
    *,
    max_chars: int = 8000,
    duplicates: bool = True,
    near_duplicates: float = 0.9,
    check_language: bool = True,
    high_accuracy: bool = False,
    require_response: bool = False,
    against: Sequence[Example] = (),
    ngram: int = 8,
    redact: bool = False,
    name: str = "",
) -> Cleaned:
    """Drop what should not be trained on or measured with.

    max_chars: longest prompt and response together. duplicates: drop repeats of a row; False keeps them, where they are
    frequencies. near_duplicates: Jaccard similarity of character shingles from
    which two rows are near duplicates, in prompt and in response; 1 is off. check_language: compare tags with what
    identification finds (high_accuracy: with the large models). require_response: a row without one is dropped.
    against: held-out examples, see `decontaminate`. redact: replace private data, see `redaction`. name: what the log
    calls these rows. Raises LanguageError for an unknown tag, MissingExtraError if redaction is asked for and its
    packages are missing.
    """
    steps: list[_Step] = [
        lambda rows: _empty(rows, require_response),
        lambda rows: _oversize(rows, max_chars),
    ]
    if check_language:
        steps.append(lambda rows: _wrong_language(rows, high_accuracy))
    if duplicates:
        steps.append(_duplicates)
    if near_duplicates < 1.0:
        steps.append(lambda rows: _near_duplicates(rows, near_duplicates))
    if against:
        steps.append(lambda rows: _overlap(rows, against, ngram))
    cleaned = _apply(examples, steps, name)
    return _redacted(cleaned) if redact else cleaned


def _redacted(cleaned: Cleaned) -> Cleaned:
    rows = tuple(map(redact_example, cleaned.examples))
    changed = sum(new != old for new, old in zip(rows, cleaned.examples, strict=True))
    logger.info("Private data was replaced in %d rows", changed)
    return replace(cleaned, examples=rows, redacted=changed)


def decontaminate(examples: Iterable[Example], against: Sequence[Example], ngram: int = 8) -> Cleaned:
    """Drop the examples that share a prompt, an n-gram of `ngram` words or a `parallel_id` with those of `against`.

    A `parallel_id` in common makes an example in another language the translation of a held-out one, whose answer it
    gives away.
    Compared are letters and digits, case folded, in NFC. An example overlaps if its prompt or a turn of its context is
    the same text as a held-out prompt (the only rule for prompts shorter than an n-gram), or if any of its texts, the
    response too, holds an n-gram of one. In scripts without spaces an n-gram is 2 · ngram characters of Han or kana
    and 4 · ngram of Thai, Lao, Khmer, Burmese or Tibetan. N-grams of more than ten held-out texts (and more than 1 %
    of them) are templates and do not count; GPT-3's filter has the same rule (arXiv 2005.14165, appendix C).
    """
    return _apply(examples, [lambda rows: _overlap(rows, against, ngram)])


_Step = Callable[[Sequence[Example]], dict[int, tuple[str, str]]]
"""Rows to (reason, detail) by index of the dropped ones."""


def _apply(examples: Iterable[Example], steps: Iterable[_Step], name: str = "") -> Cleaned:
    rows: Sequence[Example] = list(examples)
    counts: Counter[str] = Counter()
    listed: list[Dropped] = []
    for step in steps:
        found = step(rows)
        for index in sorted(found):
            reason, detail = found[index]
            counts[reason] += 1
            if counts[reason] <= LISTED_PER_REASON:
                listed.append(Dropped(rows[index].id, reason, detail))
        if found:
            rows = [row for index, row in enumerate(rows) if index not in found]
    logger.info("Cleaning%s kept %d rows; dropped: %s", f" {name}" * bool(name), len(rows), dict(counts) or "none")
    return Cleaned(tuple(rows), tuple(listed), dict(counts))


# -- empty, oversize, wrong language -----------------------------------------------------------------------------------


def _empty(rows: Sequence[Example], require_response: bool) -> dict[int, tuple[str, str]]:
    found = {}
    for index, row in enumerate(rows):
        if not row.prompt.strip():
            found[index] = (EMPTY, "the prompt is empty")
        elif require_response and not row.response.strip():
            found[index] = (NO_RESPONSE, "the response is empty")
    return found


def _oversize(rows: Sequence[Example], max_chars: int) -> dict[int, tuple[str, str]]:
    sizes = ((index, len(row.prompt) + len(row.response)) for index, row in enumerate(rows))
    return {i: (OVERSIZE, f"{size} characters, at most {max_chars}") for i, size in sizes if size > max_chars}


def _wrong_language(rows: Sequence[Example], high_accuracy: bool) -> dict[int, tuple[str, str]]:
    judged = [index for index, row in enumerate(rows) if _can_judge(row.language)]
    texts = [rows[index].prompt for index in judged]
    rankings = language_confidences(texts, min_letters=LANGUAGE_MIN_LETTERS, high_accuracy=high_accuracy)
    found = {}
    for index, ranking in zip(judged, rankings, strict=True):
        if not ranking:
            continue
        tag = rows[index].language
        best = max(ranking, key=ranking.__getitem__)
        own = max((share for known, share in ranking.items() if _may_be(tag, known)), default=0.0)
        if ranking[best] >= LANGUAGE_TOP and own <= LANGUAGE_OWN:
            found[index] = (WRONG_LANGUAGE, f"tagged {tag}, reads as {best} ({ranking[best]:.2f})")
    return found


@lru_cache(maxsize=4096)
def _may_be(tag: str, known: str) -> bool:
    """Say whether what identification found does not contradict a tag."""
    close = {tag.split("-")[0], known.split("-")[0]}
    return same_language(tag, known) or any(close <= group for group in CLOSE_LANGUAGES)


def _can_judge(tag: str) -> bool:
    """Say whether identification can contradict a tag: a language it knows, in the language's usual script."""
    has_script = tag.count("-") > 0 and len(tag.split("-")[1]) == 4 and not tag.startswith("zh")
    return tag != UNDETERMINED and not has_script and can_identify(tag)


# -- duplicates --------------------------------------------------------------------------------------------------------


def fold(text: str) -> str:
    """Return a text in NFC, case folded, with single spaces: what counts as the same text."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(text.casefold().split())


def _whole_prompt(row: Example) -> str:
    return "\n".join((*(turn.content for turn in row.context), row.prompt)) if row.context else row.prompt


def _duplicates(rows: Sequence[Example]) -> dict[int, tuple[str, str]]:
    """Find rows with the same prompt, context and response; one with a tag stays before one without, then by id."""
    kept: dict[bytes, int] = {}
    found = {}
    for index, row in enumerate(rows):
        text = f"{fold(_whole_prompt(row))}\0{fold(row.response)}"
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        first = kept.setdefault(key, index)
        if first == index:
            continue
        stays, goes = sorted((first, index), key=lambda i: (rows[i].language == UNDETERMINED, rows[i].id))
        kept[key] = stays
        found[goes] = key
    return {index: (DUPLICATE, f"the same as {rows[kept[key]].id}") for index, key in found.items()}


def _near_duplicates(rows: Sequence[Example], threshold: float) -> dict[int, tuple[str, str]]:
    """Find near duplicates greedily, longest text first: each row is held against the rows that stay.

    Candidates come from locality-sensitive hashing of MinHash signatures of the prompts; the Jaccard similarity that
    decides is exact. Of more than 100 candidates, those that share most bands are compared.
    """
    keys = _band_keys([_whole_prompt(row) for row in rows], threshold)
    distinct, inverse, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    shared = (sizes > 1)[inverse].reshape(keys.shape)
    del distinct, inverse, sizes
    order = sorted(np.flatnonzero(shared.any(axis=1)).tolist(), key=lambda i: _canonical(rows[i]))
    rank = {index: position for position, index in enumerate(order)}
    buckets: defaultdict[int, list[int]] = defaultdict(list)
    found = {}
    for index in order:
        own = keys[index][shared[index]].tolist()
        votes = Counter(other for key in own for other in buckets.get(key, ()))
        best = sorted(votes, key=lambda other: (-votes[other], rank[other]))[:_MOST_COMPARED]
        for other in best:
            similarity = _similarity(rows[index], rows[other], threshold)
            if similarity >= threshold:
                found[index] = (NEAR_DUPLICATE, f"like {rows[other].id} (Jaccard {similarity:.2f})")
                break
        else:
            for key in own:
                buckets[key].append(index)
    return found


def _canonical(row: Example) -> tuple[int, bool, str, str, str]:
    return (-len(row.prompt) - len(row.response), row.language == UNDETERMINED, row.prompt, row.response, row.id)


def _similarity(a: Example, b: Example, threshold: float) -> float:
    """Return the smaller of the Jaccard similarities of prompts and of responses, or 0 below the threshold."""
    similarity = 1.0
    for one, other in ((_whole_prompt(a), _whole_prompt(b)), (a.response, b.response)):
        similarity = min(similarity, _jaccard(one, other))
        if similarity < threshold:
            return 0.0
    return similarity


def _jaccard(one: str, other: str) -> float:
    if one == other:
        return 1.0
    first, second = (np.unique(_shingles([text])[0]) for text in (one, other))
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


def _band_keys(texts: Sequence[str], threshold: float) -> UInt64s:
    """Return (n, bands) hashes; two texts are candidates when they agree in one of them."""
    from rensa import RMinHash

    size = _rows_per_band(threshold)
    bands = _PERMUTATIONS // size
    weights = _odd_numbers(size)
    keys = np.empty((len(texts), bands), dtype=np.uint64)
    for start in range(0, len(texts), _CHUNK):
        hashes, offsets = _shingles(texts[start : start + _CHUNK])
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, _PERMUTATIONS, _SEED)
        rows = np.asarray(matrix.to_rows(), dtype=np.uint64).reshape(-1, bands, size)
        keys[start : start + len(rows)] = _mix((rows * weights).sum(axis=2) + np.arange(bands, dtype=np.uint64))
    return keys


def _rows_per_band(threshold: float) -> int:
    """Return the longest band that still finds a pair at the threshold with a probability of 0.99."""
    sizes = [size for size in (32, 16, 8, 4, 2) if 1 - (1 - threshold**size) ** (_PERMUTATIONS // size) >= _RECALL]
    return sizes[0] if sizes else 1


def _shingles(texts: Sequence[str]) -> tuple[UInt64s, npt.NDArray[np.int64]]:
    """Return (hashes of all shingles, row offsets): 5 characters, or 3 in scripts without spaces, folded.

    A text shorter than a shingle is one shingle. The hash is a polynomial of the code points, so it is the same in
    every process.
    """
    folded = [fold(text) for text in texts]
    sizes = np.array([_SHINGLE_UNSPACED if is_mostly_unspaced(text) else _SHINGLE for text in folded], dtype=np.int64)
    padded = [text.ljust(size, "\0") for text, size in zip(folded, sizes.tolist(), strict=True)]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    ends = np.cumsum(lengths)
    room = np.repeat(ends, lengths) - np.arange(len(codes))
    of_row = np.repeat(sizes, lengths)
    hashes = np.zeros(len(codes), dtype=np.uint64)
    for size in (_SHINGLE, _SHINGLE_UNSPACED):
        windows = np.zeros(len(codes), dtype=np.uint64)
        for position, weight in enumerate(_odd_numbers(size)):
            windows[: max(0, len(codes) - position)] += codes[position:] * weight
        hashes = np.where(of_row == size, _mix(windows + np.uint64(size)), hashes)
    offsets = np.concatenate(([0], np.cumsum(lengths - sizes + 1)))
    return hashes[room >= of_row], offsets


def _odd_numbers(size: int) -> UInt64s:
    """Return fixed odd 64-bit weights, no two alike."""
    return _mix(np.arange(1, size + 1, dtype=np.uint64)) | np.uint64(1)


def _mix(values: UInt64s) -> UInt64s:
    """Scramble 64-bit integers (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


# -- overlap with held-out texts ---------------------------------------------------------------------------------------


def _overlap(rows: Sequence[Example], against: Sequence[Example], ngram: int) -> dict[int, tuple[str, str]]:
    texts, grams = _index(against, ngram)
    parallel = {(row.parallel_id, row.language): row.id for row in against if row.parallel_id}
    languages = {row.language for row in against}
    found = {}
    for index, row in enumerate(rows):
        others = ((row.parallel_id, language) for language in languages if language != row.language)
        translated = next((parallel[key] for key in others if key in parallel), None) if row.parallel_id else None
        if translated is not None:
            found[index] = (TRANSLATION, f"parallel_id {row.parallel_id}, as {translated}")
            continue
        turns = [row.prompt, *(turn.content for turn in row.context)]
        same = next((texts[text] for text in map(_letters, turns) if text in texts), None)
        if same is not None:
            found[index] = (OVERLAP, f"the same text as {same}")
            continue
        shared = next((gram for text in (*turns, row.response) for gram in _ngrams(text, ngram) if gram in grams), None)
        if shared is not None:
            found[index] = (OVERLAP, f"shares {shared!r} with {grams[shared]}")
    return found


def _index(against: Sequence[Example], ngram: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return (held-out texts, their n-grams that are no templates), each with the smallest id that has it."""
    texts: dict[str, str] = {}
    for row in against:
        text = _letters(row.prompt)
        texts[text] = min(row.id, texts.get(text, row.id))
    texts.pop("", None)
    grams: dict[str, str] = {}
    spread: Counter[str] = Counter()
    for text, name in texts.items():
        own = set(_ngrams(text, ngram))
        spread.update(own)
        for gram in own:
            grams[gram] = min(name, grams.get(gram, name))
    most = max(TEMPLATE_TEXTS, TEMPLATE_SHARE * len(texts))
    templates = [gram for gram, count in spread.items() if count > most]
    for gram in templates:
        del grams[gram]
    if templates:
        logger.info("Overlap: %d n-grams are in more than %.0f held-out texts and do not count", len(templates), most)
    return texts, grams


class _Letters(dict[int, int | None]):
    """A table for `str.translate`: letters, marks and digits stay, joiners go, all else becomes a space."""

    def __missing__(self, code: int) -> int | None:
        category = unicodedata.category(chr(code))
        self[code] = code if category[0] in "LMN" else None if category == "Cf" else ord(" ")
        return self[code]


_LETTERS = _Letters()


def _letters(text: str) -> str:
    """Return a text's letters and digits, folded, with single spaces; the folded text if it has none."""
    folded = fold(text)
    return " ".join(folded.translate(_LETTERS).split()) or folded


def _ngrams(text: str, ngram: int) -> Iterator[str]:
    """Yield n-grams of words, and of characters of each kind of script without spaces."""
    letters = _letters(text)
    if max(letters, default="") >= "\u0e00":
        runs: defaultdict[str, list[str]] = defaultdict(list)
        spaced = []
        for character in letters:
            kind = unspaced_kind(character)
            if kind:
                runs[kind].append(character)
            spaced.append(" " if kind else character)
        for kind, characters in runs.items():
            size = CHARACTERS_PER_WORD[kind] * ngram
            run = "".join(characters)
            for start in range(len(run) - size + 1):
                yield run[start : start + size]
        letters = "".join(spaced)
    words = letters.split()
    for start in range(len(words) - ngram + 1):
        yield " ".join(words[start : start + ngram])
