"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable

Compass = Callable[..., tuple[int, str, str]]
"""Runs `compass` with arguments; returns exit code, stdout and stderr."""
