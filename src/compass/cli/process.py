"""What the process of a command sets up and ends with: its log and its exit code."""

from __future__ import annotations

import logging
import sys
import warnings

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_DRIFT, EXIT_INTERRUPTED = 1, 2, 3, 130
"""Exit codes: something failed; the options or the data are wrong; drift stands, or the gate did not pass a version;
stopped by Ctrl-C (the same command resumes)."""
NOISY = ("ContinuousBatchingLogger", "transformers", "trl", "peft", "datasets", "accelerate", "httpx")
"""Libraries that log errors alone, unless --verbose asks for more."""


def set_up_logging(verbose: bool) -> None:
    """Log to stderr: for people in a terminal, with times elsewhere."""
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("compass")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    if not verbose:
        warnings.simplefilter("ignore")
        for noisy in NOISY:
            logging.getLogger(noisy).setLevel(logging.ERROR)
