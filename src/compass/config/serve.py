"""The options of `compass serve`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from compass.config.knobs import knob, part
from compass.config.monitor import MonitorConfig
from compass.config.registry import GateConfig, RegistryConfig
from compass.config.watch import WatchConfig


def share_of(value: Any) -> Any:
    """Read a share as `5%` or `0.05`. Raises ValueError."""
    share = value
    if isinstance(value, str):
        number, percent, rest = value.strip().partition("%")
        try:
            share = float(number) / (100 if percent else 1) if not rest else float(value)
        except ValueError:
            raise ValueError(f"write a share as 5% or 0.05; got {value!r}") from None
    if isinstance(share, int | float) and 1 < share <= 100 and "%" not in str(value):
        raise ValueError(f"write a share as {share:g}% or {share / 100:g}; got {value!r}")
    return share


@dataclass(frozen=True)
class ServeConfig:
    """Where the gateway listens, which model servers it asks, and what it allows."""

    backend: tuple[str, ...] = knob(
        (), "Model server: http://HOST:PORT (vLLM), sglang+http://..., llamacpp+http://..., or embedded.", basic=True,
        from_operator=True,
    )  # fmt: skip
    host: str = knob("127.0.0.1", "Address to listen on; 0.0.0.0 listens on all networks.", basic=True)
    port: int = knob(8080, "Port to listen on; 0 takes a free one.", basic=True, low=0, high=65535)
    serve_dir: str = knob("serve", "Folder for the gateway's answers, feedback and prompts.", basic=True, required=True)
    registry_at: str = knob("", "Folder of the registry as the backends see it; empty: the same.")
    keys_file: str = knob(
        "", "YAML file of clients' keys, as SHA-256, with limits; empty: those of COMPASS_SERVE_KEYS.", basic=True
    )
    max_concurrent: int = knob(256, "Maximum requests at a time; more get status 503 with Retry-After.", low=1)
    max_body_mb: float = knob(16.0, "Maximum body of a request in MiB; a larger one gets status 413.", low=0.001)
    canary: float = knob(
        0.0, "Share of conversations that a candidate answers: 5%.", basic=True, low=0.0, high=1.0, parse=share_of
    )
    shadow: float = knob(
        0.0, "Share of conversations that a candidate answers too, unseen, to compare.", low=0.0, high=1.0,
        parse=share_of,
    )  # fmt: skip
    request_timeout: float = knob(600.0, "Seconds until a request without an answer is given up.", low=0.1)
    drain_seconds: float = knob(30.0, "Seconds for running requests to finish when the gateway stops.", low=0.0)


def _only(kind: type[Any], *names: str) -> Any:
    """Declare a section of which some options are taken."""
    return part(kind, without={option.name for option in fields(kind)} - set(names))


@dataclass(frozen=True)
class ServeOptions:
    """All options of `compass serve`."""

    serve: ServeConfig = part(ServeConfig)
    monitor: MonitorConfig = part(
        MonitorConfig, without=("prompts_per_false_alarm", "window", "reservoir_size", "monitor_batch_size")
    )
    registry: RegistryConfig = part(RegistryConfig, without=("keep_versions", "leave_out"))
    gate: GateConfig = part(GateConfig)
    watch: WatchConfig = _only(WatchConfig, "watch_dir")


@dataclass(frozen=True)
class DashboardOptions:
    """All options of `compass dashboard`."""

    serve: ServeConfig = _only(ServeConfig, "host", "port", "serve_dir", "keys_file")
    monitor: MonitorConfig = _only(MonitorConfig, "database", "retention_days")
    registry: RegistryConfig = part(RegistryConfig, without=("keep_versions", "leave_out"))
    gate: GateConfig = part(GateConfig)
    watch: WatchConfig = _only(WatchConfig, "watch_dir")


@dataclass(frozen=True)
class ForgetOptions:
    """All options of `compass data forget`: where rows of users are kept."""

    serve: ServeConfig = _only(ServeConfig, "serve_dir")
    monitor: MonitorConfig = _only(MonitorConfig, "database")
    watch: WatchConfig = _only(WatchConfig, "watch_dir")
    registry: RegistryConfig = _only(RegistryConfig, "registry_dir")
