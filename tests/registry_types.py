"""Types that tests of several rooms share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

MakeRun = Callable[..., Path]
