"""Thousands of inputs log thousands of lines: nobody reads them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from compass.cli.process import NOISY


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Leave the log of the process as it was; the command line sets up its own."""
    logger = logging.getLogger("compass")
    handlers, propagate = logger.handlers, logger.propagate
    levels = {name: logging.getLogger(name).level for name in ("compass", *NOISY)}
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    yield
    logger.handlers, logger.propagate = handlers, propagate
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
