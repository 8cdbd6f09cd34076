"""Rows that say the same as another row: exact duplicates, and near duplicates by MinHash."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache, lru_cache, partial

import numpy as np
import numpy.typing as npt

from compass.data.cleaning.result import Found
from compass.data.example import Example
from compass.data.languages import UNDETERMINED
from compass.data.scripts import is_mostly_unspaced
from compass.data.stored_rows import chosen, gathered
from compass.engines import block_rows, each, each_block
from compass.reuse import reused

DUPLICATE, NEAR_DUPLICATE = "duplicate", "near duplicate"

_PERMUTATIONS, _SEED = 128, 42
"""Hashes of a MinHash signature, and their seed."""
_SHINGLE, _SHINGLE_UNSPACED = 5, 3
"""Characters of a shingle, and of one in scripts without spaces."""
_RECALL = 0.99
"""Probability with which two rows at the threshold become candidates."""
_MOST_COMPARED = 100
"""Candidates that are compared exactly, at most."""
_CHUNK = 4096
"""Rows that are hashed at once."""

UInt64s = npt.NDArray[np.uint64]


def fold(text: str) -> str:
    """Return a text in NFC, case folded, with single spaces: what counts as the same text."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(text.casefold().split())


def _whole_prompt(row: Example) -> str:
    return "\n".join((*(turn.content for turn in row.context), row.prompt)) if row.context else row.prompt


@reused
def find_duplicates(rows: Sequence[Example]) -> Found:
    """Find rows with the same prompt, context and response; one with a tag stays before one without, then by id."""
    if not len(rows):
        return {}
    hashes = b"".join(block for _, block in each_block(_content_hashes, rows))
    candidates = np.flatnonzero(_repeated(np.frombuffer(hashes, dtype="<u8")[::2])).tolist()
    at = dict(zip(candidates, chosen(rows, candidates), strict=True))
    kept: dict[bytes, int] = {}
    found = {}
    for index in candidates:
        key = hashes[16 * index : 16 * index + 16]
        first = kept.setdefault(key, index)
        if first == index:
            continue
        stays, goes = sorted((first, index), key=lambda i: (at[i].language == UNDETERMINED, at[i].id))
        kept[key] = stays
        found[goes] = key
    return {index: (DUPLICATE, f"the same as {at[kept[key]].id}") for index, key in found.items()}


def _content_hashes(rows: Sequence[Example]) -> bytes:
    """Return 16 bytes for each row, which rows with the same texts have in common, but for case and spaces."""
    texts = (f"{fold(_whole_prompt(row))}\0{fold(row.response)}" for row in rows)
    return b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts)


@reused
def find_near_duplicates(rows: Sequence[Example], threshold: float) -> Found:
    """Find near duplicates greedily, longest text first: each row is held against the rows that stay.

    Candidates come from locality-sensitive hashing of MinHash signatures of the prompts; the Jaccard similarity that
    decides is exact. Of more than 100 candidates, those that share most bands are compared.
    """
    if not len(rows):
        return {}
    keys = np.concatenate([block for _, block in each_block(partial(_band_keys, threshold=threshold), rows)])
    places, ends = _linked(keys)
    together = gathered(rows, places)
    blocks = list(zip([0, *ends], ends, strict=False))
    work = partial(_near_duplicates, threshold=threshold)
    found = each(work, ((together[start:end], keys[places[start:end]]) for start, end in blocks))
    return {
        int(places[start + index]): why
        for (start, _), of_block in zip(blocks, found, strict=True)
        for index, why in of_block.items()
    }


def _linked(keys: UInt64s) -> tuple[npt.NDArray[np.int64], list[int]]:
    """Return the rows that share a band with another one, (m,), those next to each other that are linked, and blocks.

    keys: (n, bands). Rows are linked that share a band, and those linked to the same row. A block, of which the end is
    returned, has all rows that are linked to one of its rows, so it can be decided without the others.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    pairs = []
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        same = band[order[1:]] == band[order[:-1]]
        pairs.append(np.stack([order[:-1][same], order[1:][same]]))
    one, other = np.concatenate(pairs, axis=1)
    size = len(keys), len(keys)
    _, group = connected_components(
        csr_array((np.ones(len(one), dtype=bool), (one, other)), shape=size), directed=False
    )
    sizes = np.bincount(group)
    linked = np.flatnonzero(sizes[group] > 1)
    # The largest first: what is started last should be short. Within a group, as the rows come.
    places = linked[np.lexsort((linked, group[linked], -sizes[group[linked]]))]
    ends = [*(np.flatnonzero(np.diff(group[places])) + 1).tolist(), len(places)] if len(places) else []
    of_blocks, start = [], 0
    for end in ends:
        if end - start >= block_rows() or end == len(places):
            of_blocks.append(end)
            start = end
    return places, of_blocks


def _near_duplicates(block: tuple[Sequence[Example], UInt64s], threshold: float) -> Found:
    """Find the near duplicates among rows that are linked with each other alone. block: rows, and their (n, bands)."""
    rows, keys = list(block[0]), block[1]
    shared = np.stack([_repeated(band) for band in keys.T], axis=1)
    order = sorted(range(len(rows)), key=lambda i: _canonical(rows[i]))
    rank = {index: position for position, index in enumerate(order)}
    buckets: defaultdict[int, list[int]] = defaultdict(list)
    # What two texts have in common is at most all of the shorter one, so few pairs need more than their sizes.
    size_of = cache(lambda index: len(_shingles(_whole_prompt(rows[index]))))
    found = {}
    for index in order:
        own = keys[index][shared[index]].tolist()
        votes = Counter(other for key in own for other in buckets.get(key, ()))
        best = sorted(votes, key=lambda other: (-votes[other], rank[other]))[:_MOST_COMPARED]
        for other in best:
            few, many = sorted((size_of(index), size_of(other)))
            if few / many < threshold:
                continue
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
    first, second = _shingles(one), _shingles(other)
    common = len(first & second)
    return common / (len(first) + len(second) - common)


@lru_cache(maxsize=8192)
def _shingles(text: str) -> frozenset[str]:
    """Return a text's different shingles, as `shingle_hashes`; a row is held against several others in turn."""
    folded = fold(text)
    size = _SHINGLE_UNSPACED if is_mostly_unspaced(folded) else _SHINGLE
    padded = folded.ljust(size, "\0")
    return frozenset(padded[start : start + size] for start in range(len(padded) - size + 1))


def _repeated(values: UInt64s) -> npt.NDArray[np.bool_]:
    """Say of each value whether it is there more than once. values: (n,)."""
    ordered = np.sort(values)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(repeated):
        return np.zeros(len(values), dtype=bool)
    places = np.minimum(np.searchsorted(repeated, values), len(repeated) - 1)
    found: npt.NDArray[np.bool_] = repeated[places] == values
    return found


def _band_keys(rows: Sequence[Example], threshold: float) -> UInt64s:
    """Return (n, bands) hashes; two rows are candidates when their prompts agree in one of them."""
    from rensa import RMinHash

    texts = [_whole_prompt(row) for row in rows]
    size = _rows_per_band(threshold)
    bands = _PERMUTATIONS // size
    weights = _odd_numbers(size)
    keys = np.empty((len(texts), bands), dtype=np.uint64)
    for start in range(0, len(texts), _CHUNK):
        hashes, offsets = shingle_hashes(texts[start : start + _CHUNK])
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, _PERMUTATIONS, _SEED)
        signatures = np.asarray(matrix.to_rows(), dtype=np.uint64).reshape(-1, bands, size)
        sums = (signatures * weights).sum(axis=2) + np.arange(bands, dtype=np.uint64)
        keys[start : start + len(signatures)] = _mix(sums)
    return keys


def _rows_per_band(threshold: float) -> int:
    """Return the longest band that still finds a pair at the threshold with a probability of 0.99."""
    sizes = [size for size in (32, 16, 8, 4, 2) if 1 - (1 - threshold**size) ** (_PERMUTATIONS // size) >= _RECALL]
    return sizes[0] if sizes else 1


def shingle_hashes(texts: Sequence[str]) -> tuple[UInt64s, npt.NDArray[np.int64]]:
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
