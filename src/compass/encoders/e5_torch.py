"""multilingual-e5-small on torch: the packaged weights, in bfloat16 where the processor multiplies it.

Texts are sorted by length into batches of a few fixed shapes. That is for speed, and so that a row does not depend on
the other texts of its batch: a product's last bits depend on the shape, and in bfloat16 they are the third decimal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compass.encoders.e5_file import E5File, read_e5
from compass.encoders.protocol import FloatArray
from compass.errors import EncoderError
from compass.runs.machine import cpu_flags

PREFIX = "query: "
BATCH_TOKENS = 512
"""Tokens of a batch on a CPU; more bring nothing there. A batch of the longest texts is one text."""
BATCH_TOKENS_GPU = 16_384
WIDTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Lengths to which texts are filled up."""
LAYER_PARTS: Mapping[str, str] = {
    "ao": "self_attn.out_proj", "aln": "norm1", "fi": "linear1", "fo": "linear2", "oln": "norm2",
}  # fmt: skip
"""Name of a part in the file -> in torch's TransformerEncoderLayer, which is a layer of BERT."""
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

        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_cpu = self.device.type == "cpu"
        self.dtype = torch.float32 if on_cpu and not multiplies_bfloat16() else torch.bfloat16
        self.name = f"torch-{str(self.dtype).removeprefix('torch.')}" + ("" if on_cpu else f"-{self.device.type}")
        self._file = read_e5()
        self._tokenizer = self._file.tokenizer()
        self._model = _model(self._file, self.device, self.dtype)
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
            rows = self._batch_tokens // width
            for start in range(0, len(places), rows):
                batch = places[start : start + rows]
                means[batch] = self._means([flat[place] for place in batch], rows, width)
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

    def _means(self, windows: Sequence[Sequence[int]], rows: int, width: int) -> FloatArray:
        """Run one batch of a fixed shape, filled up with rows of one token. Returns (n, d) means over tokens."""
        import torch

        ids = np.full((rows, width), self._file.pad, dtype=np.int64)
        lengths = np.ones(rows, dtype=np.int64)
        for i, window in enumerate(windows):
            ids[i, : len(window)] = window
            lengths[i] = len(window)
        with torch.inference_mode():
            place = torch.arange(width, device=self.device)
            mask = place < torch.from_numpy(lengths).to(self.device)[:, None]
            states = self._model(torch.from_numpy(ids).to(self.device), ~mask).float()
            means = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        values: FloatArray = means[: len(windows)].cpu().numpy()
        return values


def checked_engine(device: str = "") -> TorchE5:
    """Load the engine and let it embed a few texts. Raises EncoderError if they do not lie as they should."""
    engine = TorchE5(device)
    vectors = engine.query(CHECK_TEXTS).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    off = float(np.abs(cosines - np.array(CHECK_COSINES)).max())
    if not off <= CHECK_TOLERANCE:
        raise EncoderError(
            f"The embedded encoder's self-check failed with {engine.name}: cosines are off by {off:.3f}."
        )
    return engine


def multiplies_bfloat16() -> bool:
    """Say whether this processor has instructions for products of bfloat16."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())


def _model(file: E5File, device: Any, dtype: Any) -> Any:
    """Return the model; it takes token ids (n, length) and where padding is (n, length), and gives (n, length, d)."""
    import torch
    from torch import nn

    width, inner = file.hidden_size, file.feed_forward

    class Bert(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(file.vocabulary, width)
            self.positions = nn.Embedding(file.positions, width)
            self.norm = nn.LayerNorm(width, eps=file.layer_norm_eps)
            self.layers = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width, file.heads, inner, dropout=0.0, activation="gelu", layer_norm_eps=file.layer_norm_eps,
                    batch_first=True,
                )
                for _ in range(file.layers)
            )  # fmt: skip

        def forward(self, ids: Any, padding: Any) -> Any:
            states = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
            for layer in self.layers:
                states = layer(states, src_key_padding_mask=padding)
            return states

    def tensor(name: str, *shape: int) -> Any:
        return torch.from_numpy(file.tensor(name, *shape))

    weights = {
        "words.weight": tensor("emb.word", file.vocabulary, width),
        # All texts are of the first of the two types.
        "positions.weight": tensor("emb.pos", file.positions, width) + tensor("emb.type", 2, width)[0],
        "norm.weight": tensor("emb.ln.w", width),
        "norm.bias": tensor("emb.ln.b", width),
    }
    shapes: dict[str, tuple[int, ...]] = {"aln": (width,), "oln": (width,), "fi": (inner, width), "fo": (width, inner)}
    for i in range(file.layers):
        for kind, size in (("weight", (width, width)), ("bias", (width,))):
            parts = [tensor(f"l{i}.{part}.{kind[0]}", *size) for part in "qkv"]
            weights[f"layers.{i}.self_attn.in_proj_{kind}"] = torch.cat(parts)
        for part, name in LAYER_PARTS.items():
            shape = shapes.get(part, (width, width))
            weights[f"layers.{i}.{name}.weight"] = tensor(f"l{i}.{part}.w", *shape)
            weights[f"layers.{i}.{name}.bias"] = tensor(f"l{i}.{part}.b", shape[0])
    # Weights made at random first would take a second.
    with torch.device("meta"):
        model = Bert()
    model.load_state_dict({name: values.to(device, dtype) for name, values in weights.items()}, assign=True)
    return model.eval().requires_grad_(False)
