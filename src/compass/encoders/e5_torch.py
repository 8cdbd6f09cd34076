"""multilingual-e5-small on torch: the packaged weights, in bfloat16 where the processor multiplies it.

torch is imported when an engine is made; `engine_name` says before that which one it would be.

Texts go into batches of a few fixed shapes, and several short ones share a sequence, in which each reads itself alone.
That is for speed, and so that a row does not depend on the other texts of its batch: a product's last bits depend on
the shape, and in bfloat16 they are the third decimal.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from compass.encoders.e5_file import E5File, read_e5
from compass.encoders.protocol import FloatArray
from compass.runs.machine import multiplies_bfloat16

PREFIX = "query: "
BATCH_TOKENS = 512
"""Tokens of a batch on a CPU; more bring nothing there. A batch of the longest texts is one text."""
BATCH_TOKENS_GPU = 16_384
SHARED = 32
"""Length of a sequence that texts share. In 64 tokens a text's last bits depend on its place; in 32 they don't."""
WIDTHS = (SHARED, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 448, 512)
"""Lengths of sequences; a longer text has one for itself, and is filled up to it."""
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""What Linux has where a GPU of NVIDIA or AMD can be used, and under Windows' subsystem."""
CHECK_TEXTS = (
    "turn on the light in the kitchen",
    "trowch y golau ymlaen yn y gegin",
    "भान्साको बत्ती बाल्नुहोस्",
    "what is the capital of France?",
    "Ποια είναι η πρωτεύουσα της Γαλλίας;",
    "今日は雨が降りますか",
)
CHECK_COSINES = (
    0.832, 0.806, 0.762, 0.702, 0.769, 0.898, 0.741, 0.685, 0.808, 0.763, 0.696, 0.789, 0.854, 0.748, 0.724,
)  # fmt: skip
"""Of these texts' vectors by the package's own engine, row by row above the diagonal."""
CHECK_TOLERANCE = 0.01


class TorchE5:
    """The model and its tokenizer."""

    def __init__(self, device: str = "") -> None:
        """Load the model. device: as in torch; empty: a GPU if there is one. Raises MissingExtraError, EncoderError."""
        import torch

        self.name = engine_name(device)
        self.device = torch.device(device or _device())
        on_cpu = self.device.type == "cpu"
        self._file = read_e5()
        self._tokenizer = self._file.tokenizer()
        dtype = torch.float32 if on_cpu and not multiplies_bfloat16() else torch.bfloat16
        self._model = _Bert(self._file, self.device, dtype)
        self._batch_tokens = BATCH_TOKENS if on_cpu else BATCH_TOKENS_GPU

    def query(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, 384) float32 means over the tokens of each text, with the prefix `query: `.

        A text above 512 tokens is read in windows, and their means are averaged by their tokens.
        """
        windows = [self._windows(tokens) for tokens in self._tokens(texts)]
        flat = [window for own in windows for window in own]
        by_width: dict[int, list[int]] = defaultdict(list)
        for place, window in enumerate(flat):
            by_width[next(width for width in WIDTHS if len(window) <= width)].append(place)
        means = np.empty((len(flat), self._file.hidden_size), dtype=np.float32)
        for width, places in sorted(by_width.items()):
            groups = [[places[i] for i in group] for group in shared([len(flat[place]) for place in places], width)]
            rows = self._batch_tokens // width
            for start in range(0, len(groups), rows):
                batch = groups[start : start + rows]
                sequences = [[flat[place] for place in group] for group in batch]
                means[[place for group in batch for place in group]] = self._means(sequences, rows, width)
        if len(flat) == len(texts):
            return means
        weights = np.array([max(1, len(window) - 2) for window in flat], dtype=np.float64)
        starts = np.cumsum([0, *(len(own) for own in windows)])[:-1]
        sums = np.add.reduceat(means * weights[:, None], starts, axis=0) / np.add.reduceat(weights, starts)[:, None]
        return sums.astype(np.float32)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        prepared = [self._file.normalise(PREFIX + text) for text in texts]
        return [found.ids for found in self._tokenizer.encode_batch(prepared, add_special_tokens=False)]

    def _windows(self, tokens: list[int]) -> list[list[int]]:
        most = self._file.positions - 2
        parts = [tokens[start : start + most] for start in range(0, len(tokens), most)] or [[]]
        return [[self._file.bos, *part, self._file.eos] for part in parts]

    def _means(self, sequences: Sequence[Sequence[Sequence[int]]], rows: int, width: int) -> FloatArray:
        """Run one batch of a fixed shape, filled up with padding. Returns (n, d) means over the tokens of each text."""
        import torch

        ids = np.full((rows, width), self._file.pad, dtype=np.int64)
        positions, texts = np.zeros_like(ids), np.full_like(ids, -1)
        lengths = []
        for row, windows in enumerate(sequences):
            at = 0
            for window in windows:
                own = slice(at, at + len(window))
                ids[row, own], positions[row, own], texts[row, own] = window, np.arange(len(window)), at
                lengths.append(len(window))
                at = own.stop
        with torch.inference_mode():
            states = self._model(*(torch.from_numpy(part).to(self.device) for part in (ids, positions, texts)))
        tokens = states.float().cpu().numpy()[texts >= 0]
        # Added up one after the other, so that the sum doesn't depend on where the text stands.
        sums: FloatArray = np.add.reduceat(tokens, np.cumsum([0, *lengths[:-1]]), axis=0)
        return sums / np.array(lengths, dtype=np.float32)[:, None]


def shared(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Share out texts among sequences of `room` tokens: the longest text that is left, and those that fill the rest.

    Returns the places of each sequence's texts. Texts in sequences longer than SHARED have one for themselves.
    """
    if room > SHARED:
        return [[i] for i in range(len(lengths))]
    left: dict[int, list[int]] = defaultdict(list)
    for place, length in enumerate(lengths):
        left[length].append(place)
    groups, fills = [], _fills(left, room)
    while left:
        group, free, length = [], room, max(left)
        while length:
            group.append(left[length].pop())
            free -= length
            if not left[length]:
                del left[length]
                fills = _fills(left, room)
            length = fills[free]
        groups.append(group)
    return groups


def _fills(lengths: Iterable[int], room: int) -> list[int]:
    """Return the length to take next for each number of free tokens, so that few stay free; 0 where none fits."""
    filled, taken = [0] * (room + 1), [0] * (room + 1)
    for free in range(1, room + 1):
        options = [(length + filled[free - length], length) for length in lengths if length <= free]
        filled[free], taken[free] = max(options, default=(0, 0))
    return taken


def engine_name(device: str = "") -> str:
    """Return the name of the engine that `TorchE5(device)` would be: how it computes, and where.

    Nothing is loaded for it, unless a GPU may be there: then torch is asked.
    """
    kind = (device or _device()).partition(":")[0]
    if kind == "cpu":
        return f"torch-packed-{'bfloat16' if multiplies_bfloat16() else 'float32'}"
    return f"torch-packed-bfloat16-{kind}"


def deviation(engine: Any) -> float:
    """Return by how much cosines of a few texts are off, at most; nan where they are no numbers."""
    vectors = engine.query(CHECK_TEXTS).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return float(np.abs(cosines - np.array(CHECK_COSINES)).max())


def _device() -> str:
    """Return `cuda` if torch can use a GPU, else `cpu`; torch is imported only where there may be one."""
    if "torch" not in sys.modules and (
        sys.platform == "darwin"
        or metadata.version("torch").endswith("+cpu")
        or (sys.platform == "linux" and not any(Path(file).exists() for file in GPU_FILES))
    ):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class _Bert:
    """The encoder of BERT. torch's own layer spends more time on its attention than on all the rest of it."""

    def __init__(self, file: E5File, device: Any, dtype: Any) -> None:
        import torch

        width, inner = file.hidden_size, file.feed_forward
        self._heads, self._eps = file.heads, file.layer_norm_eps

        def there(values: FloatArray) -> Any:
            return torch.from_numpy(values).to(device, dtype)

        def matrix(name: str, out: int, of: int) -> tuple[Any, Any]:
            return there(file.tensor(f"{name}.w", out, of)), there(file.tensor(f"{name}.b", out))

        def norm(name: str) -> tuple[Any, Any]:
            return there(file.tensor(f"{name}.w", width)), there(file.tensor(f"{name}.b", width))

        self._words = there(file.tensor("emb.word", file.vocabulary, width))
        # All texts are of the first of the two types.
        types = file.tensor("emb.type", 2, width)
        self._positions = there(file.tensor("emb.pos", file.positions, width) + types[0])
        self._norm = norm("emb.ln")
        self._layers = []
        for i in range(file.layers):
            parts = [matrix(f"l{i}.{part}", width, width) for part in "qkv"]
            together = torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])
            out, wide = matrix(f"l{i}.ao", width, width), matrix(f"l{i}.fi", inner, width)
            narrow = matrix(f"l{i}.fo", width, inner)
            self._layers.append((together, out, norm(f"l{i}.aln"), wide, narrow, norm(f"l{i}.oln")))

    def __call__(self, ids: Any, positions: Any, texts: Any) -> Any:
        """ids, positions, texts: (n, length) each token, its place in its text, and which text of the sequence it is.

        A token reads those of its own text alone. Returns (n, length, d).
        """
        from torch.nn import functional

        def normed(states: Any, weights: tuple[Any, Any]) -> Any:
            return functional.layer_norm(states, weights[0].shape, *weights, self._eps)

        rows, length = ids.shape
        states = normed(functional.embedding(ids, self._words) + self._positions[positions], self._norm)
        # What is added to products of queries and keys: so little there that other texts have no weight.
        mask = (texts[:, :, None] != texts[:, None, :]).to(states.dtype)[:, None] * -1e4
        for together, out, norm, wide, narrow, last_norm in self._layers:
            parts = functional.linear(states, *together).view(rows, length, 3, self._heads, -1)
            query, key, value = parts.permute(2, 0, 3, 1, 4)
            read = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            states = normed(states + functional.linear(read.transpose(1, 2).flatten(2), *out), norm)
            inner = functional.gelu(functional.linear(states, *wide))
            states = normed(states + functional.linear(inner, *narrow), last_norm)
        return states
