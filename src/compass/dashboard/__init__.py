"""The dashboard: what is served, how good it is, what users ask for, and what to do next. `app.py` has its pages."""

from __future__ import annotations

from compass.config import DashboardOptions, ServeOptions
from compass.errors import MissingExtraError


def start(options: DashboardOptions) -> None:
    """Run the dashboard alone until it is stopped. Raises ConfigError, or MissingExtraError without its extra."""
    try:
        from compass.dashboard.start import start
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "starlette", "serve", "compass dashboard") from error
    start(options)


def serve(options: ServeOptions) -> None:
    """Run the gateway with its dashboard; see `start`."""
    try:
        from compass.dashboard.start import serve
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fastapi", "serve", "compass serve") from error
    serve(options)
