"""Serve every language from one address: a gateway before model servers that holds them to the registry."""

from __future__ import annotations

from compass.config import ServeOptions
from compass.errors import MissingExtraError


def start(options: ServeOptions) -> None:
    """Run the gateway until it is stopped. Raises ConfigError, or MissingExtraError without the extra `serve`."""
    try:
        from compass.serve.start import serve
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fastapi", "serve", "compass serve") from error
    serve(options)
