"""Greedy decoding where a row that is finished makes room for the next one.

In a fixed batch every row waits for the longest answer. transformers' continuous batching does not wait: 1.7 times as
fast on two cores, with the same answers (LOG.md). It is used on CPUs, where that was measured, and while its cache is
small: without flash attention each row's attention runs over the whole cache, masked.
"""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from compass.signals import deferred

logger = logging.getLogger(__name__)

PAGE = 16
"""Tokens of a page of the cache."""
LARGEST_CACHE = 8_192
"""Tokens of the cache above which fixed batches are used."""
SMALLEST_STEP = 128
"""Prompt and answer tokens in one forward pass, at least."""
PATIENCE = 5.0
"""Seconds that the thread of continuous batching gets to stop."""


def greedy(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[int],
    pad: int,
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[tuple[int, list[int]]]:
    """Yield each prompt's place and the tokens of its greedy answer, as they are finished.

    model: a causal language model of transformers, without a wrapper of peft's; its own generation settings, a penalty
    on repetition for one, do not count. prompts: token ids. stops: tokens that end an answer (they may be its last
    token). An answer depends neither on its batch nor on the way it is decoded, but for rounding.
    """
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=max_new_tokens, eos_token_id=sorted(set(stops)), pad_token_id=pad
    )
    # What a call leaves open would be filled in from the model's own.
    own, model.generation_config = model.generation_config, config
    left = set(range(len(prompts)))
    try:
        if model.device.type == "cpu":
            for place, tokens in _continuous(model, prompts, config, batch_size):
                left.discard(place)
                yield place, tokens
        yield from _in_batches(model, prompts, left, config, batch_size)
    finally:
        model.generation_config = own


def _continuous(
    model: Any, prompts: Sequence[Sequence[int]], config: Any, batch_size: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield what continuous batching answers; nothing where it does not fit, not all where it fails."""
    import torch
    from transformers import ContinuousBatchingConfig

    pages = sorted((math.ceil((len(prompt) + config.max_new_tokens) / PAGE) for prompt in prompts), reverse=True)
    n_pages = sum(pages[:batch_size])
    if not 0 < n_pages * PAGE <= LARGEST_CACHE:
        return
    options = ContinuousBatchingConfig(
        page_size=PAGE, num_blocks=n_pages, max_requests_per_batch=batch_size,
        max_batch_tokens=max(SMALLEST_STEP, 4 * batch_size), allow_block_sharing=False, use_cuda_graph=False,
        use_async_batching=False, auto_switch_to_flash=False, seed=0,
    )  # fmt: skip
    try:
        # It seeds torch's generator for all the process.
        with torch.random.fork_rng(devices=[]):
            manager = model.init_continuous_batching(generation_config=config, continuous_batching_config=options)
    except (AttributeError, KeyError, NotImplementedError, ValueError) as error:
        logger.info("no continuous batching for this model: %s", error)
        return
    # All rows are there before the first step: which of them share a step is then a matter of their order alone.
    places = {name: i for i, name in enumerate(manager.add_requests([list(prompt) for prompt in prompts]))}
    try:
        with torch.inference_mode():
            manager.start()
        while places:
            result = manager.get_result(timeout=1)
            if result is None and manager.is_running():
                continue
            if result is None or result.error:
                logger.warning(
                    "continuous batching ended early (%s); the other %d rows are decoded in fixed batches",
                    result.error if result else "no more results", len(places),
                )  # fmt: skip
                return
            if result.is_finished():
                yield places.pop(result.request_id), list(result.generated_tokens)
    finally:
        # Ctrl-C in here would leave the library's thread at work while the process ends, which aborts it.
        with deferred(signal.SIGINT):
            manager.stop(block=True, timeout=PATIENCE, hard_stop=True)
            manager.destroy()


def _in_batches(
    model: Any, prompts: Sequence[Sequence[int]], places: Collection[int], config: Any, batch_size: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield answers batch by batch, prompts of like length together."""
    import torch

    order = sorted(places, key=lambda i: (len(prompts[i]), i))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        width = max(len(prompts[i]) for i in batch)
        ids = [[config.pad_token_id] * (width - len(prompts[i])) + list(prompts[i]) for i in batch]
        mask = [[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in batch]
        with torch.inference_mode():
            output = model.generate(
                input_ids=torch.tensor(ids, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                generation_config=config,
            )
        yield from zip(batch, output[:, width:].tolist(), strict=True)
