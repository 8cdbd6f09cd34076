"""The method from end to end: what it refuses before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from compass.config import AdaptConfig, DataConfig, RunConfig, dump_config
from compass.errors import RunError
from compass.recipes.adapt import check_language, select
from compass.runs.folder import Run


def config_of(language: str, folder: Path) -> AdaptConfig:
    return AdaptConfig(run=RunConfig(output_dir=str(folder)), data=DataConfig(language=language))


def test_the_folder_of_another_language_s_run_is_refused(tmp_path: Path) -> None:
    """The second of two languages without --output-dir would replace the first one's results, beside its adapter."""
    folder = tmp_path / "run"
    folder.mkdir()
    there = dump_config(config_of("cy", folder))
    (folder / "compass.yaml").write_text(there, encoding="utf-8")
    with pytest.raises(RunError, match=r"is a run of cy, and this one is of el: .* --output-dir"):
        select(config_of("el", folder))
    assert (folder / "compass.yaml").read_text(encoding="utf-8") == there
    check_language(Run(folder), config_of("cy", folder))
