"""Any sentence-transformers model, from the hub or from a folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from compass.encoders.protocol import FloatArray, clean_text, unit_rows
from compass.errors import EncoderError, MissingExtraError


class SentenceTransformersEncoder:
    """A sentence-transformers model with one of its prompts. Code that comes with a model is never run.

    `revision` is the hub commit that was loaded, or the hash of the folder's files. Longer texts than the model reads
    (its `max_seq_length`) are cut by the library. Texts are sorted by length, so that batches hold little padding;
    padding moves a row by about 1e-7 (in bfloat16 by 1e-2), so rows are not equal to the bit when batches differ.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str = "",
        prompt_name: str = "",
        batch_size: int = 64,
        device: str = "",
        dtype: str = "auto",
    ) -> None:
        """Load the model. dtype: `auto` (as it is stored), `float32` or `bfloat16`.

        Raises MissingExtraError without the package, EncoderError if it cannot be loaded.
        """
        if importlib.util.find_spec("sentence_transformers") is None:
            raise MissingExtraError("sentence-transformers", "sentence-transformers", f"The encoder {model!r}")
        from sentence_transformers import SentenceTransformer

        folder = Path(model).expanduser()
        try:
            self._model: Any = SentenceTransformer(
                str(folder) if folder.is_dir() else model,
                revision=None if folder.is_dir() else revision or None,
                device=device or None,
                model_kwargs=None if dtype == "auto" else {"dtype": dtype},
                trust_remote_code=False,
            )
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            if "trust_remote_code" in str(error):
                raise EncoderError(
                    f"The sentence-transformers model {model!r} brings code of its own, and an encoder's code is never "
                    "run, whatever --trust-remote-code says. Take an encoder without code, or serve this one and give "
                    "the address of its /v1/embeddings endpoint."
                ) from error
            raise EncoderError(
                f"The sentence-transformers model {model!r} (revision {revision or 'newest'!r}) cannot be loaded: "
                f"{error}. Give the name of a hub model you can reach, or the path of a folder that holds one."
            ) from error
        self._model.eval()
        prompts = {name: prompt or "" for name, prompt in self._model.prompts.items()}
        prompt_name = prompt_name or self._model.default_prompt_name or ""
        if prompt_name and prompt_name not in prompts:
            known = ", ".join(sorted(prompts)) or "none"
            raise EncoderError(f"The model {model!r} has no prompt {prompt_name!r} (prompt_name); it has: {known}.")
        self._prompt = prompts[prompt_name] if prompt_name else ""
        self.batch_size = batch_size
        # the length decides where texts are cut, the data type their last digits: both belong to the identity
        self.name = f"{model}#prompt={self._prompt}#max_length={self._model.max_seq_length}"
        if dtype != "auto":
            self.name += f"#dtype={dtype}"
        self.revision = folder_hash(folder) if folder.is_dir() else _resolved_revision(self._model, revision)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, d) float32 unit rows in the order of `texts`."""
        if not texts:
            return np.empty((0, self._dimension()), dtype=np.float32)
        # encode() sorts by length itself, in characters, longest first
        vectors = self._model.encode(
            [clean_text(text) for text in texts],
            prompt=self._prompt,
            batch_size=self.batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        return unit_rows(vectors, len(texts), self.name)

    def _dimension(self) -> int:
        # newer versions have renamed the method
        for method in ("get_embedding_dimension", "get_sentence_embedding_dimension"):
            if hasattr(self._model, method):
                return int(getattr(self._model, method)() or 0)
        return 0


def folder_hash(folder: Path) -> str:
    """Return `sha256:` and 16 digits over the names and contents of all files in a model folder (not its README)."""
    digest = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() != ".md"):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        digest.update(b"\0")
    return f"sha256:{digest.hexdigest()[:16]}"


def _resolved_revision(model: Any, requested: str) -> str:
    config = getattr(getattr(model[0], "auto_model", None), "config", None)
    commit = getattr(config, "_commit_hash", None) or getattr(model.model_card_data, "base_model_revision", None)
    if commit or requested:
        return str(commit or requested)
    raise EncoderError(
        "The library does not say which revision of the model it loaded, so its vectors could be confused with "
        "those of another version. Give the commit with encoder_revision."
    )
