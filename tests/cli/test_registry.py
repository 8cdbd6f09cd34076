"""What `compass registry` says; the registry itself is tested in tests/registry."""

from __future__ import annotations

from pathlib import Path

from commands import Compass
from compass.cli.process import EXIT_FAILED
from run_folders import write_run, write_space


def test_a_run_in_production_is_not_called_candidate(compass: Compass, tmp_path: Path) -> None:
    """Breaks if a run that is added again is said to wait for the gate, and `promote` then finds no candidate."""
    run = str(write_run(tmp_path / "run", write_space(tmp_path / "space")))
    at = ("--registry-dir", str(tmp_path / "registry"))
    for _again in range(2):
        code, out, _ = compass("registry", "add", run, *at)
        assert (code, "is the candidate of cy" in out) == (0, True)
    assert compass("registry", "promote", "cy", *at)[0] == 0
    code, out, _ = compass("registry", "add", run, *at)
    assert (code, "is in production for cy already" in out, "candidate" in out) == (0, True, False)


def test_verify_names_damaged_aliases(compass: Compass, tmp_path: Path) -> None:
    """Breaks if a damaged state.json is passed over, with exit code 0, by the command that looks for damage."""
    at = ("--registry-dir", str(tmp_path / "registry"))
    compass("registry", "add", str(write_run(tmp_path / "run", write_space(tmp_path / "space"))), *at)
    code, out, _ = compass("registry", "verify", "cy", *at)
    assert (code, "intact" in out, "state.json" in out) == (0, True, False)
    (tmp_path / "registry" / "cy" / "state.json").write_text("?", "utf-8")
    code, out, _ = compass("registry", "verify", "cy", *at)
    assert (code, "compass registry repair" in out) == (EXIT_FAILED, True)
