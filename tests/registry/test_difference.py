"""What differs between two versions is said, and what does not is not."""

from __future__ import annotations

import json

import pytest

from compass.errors import CompassError, RegistryError
from compass.registry import Registry, diff
from compass.registry.intake import language_of
from run_folders import MakeRun


def test_differences_are_named(registry: Registry, make_run: MakeRun) -> None:
    """A person would roll back without seeing what the newer version had changed."""
    a, b = registry.register(make_run(0, exact=0.5)), registry.register(make_run(2, exact=0.75))
    found = diff(a, b)
    assert [(change.name, change.a, change.b) for change in found.config] == [("run.seed", 0, 2)]
    assert [(change.name, change.a, change.b) for change in found.metrics] == [("cy/exact_match", 0.5, 0.75)]
    assert [(change.name, change.a, change.b) for change in found.selection] == [("picked", 6, 8)]
    assert found.stamps == ()
    assert [rows.path for rows in found.rows] == ["data/current.jsonl", "data/usage.jsonl", "selection/selected.jsonl"]
    # Rows 0 to 5 against rows 2 to 7, half of each Welsh.
    assert {(rows.common, rows.only_a, rows.only_b) for rows in found.rows} == {(4, 2, 2)}
    assert {tuple(rows.languages.items()) for rows in found.rows} == {()}
    assert "adapter/adapter_model.safetensors" in {change.name for change in found.files}
    assert "space/space.safetensors" not in {change.name for change in found.files}
    assert not found.same
    assert "cwestiwn" not in str(found.to_dict())


def test_earlier_turns_are_part_of_a_row(registry: Registry, make_run: MakeRun) -> None:
    """Rows of which only the earlier turns were changed would count as common."""
    versions = []
    for seed, said in ((0, "Helo"), (1, "Hwyl")):
        run = make_run(seed)
        row = {"prompt": "A nawr?", "response": "Na", "context": [{"role": "user", "content": said}]}
        (run / "selection" / "selected.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
        versions.append(registry.register(run))
    picks = next(rows for rows in diff(*versions).rows if rows.path == "selection/selected.jsonl")
    assert (picks.common, picks.only_a, picks.only_b) == (0, 1, 1)


def test_a_version_is_the_same_as_itself(registry: Registry, make_run: MakeRun) -> None:
    version = registry.register(make_run(0))
    assert diff(version, version).same


def test_left_out_files_count_as_empty(registry: Registry, make_run: MakeRun) -> None:
    """A file that was left out of one version would end the comparison."""
    a, b = registry.register(make_run(0)), registry.register(make_run(1), leave_out=["data/usage.jsonl"])
    usage = next(rows for rows in diff(a, b).rows if rows.path == "data/usage.jsonl")
    assert (usage.common, usage.only_a, usage.only_b, dict(usage.languages)) == (0, 6, 0, {"cy": (3, 0), "en": (3, 0)})


def test_damage_is_an_error_for_people(registry: Registry, make_run: MakeRun) -> None:
    a, b = registry.register(make_run(0)), registry.register(make_run(1))
    file = b.folder / "selection" / "summary.json"
    file.chmod(0o644)
    file.write_text("{", "utf-8")
    with pytest.raises(RegistryError, match="`verify` says whether it is damaged"):
        diff(a, b)


@pytest.mark.parametrize("content", ["a: [", "- a", "[" * 2000, "a: \0", "d: 2020-13-45"])
def test_damaged_options_are_named_without_the_parsers_own_text(
    registry: Registry, make_run: MakeRun, content: str
) -> None:
    """Breaks if the reader is shown several lines of PyYAML's, and not the file and what to do."""
    run = make_run(2)
    a, b = registry.register(make_run(0)), registry.register(make_run(1))
    for file, read in (
        (b.folder / "compass.yaml", lambda: diff(a, b)),
        (run / "compass.yaml", lambda: language_of(run)),
    ):
        file.chmod(0o644)
        file.write_text(content, "utf-8")
        with pytest.raises(CompassError) as raised:
            read()
        said = str(raised.value)
        assert said.startswith(f"The options file {file}")
        assert "Restore the file, or run the command that wrote it again." in said
        assert "\n" not in said
        assert "<unicode string>" not in said
