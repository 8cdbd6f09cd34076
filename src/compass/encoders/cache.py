"""An encoder whose vectors stay on disk: what was embedded once is never embedded again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from compass.encoders.elsewhere import EncodeElsewhere, identity_of
from compass.encoders.protocol import Encoder, FloatArray, unit_rows
from compass.encoders.stored import StoredVectors
from compass.encoders.vector_store import VectorStore
from compass.engines import each, is_elsewhere
from compass.errors import EncoderError
from compass.progress import progress

CHUNK_ROWS = 256
"""Rows that are embedded between two writes: what a killed run loses at most."""


def text_key(text: str) -> bytes:
    """Return the 16-byte content address of a text (its exact characters, lone surrogates included)."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class CachedEncoder:
    """An encoder with the same protocol that asks the inner one only for texts that are not on disk yet.

    Safe when processes or threads share the folder, and when one of them is killed at any moment.
    """

    def __init__(
        self,
        encoder: Encoder,
        cache_dir: Path,
        *,
        chunk_rows: int | None = None,
        opener: Callable[[], Encoder] | None = None,
    ) -> None:
        """Use `cache_dir/embeddings/<identity>`, made when the first row is written.

        An encoder with an attribute `engine` has a folder for each; its `chunk_rows` count where none are given.
        opener: loads the encoder elsewhere, on the workers of a cluster; None: it goes there as it is.
        """
        self._opener = opener
        self.encoder = encoder
        self.name = encoder.name
        self.revision = encoder.revision
        self.chunk_rows = chunk_rows or int(getattr(encoder, "chunk_rows", CHUNK_ROWS))
        engine = str(getattr(encoder, "engine", ""))
        identity = f"{encoder.name}@{engine}" if engine else encoder.name
        self.store = VectorStore(Path(cache_dir) / "embeddings", identity, encoder.revision)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, d) float32 unit rows in the order of `texts`; equal texts are embedded once.

        Raises EncoderError if the encoder's rows do not fit the cache, or the disk is full (finished chunks are kept).
        """
        if not texts:
            return unit_rows(self.encoder.encode([]), 0, self.name)
        place: dict[bytes, int] = {}
        first: list[int] = []
        inverse = np.empty(len(texts), dtype=np.int64)
        for i, text in enumerate(texts):
            inverse[i] = place.setdefault(text_key(text), len(place))
            if len(place) > len(first):
                first.append(i)
        keys = list(place)
        found, cached = self.store.read(keys)
        missing = np.setdiff1d(np.arange(len(keys)), found)
        if not missing.size:
            vectors = cached
        else:
            fresh = self._embed([keys[i] for i in missing], [texts[first[i]] for i in missing])
            vectors = _merge(found, cached, missing, fresh)
        return vectors if len(keys) == len(texts) else vectors[inverse]

    def stored(self, texts: Sequence[str]) -> StoredVectors:
        """Return the vectors of `texts`, in their order, as rows that stay on disk; those not there are embedded first.

        Memory goes by the texts' hashes, not by the vectors. Raises EncoderError as `encode`.
        """
        keys = [text_key(text) for text in texts]
        rows = self.store.locate(keys)
        absent = np.flatnonzero(rows < 0)
        if absent.size:
            first = {keys[i]: i for i in absent[::-1].tolist()}
            order = sorted(first.values())
            self._embed([keys[i] for i in order], [texts[i] for i in order], keep=False)
            rows[absent] = self.store.locate([keys[i] for i in absent.tolist()])
        if (rows < 0).any():
            raise EncoderError(
                f"Vectors that were just written to {self.store.folder} are damaged. Check the disk and run again."
            )
        return StoredVectors(self.store.folder / "vectors.f32", self.store.dimension, rows=rows)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return the different texts, in order, that `encode` would have to embed."""
        unique: dict[bytes, str] = {}
        for text in texts:
            unique.setdefault(text_key(text), text)
        keys = list(unique)
        found = set(self.store.read(keys)[0].tolist())
        return [unique[key] for i, key in enumerate(keys) if i not in found]

    def _embed(self, keys: list[bytes], texts: list[str], *, keep: bool = True) -> FloatArray:
        """Embed and write texts that were not on disk a moment ago, chunk by chunk.

        Returns (n, d); without `keep` none of them.
        """
        chunks: dict[int, FloatArray] = {}
        starts = list(range(0, len(keys), self.chunk_rows))
        first = _first_chunk(len(starts))
        left = len(keys)
        asked: deque[tuple[int, npt.NDArray[np.int64], FloatArray, npt.NDArray[np.int64]]] = deque()

        def missing() -> Iterator[list[str]]:
            for start in [*starts[first:], *starts[:first]]:
                # another process may have embedded some of these in the meantime
                found, cached = self.store.read(keys[start : start + self.chunk_rows])
                todo = np.setdiff1d(np.arange(min(self.chunk_rows, len(keys) - start)), found)
                asked.append((start, found, cached, todo))
                yield [texts[start + i] for i in todo]

        with progress("Embedding", total=len(keys)) as advance:
            for fresh in self._encoded(missing()):
                start, found, cached, todo = asked.popleft()
                chunk = keys[start : start + self.chunk_rows]
                left -= len(chunk)
                if todo.size:
                    rows = unit_rows(fresh, todo.size, self.name)
                    self.store.append([chunk[i] for i in todo], rows, rows_to_come=left)
                    cached = _merge(found, cached, todo, rows)
                if keep:
                    chunks[start] = cached
                advance(len(chunk))
        return np.concatenate([chunks[start] for start in starts]) if keep else np.empty((0, 0), dtype=np.float32)

    def _encoded(self, chunks: Iterator[list[str]]) -> Iterator[FloatArray]:
        """Yield the encoder's rows for each chunk of texts, in order. Raises EncoderError if workers have another one.

        Of no text there are no rows, whatever their dimension.
        """
        if not is_elsewhere():
            yield from (self.encoder.encode(chunk) if chunk else np.empty((0, 0), dtype=np.float32) for chunk in chunks)
            return
        for identity, rows in each(EncodeElsewhere(self._opener or self.encoder), chunks):
            if rows.size and identity != identity_of(self.encoder):
                theirs, ours = (" ".join(filter(None, one)) for one in (identity, identity_of(self.encoder)))
                raise EncoderError(
                    f"A worker of the cluster embeds with {theirs}, and this machine would with {ours}. Their vectors "
                    "differ: use machines with the same processor and the same versions of the encoder's packages."
                )
            yield rows


def _first_chunk(n: int) -> int:
    """Return where a process begins: two that embed the same texts side by side should not do the same chunks."""
    # Neighbouring process ids lie far apart (multiplicative hashing, Knuth 6.4).
    return (os.getpid() * 2654435761 % 2**32) * n >> 32


def _merge(
    found: npt.NDArray[np.int64], cached: FloatArray, missing: npt.NDArray[np.int64], fresh: FloatArray
) -> FloatArray:
    if not found.size:
        return fresh
    vectors = np.empty((found.size + missing.size, fresh.shape[1]), dtype=np.float32)
    vectors[found] = cached
    vectors[missing] = fresh
    return vectors
