"""The commands that serve every language from one address, and show how it goes."""

from __future__ import annotations

from typing import Any

from compass.cli.flags import Config, Verbose, with_options
from compass.cli.process import set_up_logging
from compass.config import DashboardOptions, ServeOptions, load_options


@with_options(
    "serve", "registry", "monitor", "gate", "watch", of=ServeOptions, advanced=("gate", "watch", "mlflow_uri"),
    defaults={"database": "default: serve.db in serve_dir"},
)  # fmt: skip
def serve(config: Config = None, verbose: Verbose = False, *, options: Any = None) -> None:
    """Serve the versions in production from one address.

    OpenAI-compatible: routes by language, and keeps model servers in step with the registry. /dashboard shows every
    language. Ctrl-C stops it.
    """
    set_up_logging(verbose)
    resolved = load_options(ServeOptions, config, options)
    from compass.dashboard import serve as serve_with_dashboard

    serve_with_dashboard(resolved)


@with_options(
    "serve", "registry", "monitor", "gate", "watch", of=DashboardOptions, advanced=("gate", "mlflow_uri"),
    basic=("database",), defaults={"database": "default: monitor.db in watch_dir, serve.db in serve_dir"},
)  # fmt: skip
def dashboard(config: Config = None, verbose: Verbose = False, *, options: Any = None) -> None:
    """Serve the dashboard without a gateway.

    Traffic, quality, drift and versions of every language at /dashboard. Ctrl-C stops it.
    """
    set_up_logging(verbose)
    resolved = load_options(DashboardOptions, config, options)
    from compass.dashboard import start

    start(resolved)
