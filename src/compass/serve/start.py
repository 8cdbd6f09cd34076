"""From options to a running gateway."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette

from compass.config import ServeConfig, ServeOptions, validate
from compass.drift.tables import database_in
from compass.errors import ConfigError, RegistryError, ServeError
from compass.registry import Registry, RegistryEvent
from compass.registry.commands import no_folder
from compass.registry.folders import number_of
from compass.serve.app import make_app
from compass.serve.desired import DesiredState
from compass.serve.door import Door
from compass.serve.embedded import Embedded
from compass.serve.fleet import Fleet
from compass.serve.gateway import Gateway
from compass.serve.keeper import Keeper
from compass.serve.keys import Keys, read_keys
from compass.serve.llamacpp import LlamaCpp
from compass.serve.prompt_log import PromptLog
from compass.serve.protocol import Backend
from compass.serve.rollout import Rollout, Withdraw
from compass.serve.sglang import Sglang
from compass.serve.store import DATABASE, Store
from compass.serve.tracing import spans
from compass.serve.vllm import Vllm
from compass.signals import handled

logger = logging.getLogger(__name__)

KINDS: dict[str, type[Vllm | Sglang | LlamaCpp]] = {"vllm": Vllm, "sglang": Sglang, "llamacpp": LlamaCpp}
"""What stands before `+` in a backend's address; nothing stands for vLLM."""
EMBEDDED = "embedded"
"""Address of the backend in this process."""
BACKLOG = 2048
SWITCH_SECONDS = 0.0005
"""After which a thread that writes answers down lets requests go on, where they wait for it; Python's own 5 ms are what
the gateway may add to a request [ours]."""
YOUNG_OBJECTS = 10_000
"""Objects from which the collector looks for cycles among the young ones: a request leaves next to none [ours]."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def make_backend(address: str, *, timeout: float, transport: httpx.AsyncBaseTransport | None = None) -> Backend:
    """Return the backend at an address, as `http://HOST:PORT` or `embedded`. Raises ConfigError."""
    if address == EMBEDDED:
        return Embedded()
    kind, plus, url = address.partition("+")
    if not plus:
        kind, url = "vllm", address
    if kind not in KINDS:
        raise ConfigError(
            f"backend: {address!r} begins with {kind!r}; known: {', '.join(f'{name}+http://' for name in KINDS)} "
            f"and {EMBEDDED}"
        )
    try:
        return KINDS[kind](url, timeout=timeout, transport=transport)
    except ServeError as error:
        raise ConfigError(f"backend: {error}") from error


def make_gateway(options: ServeOptions) -> Gateway:
    """Return the gateway that the options describe; nothing is asked yet. Raises ConfigError with every problem."""
    validate(options)
    own = options.serve
    problems: list[str] = []
    backends: list[Backend] = []
    for address in own.backend:
        try:
            backends.append(make_backend(address, timeout=own.request_timeout))
        except ConfigError as error:
            problems += error.problems
    if not own.backend:
        problems.append("backend: name at least one model server, as in --backend http://localhost:8000")
    if not Path(options.registry.registry_dir).is_dir():
        problems.append(f"registry_dir: {no_folder(options.registry.registry_dir)}")
    keys = Keys()
    try:
        keys = read_keys(own.keys_file, os.environ)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    if not keys and own.host not in LOOPBACK:
        logger.warning("No keys are set: whoever reaches %s may use the models. Give keys_file.", own.host)
    door = Door(keys, most=own.max_concurrent, largest=int(own.max_body_mb * 2**20), patience=own.request_timeout)
    at = Path(own.registry_at) if own.registry_at else None
    desired = DesiredState(Registry(Path(options.registry.registry_dir)), at=at)
    candidates = own.canary > 0 or own.shadow > 0
    fleet = Fleet(backends, desired.read, share=own.canary, candidates=candidates, problems=desired.problems)
    return Gateway(fleet, door=door, timeout=own.request_timeout, spans=spans())


def make_application(options: ServeOptions) -> FastAPI:
    """Return the gateway as an ASGI application, for a server of one's own. Raises ConfigError or MonitorError."""
    gateway = make_gateway(options)
    folder, kept = Path(options.serve.serve_dir), options.monitor
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(kept.database or database_in(folder / DATABASE))
    keeper = Keeper(store, folder, kept.reservoir, retention_days=kept.retention_days)
    prompts = None
    if kept.reservoir != "off":
        prompts = PromptLog(folder, kept.reservoir, retention_days=kept.retention_days)
    rollout = Rollout(gateway.fleet, withdrawing(options.registry.registry_dir), shadow=options.serve.shadow)
    return make_app(gateway, keeper=keeper, prompts=prompts, rollout=rollout)


def withdrawing(registry_dir: str) -> Withdraw:
    """Return what takes a candidate back, in the registry and in its log of events."""

    def withdraw(language: str, version: int, reason: str) -> None:
        registry = Registry(Path(registry_dir))
        try:
            candidate = registry.aliases(language).candidate
            # A person, or another gateway, may have been faster.
            if candidate and number_of(candidate) == version:
                registry.withdraw(language, reason=reason)
                registry.record(RegistryEvent("refusal", language, f"{candidate} is withdrawn. {reason}", candidate))
        except RegistryError as error:
            logger.warning("%s@%d gets no more requests, but is the candidate still: %s", language, version, error)

    return withdraw


def check_address(own: ServeConfig) -> None:
    """Raise ConfigError where nothing can listen at the address, before models are loaded for it."""
    try:
        found = socket.getaddrinfo(own.host, own.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigError(
            f"host, port: nothing can listen at {own.host}:{own.port} ({error.strerror}). Give another --port, or end "
            "what listens there"
        ) from None


def run_server(app: Starlette, own: ServeConfig, stops: Sequence[Callable[[], None]] = (), *, told: str = "") -> None:
    """Serve an application until SIGTERM or Ctrl-C.

    stops: called when it is to end, before running requests do. told: path of a page that is named with its address.
    """
    config = uvicorn.Config(
        app, host=own.host, port=own.port, backlog=BACKLOG, log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=int(own.drain_seconds), timeout_keep_alive=75,
    )  # fmt: skip
    # uvicorn raises the signal that ended it once more when everything has ended well.
    sys.setswitchinterval(SWITCH_SECONDS)
    with handled(signal.SIGTERM, _ended), handled(signal.SIGINT, _ended):
        _Server(config, stops, told).run()


def _ended(_number: int, _frame: object) -> None:
    """Do nothing: the server has ended already."""


class _Server(uvicorn.Server):
    """Says where it listens: port 0 takes a free one. stops: called when it is to end. told: path of a page."""

    def __init__(self, config: uvicorn.Config, stops: Sequence[Callable[[], None]], told: str) -> None:
        super().__init__(config)
        self._stops, self._told = stops, told

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for stop in self._stops:
            stop()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # What is there stays. Looking through all of it again takes 80 ms, in which requests wait.
            gc.collect()
            gc.freeze()
            gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            logger.info("Listening on %s", address)
            if self._told:
                logger.info("The dashboard is at %s%s", address, self._told)
