"""What the gateway asks of a model server. `vllm.py`, `sglang.py` and `llamacpp.py` speak to one over HTTP;
`embedded.py` answers in the gateway's own process.

A backend keeps no plan of its own: the gateway lists what it has loaded, loads what is missing and unloads what is no
longer used, again and again (`reconcile.py`). So a backend that restarts with nothing loaded needs to do nothing.

To write one:

- Adapters go by versioned names, `cy@3`, each with the adapter folder of its registry version. A name never stands for
  two folders at a time. The gateway never unloads a name that a request is still running on.
- All methods run in the gateway's event loop, many at a time: work that takes the processor belongs in a thread.
- `forward` answers as OpenAI's API does, errors too: the client gets status, headers and bytes as they are. A body with
  `stream: true` is answered with `text/event-stream`, else with one JSON object. Both name an `id`, by which feedback
  is given, and `model`.
- Where nothing of a request has reached the model, raise UnreachableError: the gateway may then ask another backend.
  Once work on it has begun, raise LostError, also out of `Reply.chunks`. An unknown adapter is UnknownAdapterError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compass.errors import ServeError
from compass.serve.body import Body

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
"""Paths of the calls that are passed on."""

Headers = tuple[tuple[str, str], ...]
"""Names in lower case, and values."""


class UnreachableError(ServeError):
    """A backend took nothing of a request, so that another one may be asked."""


class LostError(ServeError):
    """A backend began to work on a request and did not end it: asking again could answer it twice."""


class UnknownAdapterError(UnreachableError):
    """A backend has not loaded the adapter: it has restarted since it was listed."""


@dataclass(frozen=True)
class Listing:
    """What a backend has loaded."""

    base: str
    """Name of its base model."""
    adapters: Mapping[str, str]
    """Name of each adapter -> its folder or file, as the backend knows it; empty where it does not say."""


@dataclass(frozen=True)
class Call:
    """One request of a client, for one backend."""

    path: str
    """CHAT or COMPLETIONS."""
    body: Body
    """As it came; its `model` is the client's, and not for the backend."""
    adapter: str
    """Name of the adapter that answers; empty: the base model."""
    headers: Headers = ()
    """End-to-end headers of the client, without its key."""


async def _nothing() -> None:
    return


@dataclass(frozen=True)
class Reply:
    """A backend's answer, as it begins."""

    status: int
    headers: Headers
    """End-to-end headers."""
    chunks: AsyncIterator[bytes]
    """The body, as it comes."""
    close: Callable[[], Awaitable[None]] = _nothing
    """Called once, whether the body was read to its end or not: a client that leaves ends the work on its request."""


async def once(content: bytes) -> AsyncIterator[bytes]:
    """Return a body that is there already."""
    yield content


class Backend(Protocol):
    """A server of one base model and its adapters."""

    @property
    def name(self) -> str:
        """What it is called in logs and metrics: its address, without secrets."""

    async def health(self) -> bool:
        """Say whether it answers; never raises."""

    async def list(self) -> Listing:
        """Return what is loaded. Raises ServeError if it does not answer."""

    async def load(self, name: str, folder: Path) -> None:
        """Load an adapter under a name; one that is loaded already is fine. Raises ServeError if it can't."""

    async def unload(self, name: str) -> None:
        """Unload an adapter; one that is not loaded is fine. Raises ServeError if it can't."""

    async def forward(self, call: Call) -> Reply:
        """Begin to answer a request; returns at the first byte. Raises UnreachableError or LostError."""

    async def close(self) -> None:
        """Give connections and memory back."""
