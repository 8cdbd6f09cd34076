"""The command that serves every language from one address."""

from __future__ import annotations

from typing import Any

from compass.cli.flags import Config, Verbose, with_options
from compass.cli.process import set_up_logging
from compass.config import ServeOptions, load_options


@with_options(
    "serve", "registry", "monitor", of=ServeOptions,
    defaults={"database": "default: serve.db in serve_dir"},
)  # fmt: skip
def serve(config: Config = None, verbose: Verbose = False, *, options: Any = None) -> None:
    """Serve the versions in production from one address.

    OpenAI-compatible: routes by language, and keeps model servers at what the registry says. Ctrl-C ends it.
    """
    set_up_logging(verbose)
    resolved = load_options(ServeOptions, config, options)
    from compass.serve import start

    start(resolved)
