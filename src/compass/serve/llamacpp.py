"""llama.cpp's server, with the adapters that it was started with: `--lora-init-without-apply --lora cy@3.gguf`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath

from compass.errors import ServeError
from compass.serve.over_http import HttpBackend
from compass.serve.protocol import Call, Listing


class LlamaCpp(HttpBackend):
    """One llama.cpp server. An adapter is a GGUF file that is called by its version, `cy@3.gguf`, and given at start:
    the server can't load another one while it runs."""

    _numbers: Mapping[str, int] = {}
    _not_asked_for: frozenset[str] = frozenset()
    """Adapters that were unloaded: the server still has them."""

    async def list(self) -> Listing:
        """Return the base model, and the adapters by the names of their files."""
        listing = await super().list()
        entries = (await self._json("GET", "/lora-adapters")).get("data") or []
        self._numbers = {
            PurePath(str(entry["path"])).name.removesuffix(".gguf"): int(entry["id"])
            for entry in entries
            if isinstance(entry, Mapping) and "path" in entry and "id" in entry
        }
        # Their files are converted adapters, so their places say nothing of the registry's folders.
        return Listing(listing.base, {name: "" for name in self._numbers if name not in self._not_asked_for})

    async def load(self, name: str, folder: Path) -> None:
        """Raise ServeError, with what to do, unless the adapter is there."""
        if name not in self._numbers:
            raise ServeError(
                f"llama.cpp loads no adapter while it runs. Convert {folder} to {name}.gguf, and restart {self.name} "
                f"with --lora {name}.gguf."
            )
        self._not_asked_for -= {name}

    async def unload(self, name: str) -> None:
        """List it no more. It stays where it is: what a request does not ask for is not applied."""
        self._not_asked_for |= {name}

    def body_for(self, call: Call) -> bytes:
        """Return the body with the scale of each adapter: 1 for the one that answers, 0 for the others."""
        scales = [{"id": number, "scale": float(name == call.adapter)} for name, number in self._numbers.items()]
        lora = {"lora": scales} if scales else {}
        return call.body.with_fields(model=self.base, **lora)
