"""What the frozen tests of training and comparison measure: fixed rows, fixed options, and the results by name.

`make_training.py` wrote down what version 0.1 gave for them; `test_training.py` and `test_comparison.py` compare.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from frozen import training_calls as calls
from tiny_model import make_tiny_model

VALUES = Path(__file__).parent / "values"
SEED = 7
OPTIONS: dict[str, Any] = {
    "lora_r": 2, "lora_alpha": 4, "max_steps": 12, "per_device_train_batch_size": 4, "learning_rate": 0.03,
    "save_steps": 4, "logging_steps": 1, "max_length": 64,
}  # fmt: skip
FEW_STEPS = {**OPTIONS, "max_steps": 2, "learning_rate": 0.003, "warmup_steps": 0.0}
EVALUATION: dict[str, Any] = {"max_new_tokens": 6, "bootstrap_draws": 200, "per_device_eval_batch_size": 5}

WORDS = ("golau", "amserydd", "cerddoriaeth", "drws", "बत्ती", "灯", "lampe", "porte")
ROWS = [
    {"id": f"n{i}", "prompt": f"{WORDS[i % 8]} {i}", "response": "abcd"[i % 4], "language": "cy"} for i in range(24)
]
"""Rows that the first adapter is trained on: four classes."""
NEW = [{"id": f"u{i}", "prompt": f"newydd {WORDS[i % 5]}", "response": "ef"[i % 2], "language": "cy"} for i in range(8)]
"""Rows of an update."""
AT_HAND = [*ROWS[:10], *({**row, "id": f"r{i}", "response": "rare"} for i, row in enumerate(ROWS[:2]))]
TEST = [
    {"id": f"t{i}", "prompt": f"{WORDS[(3 * i) % 8]} {i + 40}", "response": "abcd"[i % 4], "language": "cy"}
    for i in range(12)
]
METHODS: dict[str, dict[str, Any]] = {
    "replay": {"method": "replay"},
    "ewc": {"method": "ewc"},
    "merge": {"method": "merge"},
}


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch add up in one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def trainings(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train every adapter in a folder; return its tensors by `NAME/WEIGHT`, and what the first one answers."""
    from safetensors.torch import load_file

    with one_thread():
        base = calls.base_at(make_tiny_model(folder / "model"))
        plain = calls.train_plain(ROWS, base, folder / "plain", seed=SEED, options=OPTIONS)
        adapters = {
            "plain": plain,
            "averaged": calls.train_several(
                ROWS, base, folder / "averaged", seed=SEED, options={**OPTIONS, "max_steps": 3, "averaged_trainings": 2}
            ),
            "tail": calls.train_plain(
                ROWS, base, folder / "tail", seed=SEED, options={**OPTIONS, "max_steps": 4, "tail_average": 0.5}
            ),
        }
        fisher = calls.measure_fisher(ROWS[:6], base, plain, options=OPTIONS)
        for name, method in METHODS.items():
            adapters[name] = calls.update_from(
                plain, NEW, base, folder / name, seed=SEED, options=FEW_STEPS, method=method, old=ROWS,
                anchors=ROWS[:8], fisher=calls.stronger(fisher, 1000.0),
            )  # fmt: skip
        tensors = {
            f"{name}/{weight}": value
            for name, adapter in adapters.items()
            for weight, value in load_file(adapter / "adapter_model.safetensors").items()
        }
        tensors |= {f"fisher/{name}": value.contiguous() for name, value in calls.tensors_of(fisher).items()}
        asked: dict[str, Any] = {
            "name": "cy", "clusters": [i % 3 for i in range(12)], "seen": ["b"], "options": EVALUATION, "seed": SEED
        }  # fmt: skip
        before, after = calls.answer(base, None, TEST, **asked), calls.answer(base, plain, TEST, **asked)
        few = calls.answer(base, plain, TEST, **{**asked, "options": {**EVALUATION, "max_test_rows": 5}})
    return tensors, {
        "base": calls.account(before),
        "adapter": calls.account(after),
        "five rows": calls.account(few),
        "differences": calls.differences(before, after),
        "repeats": calls.repeats(AT_HAND, {"answer_balance": 3, "current_weight": 2}),
    }


def scored() -> dict[str, Any]:
    """Score made-up answers, function calls among them, of two models."""
    rng = random.Random(3)
    rows, given = [], {"before": [], "after": []}
    losses: dict[str, list[float]] = {"before": [], "after": []}
    for i in range(30):
        call = json.dumps({"intent": f"T{i % 3}", "n": i % 4, "room": f"r{i % 2}"})
        rows.append(
            {"id": f"s{i}", "prompt": f"gofyn {i % 25}", "response": call if i % 5 else f"testun {i}", "language": "cy"}
        )
        wrong = [json.dumps({"intent": f"T{(i + 1) % 3}", "n": i % 4}), "testun", "{", json.dumps({"intent": "T9"})]
        for name, share in (("before", 0.4), ("after", 0.7)):
            given[name].append(rows[-1]["response"] if rng.random() < share else rng.choice(wrong))
            losses[name].append(rng.random() * 20)
    asked: dict[str, Any] = {
        "name": "cy", "clusters": [i % 4 for i in range(30)], "seen": ["T9", "T8"], "options": EVALUATION, "seed": SEED
    }  # fmt: skip
    before, after = (calls.answered(rows, given[name], losses[name], **asked) for name in given)
    return {
        "before": calls.account(before),
        "after": calls.account(after),
        "differences": calls.differences(before, after),
    }


def metrics_of(found: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of both models, with their intervals, of what `scored` gave."""
    return {model: found[model]["metrics"] for model in ("before", "after")}


STRATEGIES, LANGUAGES, SEEDS, BUDGETS, ITEMS = ("ours", "theirs", "chance"), ("cy", "ne"), (0, 1, 2), (100, 200), 24


def compared() -> dict[str, Any]:
    """Compare strategies on made-up answers: one of them lacks a training, some items are asked in both languages."""
    rng = random.Random(0)
    share = {"ours": 0.6, "theirs": 0.45, "chance": 0.3}
    answers, picks = [], {}
    for language, seed, budget, strategy in itertools.product(LANGUAGES, SEEDS, BUDGETS, STRATEGIES):
        picked = sorted(rng.sample(range(300), budget // 4))
        rows = [
            {"language": language, "seed": seed, "budget": budget, "strategy": strategy, "id": f"i{i}"}
            | {"item": f"both-{i}" if i < 6 else f"{language}-{(i + 3 * seed) % 40}"}
            | {"exact": float(rng.random() < share[strategy] + budget / 2000), "loss": 3 * rng.random()}
            | {"intent": float(rng.random() < 0.7)}
            for i in range(ITEMS)
        ]
        if (language, seed, budget, strategy) != ("ne", 2, 200, "chance"):
            answers += rows
            picks[language, seed, budget, strategy] = [f"p{i}" for i in picked]
    answers[5]["loss"] = float("nan")
    return calls.comparison(
        answers, picks, strategies=STRATEGIES, budgets=BUDGETS, draws=200, permutations=300, seed=SEED
    )
