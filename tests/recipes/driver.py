"""Runs of `adapt` in forked processes, killed or without room at a given moment. Prints one JSON object.

Everything heavy is loaded once, in the process that forks.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
import trl

from compass.config import AdaptConfig, load_options
from compass.encoders import CachedEncoder
from compass.recipes.adapt import adapt
from compass.steps import resources
from tiny_model import make_tiny_model
from topics import TOPICS, TopicEncoder

CHUNK = 8
EMBEDDED = "embedded:"
"""Before a number of texts: killed once so many are embedded."""
LOADED = (peft, torch, trl)


class CountingEncoder(TopicEncoder):
    """Writes down each text that it embeds, and may be killed between two chunks."""

    def __init__(self, log: Path, most: int) -> None:
        self._log, self._most = log, most

    def encode(self, texts: Sequence[str]) -> Any:
        done = self._log.read_text().count("\n") if self._log.exists() else 0
        if self._most and done >= self._most:
            os.kill(os.getpid(), signal.SIGKILL)
        with self._log.open("a") as file:
            file.writelines(f"{text}\n" for text in texts)
        return super().encode(texts)


def write_data(folder: Path) -> AdaptConfig:
    """Write the sources of a small run, and return its options."""

    def write(name: str, n: int, topics: Sequence[str], language: str) -> str:
        rows = [
            {"prompt": f"{topics[i % len(topics)]} {name} {i}", "response": f"{topics[i % len(topics)]}{i % 3}"}
            for i in range(n)
        ]
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row | {"language": language}) + "\n" for row in rows), "utf-8")
        return str(path)

    overrides = {
        "language": "cy", "usage": write("usage", 24, TOPICS, "cy"), "train": write("train", 8, TOPICS[:3], "cy"),
        "pool": [write("pool", 40, TOPICS, "en")], "test": write("test", 4, TOPICS, "cy"), "n_clusters": 4,
        "retention_tests": [write("english", 3, TOPICS, "en")], "budget": 8, "max_steps": 4, "save_steps": 1,
        "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_new_tokens": 2, "lora_r": 2,
        "model_name_or_path": str(make_tiny_model(folder / "model")),
        "identify_languages": False, "near_duplicates": 1.0, "cache_dir": str(folder / "cache"),
        # The tiny model was made before the fork: converting its weights after it would use torch's threads, which
        # a fork does not have.
        "dtype": "float32",
    }  # fmt: skip
    return load_options(AdaptConfig, None, overrides)


def forked(work: Callable[[], object], errors: Path) -> int:
    """Do the work in a process of its own; return its exit code, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        with errors.open("w") as file:
            os.dup2(file.fileno(), 2)
            os.dup2(file.fileno(), 1)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
    return 0


def run(config: AdaptConfig, output: Path, log: Path, *, most: int = 0) -> None:
    """Adapt with an encoder that is counted. most: texts after which it is killed; 0: never."""
    resources.load_encoder = lambda _config, cache: CachedEncoder(CountingEncoder(log, most), cache, chunk_rows=CHUNK)  # type: ignore[assignment]
    adapt(dataclasses.replace(config, run=dataclasses.replace(config.run, output_dir=str(output))))


def kill_at(place: str) -> None:
    """Let this process be killed when it is about to give a file or folder its final name, which ends in `place`."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(arguments[1]).endswith(place) and threading.current_thread():
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def killed_runs(folder: Path, places: Sequence[str]) -> dict[str, Any]:
    """Run once undisturbed, and once killed at each of the places in turn, in a folder of the same name."""
    config, errors, output = write_data(folder), folder / "errors.txt", folder / "run"
    codes = {"whole": forked(lambda: run(config, output, folder / "whole.log"), errors)}
    told = [errors.read_text()]
    if codes["whole"] == 0:
        output.rename(folder / "whole")
        config = dataclasses.replace(config, run=dataclasses.replace(config.run, cache_dir=str(folder / "cache-2")))
        log = folder / "embedded.log"
        for place in places:

            def work(place: str = place) -> None:
                texts = place.removeprefix(EMBEDDED) if place.startswith(EMBEDDED) else ""
                if not texts:
                    kill_at(place)
                run(config, output, log, most=int(texts or 0))

            codes[place] = forked(work, errors)
            told.append(errors.read_text())
        codes["last"] = forked(lambda: run(config, output, log), errors)
        told.append(errors.read_text())
    return {"codes": codes, "errors": "\n".join(told)[-3000:]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(killed_runs(Path(sys.argv[1]), sys.argv[2:])))
