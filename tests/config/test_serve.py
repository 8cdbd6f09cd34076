"""A share of conversations, as people write it."""

from __future__ import annotations

from typing import Any

import pytest

from compass.config import ServeOptions, load_options
from compass.config.serve import share_of
from compass.errors import ConfigError


@pytest.mark.parametrize(("written", "share"), [("5%", 0.05), ("0.05", 0.05), (0.05, 0.05), ("100%", 1.0), (1, 1)])
def test_a_share_is_a_percentage_or_a_number(written: Any, share: float) -> None:
    assert share_of(written) == pytest.approx(share)


@pytest.mark.parametrize("written", ["5", 5, 5.0])
def test_five_is_told_to_be_five_percent(written: Any) -> None:
    """Breaks if whoever forgets the sign is told only that 5 is too much."""
    with pytest.raises(ConfigError, match=r"write a share as 5% or 0\.05"):
        load_options(ServeOptions, None, {"canary": written})
