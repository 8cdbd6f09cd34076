"""SGLang, started with `--enable-lora`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from compass.serve.protocol import Call
from compass.serve.vllm import Vllm


class Sglang(Vllm):
    """One SGLang server. A request names `BASE:ADAPTER`; without that adapter it is a wrong request to the server."""

    unknown: Mapping[int, bytes] = {400: b"adapters are not loaded", 500: b"adapters are not loaded"}

    async def load(self, name: str, folder: Path) -> None:
        """Load an adapter under a name."""
        await self._post("/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)}, fine="already")

    async def unload(self, name: str) -> None:
        """Unload an adapter."""
        await self._post("/unload_lora_adapter", {"lora_name": name}, fine="not")

    def body_for(self, call: Call) -> bytes:
        """Return the body with the base model's name, and the adapter's behind a colon."""
        return call.body.with_fields(model=f"{self.base}:{call.adapter}" if call.adapter else self.base)
