"""vLLM, by the endpoints that `--enable-lora` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True open."""

from __future__ import annotations

from pathlib import Path

from compass.serve.over_http import HttpBackend


class Vllm(HttpBackend):
    """One vLLM server. It forgets adapters when it restarts, and replicas know nothing of each other: issue 12174."""

    async def load(self, name: str, folder: Path) -> None:
        """Load an adapter under a name."""
        body = {"lora_name": name, "lora_path": str(folder)}
        await self._post("/v1/load_lora_adapter", body, fine="already")

    async def unload(self, name: str) -> None:
        """Unload an adapter."""
        await self._post("/v1/unload_lora_adapter", {"lora_name": name}, fine="found")
