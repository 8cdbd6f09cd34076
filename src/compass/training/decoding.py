"""Greedy decoding in batches that shrink as answers end.

In a batch of transformers' `generate` every row waits for the longest answer, and with a large vocabulary the search
for the likeliest token costs as much as the product that it reads. The batches here drop rows that have ended.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from typing import Any

CACHE_BYTES = 1 << 30
"""Keys and values of a batch take no more than this."""
BLOCK = 512
"""Logits of which the largest is found first, on the way to the largest of all."""
WORTH_A_CUT = 64
"""Columns of padding in all rows that are worth a copy of the cache without them [ours]."""
LOOP_TOKENS, LOOP_TIMES, LOOP_PERIOD = 16, 3, 32
"""An answer loops if it ends in the same tokens three times or more, for 16 tokens or more [ours]."""

Asked = tuple[int, Sequence[int], Sequence[int]]
"""A prompt's place, its tokens, and the tokens that its answer begins with."""


def greedy(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[int],
    pad: int,
    max_new_tokens: int,
    batch_size: int,
    begun: Sequence[Sequence[int]] = (),
) -> Iterator[tuple[int, list[int]]]:
    """Yield each prompt's place and the tokens of its greedy answer, as they are finished.

    model: a causal language model of transformers, without a wrapper of peft's; its own generation settings, a penalty
    on repetition for one, do not count. prompts: token ids. stops: tokens that end an answer (they are its last token).
    begun: the tokens that each answer begins with, where they are known. An answer depends neither on its batch nor on
    the way it is decoded, but for rounding. One that repeats itself (see `loop`) is taken to go on so to its end.
    """
    known = [list(tokens) for tokens in begun] or [[] for _ in prompts]
    left = [i for i, tokens in enumerate(known) if len(tokens) < max_new_tokens and not _ended(tokens, stops)]
    for i in sorted(set(range(len(prompts))) - set(left)):
        yield i, known[i]
    decode = _shrinking if RowsOnCache.fits(model) else _fixed
    for batch in _batches(model, {i: len(prompts[i]) + len(known[i]) for i in left}, max_new_tokens, batch_size):
        asked = [(i, prompts[i], known[i]) for i in batch]
        yield from decode(model, asked, frozenset(stops), pad, max_new_tokens)


def loop(tokens: Sequence[int]) -> Sequence[int]:
    """Return the tokens that an answer repeats at its end, once; none where it does not loop."""
    for period in range(1, min(LOOP_PERIOD, len(tokens) // LOOP_TIMES) + 1):
        span = max(LOOP_TIMES * period, LOOP_TOKENS)
        if len(tokens) >= span and tokens[-span:-period] == tokens[len(tokens) - span + period :]:
            return tokens[-period:]
    return ()


def likeliest(logits: Any) -> Any:
    """Return the first of the largest logits of each row, as `argmax` does: (n, vocabulary) to (n,).

    torch's own compares numbers of two bytes one by one, and their blocks' largest many at a time.
    """
    import torch

    width = math.gcd(BLOCK, logits.shape[-1])
    if width < BLOCK // 16:
        return logits.argmax(-1)
    blocks = logits.unflatten(-1, (-1, width))
    first = blocks.amax(-1).argmax(-1)
    return first * width + blocks[torch.arange(len(logits), device=logits.device), first].argmax(-1)


class RowsOnCache:
    """Rows whose next tokens are computed together, on the keys and values of those before them."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], pad: int) -> None:
        """Nothing is computed yet. model: transformers' own, without peft's wrapper."""
        import torch
        from transformers import DynamicCache

        self._ids, self._mask = _padded(prompts, pad, model.device)
        self._positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        self._cache = DynamicCache(config=model.config)
        parameters = inspect.signature(model.forward).parameters
        # Logits of a whole prompt would be most of the memory. A place and not a number: a slice of the states is not
        # contiguous, and torch would copy the head's weights for each row. The cache has an older name in some models.
        self._more = {
            **({"logits_to_keep": torch.tensor([-1], device=model.device)} if "logits_to_keep" in parameters else {}),
            "cache" if "cache" in parameters else "past_key_values": self._cache,
        }

    @staticmethod
    def fits(model: Any) -> bool:
        """Say whether a model keeps keys and values as it is done here."""
        return bool(model._supports_default_dynamic_cache() and not model._is_stateful)

    def __len__(self) -> int:
        return len(self._ids)

    def logits(self, forward: Any) -> Any:
        """Return the logits of each row's next token, (n, vocabulary). forward: the model, or what calls it."""
        return forward(
            input_ids=self._ids, attention_mask=self._mask, position_ids=self._positions, use_cache=True, **self._more
        ).logits[:, -1]

    def append(self, tokens: Any) -> None:
        """Go on with a token for each row, (n,)."""
        import torch

        self._ids = tokens[:, None]
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(self), 1))], dim=1)
        self._positions = self._positions[:, -1:] + 1

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        import torch

        kept = torch.tensor(rows, device=self._ids.device)
        self._ids, self._mask, self._positions = self._ids[kept], self._mask[kept], self._positions[kept]
        if self._cache.get_seq_length():
            self._cache.batch_select_indices(kept)
            self._trim()

    @property
    def width(self) -> int:
        """Tokens of the longest row, with the padding before it."""
        return int(self._mask.shape[1])

    def _trim(self) -> None:
        """Cut off what is padding in all rows: where others join for as long as some go on, it would grow for ever."""
        empty = int(self._mask.any(dim=0).int().argmax())
        if empty < WORTH_A_CUT:
            return
        self._mask = self._mask[:, empty:]
        for layer in self._cache.layers:
            if not layer.is_initialized:
                continue
            held = self.width - 1
            if layer.is_sliding:
                layer.cumulative_length -= empty
                held = min(held, layer.sliding_window - 1)
            start = layer.keys.shape[-2] - held
            layer.keys, layer.values = layer.keys[..., start:, :], layer.values[..., start:, :]

    def can_join(self, other: RowsOnCache) -> bool:
        """Say whether `join` knows the kinds of cache of the model's layers."""
        from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

        known = (DynamicLayer, DynamicSlidingWindowLayer)
        return all(type(one) in known for pair in self._layers(other) for one in pair)

    def join(self, other: RowsOnCache) -> None:
        """Take in other rows, once both have made a step."""
        import torch

        width = max(self._mask.shape[1], other._mask.shape[1])
        self._widen(width)
        other._widen(width)
        for own, theirs in self._layers(other):
            own.keys = torch.cat([own.keys, theirs.keys])
            own.values = torch.cat([own.values, theirs.values])
        self._ids = torch.cat([self._ids, other._ids])
        self._mask = torch.cat([self._mask, other._mask])
        self._positions = torch.cat([self._positions, other._positions])

    def _layers(self, other: RowsOnCache) -> list[tuple[Any, Any]]:
        return [pair for pair in zip(self._cache.layers, other._cache.layers, strict=True) if pair[0].is_initialized]

    def _widen(self, width: int) -> None:
        """Put padding before each row, in the mask and in the cache, which holds all tokens but the latest."""
        from torch.nn.functional import pad

        missing = width - self._mask.shape[1]
        if not missing:
            return
        self._mask = pad(self._mask, (missing, 0))
        for layer in self._cache.layers:
            if not layer.is_initialized:
                continue
            held = width - 1
            if layer.is_sliding:
                layer.cumulative_length += missing
                held = min(held, layer.sliding_window - 1)
            before = (0, 0, held - layer.keys.shape[-2], 0)
            layer.keys, layer.values = pad(layer.keys, before), pad(layer.values, before)


def _padded(rows: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Return token ids, padded on the left, and the mask of what is no padding, each (n, length)."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], dtype=torch.long, device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], dtype=torch.long, device=device)
    return ids, mask


def _ended(tokens: Sequence[int], stops: Sequence[int]) -> bool:
    return bool(tokens) and tokens[-1] in stops


def _batches(model: Any, lengths: dict[int, int], max_new_tokens: int, batch_size: int) -> Iterator[list[int]]:
    """Yield places, of prompts of like length together, as many as fit. lengths: of each place's prompt."""
    order = sorted(lengths, key=lambda i: (lengths[i], i))
    most = CACHE_BYTES // _bytes_per_token(model)
    # Equal ones: a step of a few rows takes half as long as one of a hundred.
    size = math.ceil(len(order) / math.ceil(len(order) / batch_size)) if order else 0
    batch: list[int] = []
    for i in order:
        # The last one is the longest, and the others are padded to it.
        if batch and (len(batch) == size or (len(batch) + 1) * (lengths[i] + max_new_tokens) > most):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _bytes_per_token(model: Any) -> int:
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * model.dtype.itemsize)


def _shrinking(
    model: Any, batch: Sequence[Asked], stops: frozenset[int], pad: int, max_new_tokens: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield the answers of a batch, in the order in which they end."""
    import torch

    rows = RowsOnCache(model, [[*prompt, *begun] for _, prompt, begun in batch], pad)
    places, answers = [place for place, _, _ in batch], [list(begun) for _, _, begun in batch]
    while places:
        with torch.inference_mode():
            tokens = likeliest(rows.logits(model))
            rows.append(tokens)
        left = []
        for at, (answer, token) in enumerate(zip(answers, tokens.tolist(), strict=True)):
            answer.append(token)
            if token not in stops and (again := loop(answer)):
                answer += [again[k % len(again)] for k in range(max_new_tokens - len(answer))]
            if token in stops or len(answer) >= max_new_tokens:
                yield places[at], answer
            else:
                left.append(at)
        if len(left) < len(places):
            places, answers = [places[at] for at in left], [answers[at] for at in left]
            if left:
                rows.keep(left)


def _fixed(
    model: Any, batch: Sequence[Asked], stops: frozenset[int], pad: int, max_new_tokens: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield the answers of a batch of a model that remembers in another way than by keys and values."""
    import torch
    from transformers import GenerationConfig

    ids, mask = _padded([[*prompt, *begun] for _, prompt, begun in batch], pad, model.device)
    config = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=max_new_tokens, eos_token_id=sorted(stops), pad_token_id=pad
    )
    # What a call leaves open would be filled in from the model's own.
    own, model.generation_config = model.generation_config, config
    try:
        with torch.inference_mode():
            output = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    finally:
        model.generation_config = own
    for (place, _, begun), tokens in zip(batch, output[:, ids.shape[1] :].tolist(), strict=True):
        answer = [*begun, *tokens][:max_new_tokens]
        ends = [at for at, token in enumerate(answer) if token in stops]
        yield place, answer[: ends[0] + 1] if ends else answer
