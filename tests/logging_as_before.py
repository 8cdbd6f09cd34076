"""For rooms that run the command line in the process of the tests: a conftest imports the fixture."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from compass.cli.process import NOISY


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The command sets up the log of its process: of later tests here, too."""
    logger = logging.getLogger("compass")
    handlers, propagate = logger.handlers, logger.propagate
    levels = {name: logging.getLogger(name).level for name in ("compass", *NOISY)}
    yield
    logger.handlers, logger.propagate = handlers, propagate
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
