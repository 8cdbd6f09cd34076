"""One base model with several adapters on it, of which each row of a batch has its own, by peft."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from compass.errors import DataError, ModelError
from compass.runs import layout
from compass.training.adapters import check_adapter, read_adapter_config
from compass.training.decoding import RowsOnCache
from compass.training.merged import end_tokens
from compass.training.models import BaseModel, load_base, load_tokenizer, translated
from compass.training.prompt_format import template_of
from compass.training.quiet import without_old_names

NO_ADAPTER = "__base__"
"""peft's name for the base model in a batch."""
GREEDY_BELOW = 1e-5
"""Temperature under which the likeliest token is taken, as in vLLM: quotients by less overflow."""


@dataclass
class Row:
    """One prompt on its way to an answer."""

    prompt: Sequence[int]
    adapter: str
    """Empty: the base model."""
    max_tokens: int
    temperature: float = 0.0
    """0 decodes greedily."""
    top_p: float = 1.0
    seed: int | None = None
    tokens: list[int] = field(default_factory=list)
    """What was answered so far, without the token that ends the answer."""
    finished: str = ""
    """`stop` or `length`, once the answer has ended; whoever sets it ends the work on the row."""
    failed: ModelError | None = None
    """Why this row alone has ended without an answer."""


class MixedModel:
    """A base model that answers with any of the adapters that are loaded, those of one batch included.

    It is not safe for threads: one thread calls it.
    """

    def __init__(self, base: BaseModel, *, dtype: str = "auto") -> None:
        """Load the weights. Raises ModelError."""
        self.base = base
        self.tokenizer = load_tokenizer(base)
        self._model: Any = load_base(base, dtype=dtype)
        self._model.eval()
        self._ends = frozenset(end_tokens(base))
        self._names: dict[str, str] = {}
        """What an adapter is called -> what peft calls it."""
        self._templates: dict[str, str | None] = {"": template_of(self.tokenizer)}
        self._numbers = itertools.count()
        self._active = ""
        """peft's name of the adapter that answers where a batch has one alone; empty where that is not known."""
        self._plain: Any = None
        """The model without peft's wrapper, once it has one."""

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter under a name. Raises ModelError if it does not fit, or is DoRA, which peft does not mix."""
        check_adapter(folder, self.base)
        if read_adapter_config(folder).get("use_dora"):
            raise ModelError(
                f"{folder} is a DoRA adapter, and peft answers with several adapters at a time only for LoRA. Serve "
                "it alone: compass export --to merged."
            )
        from peft import PeftModel

        own = f"adapter_{next(self._numbers)}"
        with translated(folder), without_old_names():
            if self._plain is None:
                self._plain = self._model
                self._model = PeftModel.from_pretrained(self._plain, str(folder), adapter_name=own)
            else:
                self._model.load_adapter(str(folder), adapter_name=own)
        self._model.eval()
        self._active = ""
        template = folder / layout.CHAT_TEMPLATE_FILE
        # An adapter of version 0.1 has none.
        self._templates[name] = template.read_text("utf-8") if template.is_file() else self._templates[""]
        self._names[name] = own

    def unload(self, name: str) -> None:
        """Drop an adapter; one that is not loaded is fine."""
        own = self._names.pop(name, None)
        if own is None:
            return
        self._templates.pop(name)
        self._active = ""
        if self._names:
            self._model.set_adapter(next(iter(self._names.values())))
            self._model.delete_adapter(own)
        else:
            self._model, self._plain = self._model.unload(), None

    def prompt_of(self, messages: Sequence[Mapping[str, Any]], adapter: str, tools: Any = None) -> list[int]:
        """Return the token ids of a conversation, in the adapter's format. Raises DataError if that refuses it."""
        template = self._templates.get(adapter)
        if template is None:
            raise DataError("this model has no chat template; ask /v1/completions")
        try:
            found = self.tokenizer.apply_chat_template(
                list(messages), tools=tools, chat_template=template, add_generation_prompt=True, return_dict=False
            )
        except (TemplateError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"the model's chat template refuses the messages: {error}") from error
        return list(found)

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return tokens as text, without special ones."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def ids_of(self, text: str, special_tokens: bool = True) -> list[int]:
        """Return a text's token ids, if asked with what the tokenizer puts at its beginning, but not at its end."""
        ids = list(self.tokenizer(text, add_special_tokens=special_tokens)["input_ids"])
        while ids and ids[-1] in {self.tokenizer.eos_token_id, self.tokenizer.sep_token_id}:
            ids.pop()
        return ids

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(self.bare.get_input_embeddings().num_embeddings)

    @property
    def max_length(self) -> int:
        """Tokens that prompt and answer may have together."""
        return int(getattr(self._model.config.get_text_config(), "max_position_embeddings", 0) or 1 << 20)

    def start(self, rows: Sequence[Row]) -> Batch:
        """Begin to answer rows together."""
        return Batch(self, rows)

    def forward(self, rows: Sequence[Row], **inputs: Any) -> Any:
        """Run the model, each row with its adapter."""
        if self._plain is None:
            return self._model(**inputs)
        names = [self._names[row.adapter] if row.adapter else NO_ADAPTER for row in rows]
        if len(set(names)) > 1 or names[0] == NO_ADAPTER:
            return self._model(**inputs, adapter_names=names)
        # peft walks through all modules at each step of a mixed batch, and through each adapter in each layer.
        if self._active != names[0]:
            self._model.set_adapter(names[0])
            self._active = names[0]
        return self._model(**inputs)

    @property
    def bare(self) -> Any:
        """transformers' own model."""
        return self._model if self._plain is None else self._plain

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self._ends


class Batch:
    """Rows that are answered together, a token each step; one that has ended leaves the others."""

    def __init__(self, model: MixedModel, rows: Sequence[Row]) -> None:
        """Nothing is computed before the first step."""
        self._owner, self.rows = model, list(rows)
        self._cached = RowsOnCache(model.bare, [row.prompt for row in rows], int(model.tokenizer.pad_token_id))
        self._draws = [_generator(row, model.bare.device) for row in rows]

    def step(self) -> list[Row]:
        """Append a token to each row that goes on, and return the rows of this step; rows that have ended are gone."""
        import torch

        self._drop_finished()
        if not self.rows:
            return []
        with torch.inference_mode():
            logits = self._cached.logits(lambda **inputs: self._owner.forward(self.rows, **inputs)).float()
            chosen = [
                self._chosen(row, own, draw) for row, own, draw in zip(self.rows, logits, self._draws, strict=True)
            ]
            for row, token in zip(self.rows, chosen, strict=True):
                if row.failed or token in self._owner.ends:
                    row.finished = "stop"
                    continue
                row.tokens.append(token)
                if len(row.tokens) >= row.max_tokens:
                    row.finished = "length"
            self._cached.append(torch.tensor(chosen, device=logits.device))
        return list(self.rows)

    def _chosen(self, row: Row, logits: Any, generator: Any) -> int:
        """Return a row's next token. A row that has none, as with an adapter of broken weights, ends; others go on."""
        try:
            return _choose(row, logits, generator)
        except RuntimeError as error:
            row.failed = ModelError(f"The model says nothing that a token can be chosen from: {error}")
            return int(self._owner.tokenizer.pad_token_id)

    def join(self, other: Batch) -> bool:
        """Take in another batch's rows, once both have made a step; return False where the model's cache does not allow
        it, and nothing has changed."""
        if not self._cached.can_join(other._cached):
            return False
        self._drop_finished()
        other._drop_finished()
        if not self.rows or not other.rows:
            return not other.rows
        self._cached.join(other._cached)
        self.rows, self._draws = self.rows + other.rows, self._draws + other._draws
        return True

    def _drop_finished(self) -> None:
        left = [i for i, row in enumerate(self.rows) if not row.finished]
        if len(left) == len(self.rows):
            return
        self.rows, self._draws = [self.rows[i] for i in left], [self._draws[i] for i in left]
        if left:
            self._cached.keep(left)


def _generator(row: Row, device: Any) -> Any:
    import torch

    generator = torch.Generator(device=device)
    if row.seed is None:
        generator.seed()
    else:
        generator.manual_seed(row.seed)
    return generator


def _choose(row: Row, logits: Any, generator: Any) -> int:
    import torch

    if row.temperature < GREEDY_BELOW or row.top_p <= 0:
        best = logits.max(dim=-1)
        if best.values.isnan():
            raise RuntimeError("its logits are no numbers.")
        return int(best.indices)
    shares = torch.softmax(logits / row.temperature, dim=-1)
    if row.top_p < 1:
        ordered, places = shares.sort(descending=True)
        # The likeliest token always stays.
        ordered[ordered.cumsum(-1) - ordered >= row.top_p] = 0
        return int(places[torch.multinomial(ordered, 1, generator=generator)])
    return int(torch.multinomial(shares, 1, generator=generator))


def base_of(adapter: Path) -> tuple[str, str]:
    """Return name and revision of the base model that an adapter was trained on. Raises ModelError."""
    config = read_adapter_config(adapter)
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise ModelError(f"{adapter}: {json.dumps(layout.ADAPTER_CONFIG_FILE)} names no base model.")
    return name, str(config.get("revision") or "")
