"""Versions, aliases and their history, in one process."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from filelock import FileLock

from compass.config import GateConfig
from compass.errors import LanguageError, RegistryError, RunError
from compass.registry import GateDecision, HeldOut, Registry, RegistryEvent, decide
from compass.registry.files import read_sealed, seal
from compass.runs.files import file_hash, write_json
from compass.runs.finished import served_files
from compass.runs.folder import Run
from run_folders import MakeRun


def decision(verdict: str, candidate: str = "", baseline: str = "") -> GateDecision:
    """Return a real decision of the gate with the verdict asked for."""
    zeros, ones = np.zeros(60), np.ones(60)
    new = {"promote": (zeros, ones), "refuse": (ones, zeros), "not enough evidence": (zeros, zeros)}[verdict]
    config = GateConfig(gate_requires=())
    made = decide([HeldOut("new", "new-usage", *new)], config, seed=0, candidate=candidate, baseline=baseline)
    assert made.verdict == verdict
    return made


def test_a_version_is_the_run_with_its_hashes(registry: Registry, make_run: MakeRun) -> None:
    """A version would lack files of its run, or say other things of it than the run does."""
    run = make_run(0, exact=0.75)
    version = registry.register(run, trigger="adapt", notes={"why": "first"})
    assert (version.number, version.language, version.parent, version.trigger) == (1, "cy", "", "adapt")
    assert version.id == f"v0001-{version.identity[:12]}"
    assert version.metrics == {"cy": {"exact_match": 0.75}}
    assert registry.get("cy", "candidate") == version == registry.get("cy", "1")
    taken = {path.relative_to(version.folder).as_posix() for path in version.folder.rglob("*") if path.is_file()}
    of_run = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert taken == of_run - {"logs/run.lock"} == set(version.files)
    for path in taken:
        assert (version.folder / path).read_bytes() == (run / path).read_bytes()
        assert stat.S_IMODE((version.folder / path).stat().st_mode) == 0o444
    assert stat.S_IMODE(registry.root.stat().st_mode) == 0o700
    assert registry.verify("cy")[0].ok
    assert version.size == sum((run / path).stat().st_size for path in taken)


def test_identity_is_the_content(registry: Registry, make_run: MakeRun) -> None:
    """A run registered twice, or whose report was drawn again, would become two versions; another adapter would not."""
    run = make_run(0)
    first = registry.register(run)
    (run / "report.html").write_text("drawn again", "utf-8")
    assert registry.register(run) == first
    second = registry.register(make_run(1))
    assert second.identity != first.identity
    assert second.number == 2
    assert [version.id for version in registry.versions("cy")] == [first.id, second.id]


def test_a_monitor_in_the_run_stays_out(registry: Registry, make_run: MakeRun) -> None:
    """Production prompts would lie in an immutable version for good, and each batch would make another one."""
    folder = make_run(0)
    first = registry.register(folder)
    run = Run(folder)
    with run.stage("reference", {}, [run.path("monitor", "reference.json")]):
        write_json(run.path("monitor", "reference.json"), {})
    run.path("monitor", "state.db").write_text("prompts", "utf-8")
    assert registry.register(folder) == first
    (folder / "monitor" / "reference.json").unlink()
    assert registry.register(folder) == first


def test_a_parent_that_was_forgotten_can_be_named_later(registry: Registry, make_run: MakeRun) -> None:
    """The gate asks for it, and the second `add` with it would change nothing."""
    first, orphan = registry.register(make_run(0)), registry.register(make_run(1))
    child = registry.register(make_run(1), parent=first.id)
    assert (orphan.parent, child.parent, child.number) == ("", first.id, 3)
    assert registry.register(make_run(1), parent=first.id) == child
    assert registry.aliases("cy").candidate == child.id


def test_prompts_are_the_owners_alone_in_a_folder_of_others(make_run: MakeRun, tmp_path: Path) -> None:
    """A registry made beforehand, readable for all, would show everyone what users ask."""
    root = tmp_path / "shared"
    root.mkdir()
    root.chmod(0o755)
    Registry(root).register(make_run(0))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (root, root / "cy")] == [0o755, 0o700]


def test_a_damaged_twin_is_no_reason_to_refuse_a_whole_one(registry: Registry, make_run: MakeRun) -> None:
    """Registering the run again, as the error advises, would return the damaged version."""
    run = make_run(0)
    first = registry.register(run)
    damage(first.adapter / "adapter_model.safetensors")
    again = registry.register(run)
    assert (again.number, again.identity) == (2, first.identity)
    assert registry.verify("cy", "2")[0].ok
    with pytest.raises(RegistryError, match="stands for several"):
        registry.get("cy", first.identity[:8])


def damage(file: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


@pytest.mark.parametrize("path", ["adapter/adapter_model.safetensors", "space/space.json", "lock.json"])
def test_what_is_not_finished_is_not_registered(registry: Registry, make_run: MakeRun, path: str) -> None:
    run = make_run(0)
    (run / path).unlink()
    with pytest.raises(RunError, match=f"not a finished run: {path} is missing"):
        registry.register(run)
    assert registry.languages() == ()


def test_other_picks_than_the_adapters_are_not_registered(registry: Registry, make_run: MakeRun) -> None:
    """Audit and gap of the version would be of rows that its adapter has never seen."""
    run = make_run(0)
    lock = json.loads((run / "lock.json").read_text("utf-8"))
    del lock["hashes"]["adapter/adapter_model.safetensors"]
    write_json(run / "lock.json", {**lock, "command": "compass select --config compass.yaml"})
    with pytest.raises(RunError, match="picked new rows"):
        registry.register(run)


def test_a_cut_output_is_not_registered(registry: Registry, make_run: MakeRun) -> None:
    """A file that a stage wrote and something cut since would be sealed as if it were good."""
    run = make_run(0)
    os.truncate(run / "adapter" / "adapter_config.json", 3)
    with pytest.raises(RunError, match=r"stage 'training' wrote adapter/adapter_config\.json"):
        registry.register(run)


def _with_full_lock(run: Path) -> Path:
    """Let a run's lock name all that decides what is served, as that of this version does."""
    lock = json.loads((run / "lock.json").read_text("utf-8"))
    lock["hashes"] |= {name: file_hash(run / name) for name in served_files(run)}
    write_json(run / "lock.json", lock)
    return run


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "modeling.py", "more/tokenizer.json"])
def test_a_file_beside_the_adapter_that_the_run_did_not_write_is_refused(
    registry: Registry, make_run: MakeRun, name: str
) -> None:
    """It would be served with the adapter: a template decides what each prompt becomes."""
    run = _with_full_lock(make_run(0))
    (run / "adapter" / name).parent.mkdir(exist_ok=True)
    (run / "adapter" / name).write_text("{}")
    with pytest.raises(RunError, match=f"adapter/{name} is not of the run"):
        registry.register(run)


@pytest.mark.parametrize("name", ["compass.yaml", "adapter/adapter_config.json", "space/space.json"])
def test_a_lock_that_lost_a_hash_is_none_of_version_0_1(registry: Registry, make_run: MakeRun, name: str) -> None:
    """Else the file could be changed with it, for locks of version 0.1 have no such hash."""
    run = _with_full_lock(make_run(0))
    lock = json.loads((run / "lock.json").read_text("utf-8"))
    del lock["hashes"][name]
    write_json(run / "lock.json", lock)
    with pytest.raises(RunError, match=f"names no hash of {name}"):
        registry.register(run)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("compass.yaml", _cut, r"compass\.yaml is (damaged|not what the run)"),
        ("lock.json", lambda file: file.write_text("{}"), "names no hashes"),
        ("lock.json", lambda file: file.write_text('{"hashes": {}}'), "names no hashes"),
        ("lock.json", lambda file: file.write_text('{"hashes": [1]}'), "names no hashes"),
        ("lock.json", _cut, "can't be read as JSON"),
        ("lock.json", lambda file: file.write_text("[" * 100_000), "can't be read as JSON"),
        ("adapter/adapter_config.json", lambda file: file.write_text('{"r": 8}'), "adapter_config|another size"),
        ("space/space.json", lambda file: file.write_text("{}"), "space|another size"),
        ("logs/stages/training.json", lambda file: file.write_text("{}"), "names no outputs"),
        ("logs/stages/training.json", _cut, "can't be read as JSON"),
        ("eval/adapter/cy.json", lambda file: file.write_text("[]"), "no evaluation"),
    ],
)
def test_a_damaged_run_is_not_registered(
    registry: Registry, make_run: MakeRun, path: str, change: Callable[[Path], object], message: str, full: bool
) -> None:
    """What is sealed as a version would be served, or could never be read again."""
    run = make_run(0)
    if full:
        _with_full_lock(run)
    change(run / path)
    with pytest.raises(RunError, match=message):
        registry.register(run)
    assert registry.versions("cy") == ()


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [("adapter/adapter_config.json", '"r": 16', '"r": 32'), ("compass.yaml", "seed: 0", "seed: 1")],
)
def test_an_edit_that_keeps_the_size_is_seen(
    registry: Registry, make_run: MakeRun, path: str, old: str, new: str
) -> None:
    run = _with_full_lock(make_run(0))
    file = run / path
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(RunError, match="is not what the run in"):
        registry.register(run)


def test_a_version_is_checked_when_its_name_is_resolved(registry: Registry, make_run: MakeRun) -> None:
    """A server or a monitor that asks for production must not get what somebody has edited since."""
    version = registry.register(make_run(0))
    registry.promote("cy")
    for path in ("adapter/adapter_config.json", "space/space.json", "compass.yaml", "lock.json"):
        file = version.folder / path
        before = file.read_bytes()
        damage(file)
        with pytest.raises(RegistryError, match=f"is damaged, so it is not safe to use it.*{path}"):
            registry.get("cy", "production")
        file.write_bytes(before)
        assert registry.get("cy", "production") == version


def test_an_edited_run_is_not_registered(registry: Registry, make_run: MakeRun) -> None:
    """Weights of the same size that the run didn't write would be sealed as its own."""
    run = make_run(0)
    damage(run / "adapter" / "adapter_model.safetensors")
    with pytest.raises(RunError, match=r"adapter_model\.safetensors is not what the run"):
        registry.register(run)
    assert registry.versions("cy") == ()
    assert registry.languages() == ()
    assert not registry.root.exists(), "refused before anything is made"


def test_a_version_is_registered_elsewhere_and_stays_whole(registry: Registry, make_run: MakeRun) -> None:
    """A lock in its folder would be a file too many, and damage."""
    version = registry.register(make_run(0))
    other = Registry(registry.root.with_name("other"))
    assert other.register(version.folder).identity == version.identity
    assert all(check.ok for check in registry.verify("cy"))


def test_a_run_at_work_is_not_registered(registry: Registry, make_run: MakeRun) -> None:
    run = make_run(0)
    with FileLock(run / "logs" / "run.lock"), pytest.raises(RunError, match="at work"):
        registry.register(run)


def test_links_out_of_the_run_are_refused(registry: Registry, make_run: MakeRun) -> None:
    """A symbolic link would make a version depend on a file that nobody hashes."""
    run = make_run(0)
    (run / "eval" / "link").symlink_to("/etc/hostname")
    with pytest.raises(RunError, match="symbolic link"):
        registry.register(run)


def test_texts_can_be_left_out(registry: Registry, make_run: MakeRun) -> None:
    """Users' prompts would be kept in every version, though somebody asked for them not to be."""
    version = registry.register(make_run(0), leave_out=["data/usage.jsonl", "eval/*"])
    assert version.left_out == ("data/usage.jsonl", "eval/adapter/cy.json")
    assert not (version.folder / "data" / "usage.jsonl").exists()
    assert registry.verify("cy")[0].ok
    with pytest.raises(RunError, match="a version needs it"):
        registry.register(make_run(1), leave_out=["adapter/*"])


def test_weights_can_be_linked(registry: Registry, make_run: MakeRun) -> None:
    run = make_run(0)
    version = registry.register(run, link=True)
    assert (version.adapter / "adapter_model.safetensors").samefile(run / "adapter" / "adapter_model.safetensors")
    assert not (version.folder / "logs" / "stages.jsonl").samefile(run / "logs" / "stages.jsonl")
    assert registry.verify("cy")[0].ok


def test_promote_and_go_back(three: Registry) -> None:
    first, second, third = (version.id for version in three.versions("cy"))
    assert three.get("cy", "production").id == first
    assert three.get("cy", "2").parent == first
    three.promote("cy", "2")
    three.promote("cy")
    now = three.aliases("cy")
    assert (now.candidate, now.current, now.previous) == ("", third, second)
    assert three.rollback("cy", reason="complaints").after == second
    assert three.rollback("cy").after == first
    with pytest.raises(RegistryError, match="is the first in production"):
        three.rollback("cy")
    three.promote("cy", "3")
    assert three.aliases("cy").production == (first, third)
    history = three.history("cy")
    assert [move.sequence for move in history] == list(range(1, len(history) + 1))
    assert [move.action for move in history][-5:] == ["promote", "promote", "rollback", "rollback", "promote"]
    assert [move.reason for move in history if move.action == "rollback"] == ["complaints", ""]


def test_go_back_further(three: Registry) -> None:
    first, second, third = (version.id for version in three.versions("cy"))
    three.promote("cy", "2")
    three.promote("cy", "3")
    with pytest.raises(RegistryError, match="was not in production before"):
        three.rollback("cy", to="3")
    assert three.rollback("cy", to="1").after == first
    assert three.aliases("cy").production == (first,)
    assert {second, third} <= {version.id for version in three.versions("cy")}


def test_the_gate_is_heeded(three: Registry) -> None:
    """A version that was refused, or another one than was tested, would go into production."""
    first, second, third = (version.id for version in three.versions("cy"))
    for verdict in ("refuse", "not enough evidence"):
        with pytest.raises(RegistryError, match=verdict):
            three.promote("cy", decision=decision(verdict))
    with pytest.raises(RegistryError, match=f"about {second}, not {third}"):
        three.promote("cy", decision=decision("promote", second))
    with pytest.raises(RegistryError, match="another process moved the alias"):
        three.promote("cy", decision=decision("promote", third, second))
    with pytest.raises(RegistryError, match="was to replace nothing"):
        three.promote("cy", over="none")
    made = decision("promote", third, first)
    move = three.promote("cy", decision=made)
    assert move.decision is not None
    assert GateDecision.from_dict(json.loads(json.dumps(three.history("cy")[-1].decision))) == made
    with pytest.raises(RegistryError, match="in production already"):
        three.promote("cy", "3")


def test_candidates_come_and_go(three: Registry) -> None:
    third = three.get("cy", "3").id
    assert three.nominate("cy", "3") is None
    assert three.nominate("cy", "production") is None
    assert three.withdraw("cy", reason="refused").before == third
    with pytest.raises(RegistryError, match="no candidate of cy"):
        three.withdraw("cy")
    with pytest.raises(RegistryError, match="No version of cy is 'candidate'"):
        three.promote("cy")


@pytest.mark.parametrize("name", ["9", "v9", "nope", "abcdef", "", "../../etc", "v0001-../../x"])
def test_unknown_names(three: Registry, name: str) -> None:
    with pytest.raises(RegistryError, match=f"There is no version {name.strip()!r} of cy. Versions: v0001"):
        three.get("cy", name)


def test_unknown_languages(three: Registry) -> None:
    """A mistyped language would be made, empty, on disk; one with slashes would leave the registry."""
    for call in (three.promote, three.rollback, three.withdraw, three.prune):
        with pytest.raises(RegistryError, match="has no version of el; its languages: cy"):
            call("el")
    with pytest.raises(LanguageError):
        three.get("../cy", "1")
    assert three.languages() == ("cy",)
    assert three.get("cym", "1").language == "cy"


@pytest.mark.parametrize("file", ["run/adapter/adapter_model.safetensors", "run/compass.yaml", "manifest.json"])
@pytest.mark.parametrize("how", ["flipped", "missing", "cut"])
def test_damage_is_found_and_never_promoted(three: Registry, file: str, how: str) -> None:
    """A server would load a damaged version, or production would point to one."""
    first, third = three.get("cy", "production"), three.get("cy", "3")
    path = third.folder.parent / file
    path.chmod(0o644)
    if how == "flipped":
        damage(path)
    elif how == "missing":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    broken = [check for check in three.verify("cy") if not check.ok]
    assert [check.id for check in broken] == [third.id]
    assert str(path) in broken[0].problems[0]
    with pytest.raises(RegistryError):
        three.promote("cy", "3")
    assert three.get("cy", "production") == first


def test_damage_stops_a_rollback(three: Registry) -> None:
    """Going back would replace a bad version by a broken one."""
    three.promote("cy", "2")
    three.promote("cy", "3")
    damage(three.get("cy", "2").adapter / "adapter_model.safetensors")
    with pytest.raises(RegistryError, match="is not safe to go back to"):
        three.rollback("cy")
    assert three.get("cy", "production").number == 3
    assert three.rollback("cy", to="1").after.startswith("v0001")


def test_files_that_were_added_are_found(three: Registry) -> None:
    (three.get("cy", "1").folder / "adapter" / "extra.bin").write_bytes(b"x")
    assert "isn't in the manifest" in three.verify("cy", "1")[0].problems[0]


def test_one_damaged_manifest_hides_no_other_version(three: Registry, caplog: pytest.LogCaptureFixture) -> None:
    damage(three.get("cy", "2").folder.parent / "manifest.json")
    assert [version.number for version in three.versions("cy")] == [1, 3]
    assert "Left out" in caplog.text


def test_prune_keeps_what_is_needed(registry: Registry, make_run: MakeRun) -> None:
    """Pruning would take away production, what a rollback brings back, or the candidate."""
    for seed in range(7):
        registry.register(make_run(seed))
        if seed in (0, 1, 2):
            registry.promote("cy")
    registry.nominate("cy", "4")
    would = registry.prune("cy", keep=1, dry_run=True)
    assert len(registry.versions("cy")) == 7
    pruned = registry.prune("cy", keep=1)
    assert pruned == would
    assert [id[:5] for id in pruned.removed] == ["v0001", "v0005", "v0006"]
    assert {id[:5]: why for id, why in pruned.kept.items()} == {
        "v0002": "a rollback brings it back",
        "v0003": "in production",
        "v0004": "candidate",
        "v0007": "one of the newest 1",
    }
    assert pruned.freed > 3 * 16 * 64 * 4
    assert [version.number for version in registry.versions("cy")] == [2, 3, 4, 7]
    assert registry.rollback("cy").after.startswith("v0002")
    with pytest.raises(RegistryError, match="first in production"):
        registry.rollback("cy")
    assert registry.history("cy")[-2].removed == pruned.removed


def test_numbers_are_not_used_again(registry: Registry, make_run: MakeRun) -> None:
    """Two different adapters would have been called v2 at different times."""
    registry.register(make_run(0))
    registry.promote("cy")
    registry.register(make_run(1))
    registry.withdraw("cy")
    assert [id[:5] for id in registry.prune("cy", keep=0).removed] == ["v0002"]
    assert registry.register(make_run(2)).number == 3


def command(registry: Registry, words: str) -> str:
    """Return what a message tells to type: a registry in another folder than the default one is named."""
    return f"compass registry {words} --registry-dir {registry.root}"


def test_commands_of_the_registry_in_its_default_folder_are_short(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("registry") / "cy"
    folder.mkdir(parents=True)
    (folder / "history.jsonl").touch()
    with pytest.raises(RegistryError, match=r"is missing\. `compass registry repair cy` rebuilds it"):
        Registry(Path("registry")).aliases("cy")


def test_a_lost_state_is_rebuilt_from_the_history(three: Registry) -> None:
    """One flipped bit in a small file would cost the knowledge of what is in production."""
    three.promote("cy", "2")
    before = three.aliases("cy")
    state = three.root / "cy" / "state.json"
    for spoil in (damage, Path.unlink):
        spoil(state)
        with pytest.raises(RegistryError, match=f"`{command(three, 'repair cy')}` rebuilds it"):
            three.aliases("cy")
        with pytest.raises(RegistryError, match=f"`{command(three, 'repair cy')}` rebuilds it"):
            three.promote("cy", "3")
        assert three.repair("cy") == before == three.aliases("cy")
    assert three.rollback("cy").after.startswith("v0001")


@pytest.mark.parametrize("history", ["gone", "broken", "empty"])
@pytest.mark.parametrize("state", ["gone", "broken"])
def test_a_repair_without_a_history_leads_out(three: Registry, state: str, history: str) -> None:
    """`repair` would say to promote, and `promote` to repair, until somebody deletes the right file by hand."""
    folder = three.root / "cy"
    for name, how in (("state.json", state), ("history.jsonl", history)):
        if how == "gone":
            (folder / name).unlink()
        else:
            (folder / name).write_text("?\n" * (how == "broken"), "utf-8")
    if state == history == "gone":
        assert three.repair("cy").current == "", "as where nothing was ever promoted"
    else:
        with pytest.raises(RegistryError, match="Promote a version by its number") as raised:
            three.repair("cy")
        for name, how in (("state.json", state), ("history.jsonl", history)):
            assert (f"{name}.broken" in str(raised.value)) == (how != "gone") == (folder / f"{name}.broken").is_file()
        # Servers would take "nothing is in production" for an order, and a pruning remove what they serve.
        for call in (three.aliases, three.promote, three.prune, three.repair):
            with pytest.raises(RegistryError, match="Promote a version by its number"):
                call("cy")
    three.promote("cy", "2")
    assert three.aliases("cy").current.startswith("v0002")
    assert [move.action for move in three.history("cy")] == ["promote"]


def test_a_state_of_another_release_is_no_damage(three: Registry) -> None:
    """A repair by an older release would write over what a newer one knows."""
    state = three.root / "cy" / "state.json"
    state.write_text(json.dumps(seal({**read_sealed(state), "format": 99})), "utf-8")
    before = state.read_bytes()
    with pytest.raises(RegistryError, match="has format 99"):
        three.repair("cy")
    assert state.read_bytes() == before


def test_an_earlier_broken_file_is_kept(three: Registry) -> None:
    """What could still be read by hand would be written over by the next damage."""
    folder = three.root / "cy"
    for content in ("first", "second"):
        (folder / "history.jsonl").unlink(missing_ok=True)
        (folder / "state.json").write_text(content, "utf-8")
        with pytest.raises(RegistryError, match=r"Put aside as state\.json\.broken"):
            three.repair("cy")
    assert [(folder / f"state.json.broken{n}").read_text("utf-8") for n in ("", 1)] == ["first", "second"]


def test_verify_looks_at_the_aliases(registry: Registry, make_run: MakeRun) -> None:
    """All would be called intact while nothing can be promoted or served; or a registry without aliases damaged."""
    registry.register(make_run(0), candidate=False)
    assert not (registry.root / "cy" / "state.json").exists()
    assert [check.ok for check in registry.verify("cy")] == [True]
    assert registry.verify_aliases("cy") == ()
    registry.promote("cy", "1")
    assert [check.ok for check in registry.verify("cy")] == [True]
    for spoil in (damage, Path.unlink):
        spoil(registry.root / "cy" / "state.json")
        version, aliases = registry.verify("cy")
        assert (version.ok, aliases.id, aliases.ok) == (True, "state.json", False)
        assert f"`{command(registry, 'repair cy')}` rebuilds it" in aliases.problems[0]
        assert len(registry.verify("cy", "1")) == 1


def test_only_what_a_killed_process_left_is_cleared_away(three: Registry) -> None:
    """Breaks if a hidden folder among the versions that is somebody else's goes with the leftovers."""
    versions = three.root / "cy" / "versions"
    for name in (".incoming-1", ".removed-1", ".snapshots"):
        (versions / name).mkdir()
    three.prune("cy")
    assert [path.name for path in versions.glob(".*")] == [".snapshots"]


def test_a_file_that_cannot_be_read_is_named_once_with_one_advice(three: Registry) -> None:
    """A message that repeats itself, and says first to restore and then to repair, is not followed."""
    state = three.root / "cy" / "state.json"
    state.write_text("?", "utf-8")
    with pytest.raises(RegistryError) as raised:
        three.aliases("cy")
    said = str(raised.value)
    assert said.startswith(f"{state} can't be read as JSON (")
    assert said.endswith(f"). `{command(three, 'repair cy')}` rebuilds it from the history.")
    manifest = next(three.root.glob("cy/versions/*/manifest.json"))
    manifest.unlink()
    said = three.verify("cy", manifest.parent.name)[0].problems[0]
    assert said == (
        f"{manifest} can't be read as JSON (No such file or directory). Restore it from a backup, or register the run "
        "again."
    )


def test_a_torn_line_of_the_history_is_made_whole(three: Registry) -> None:
    """A kill in the middle of writing a line would make the history unreadable, or lose the move."""
    history = three.history("cy")
    path = three.root / "cy" / "history.jsonl"
    os.truncate(path, path.stat().st_size - 40)
    assert three.history("cy") == history
    three.promote("cy", "2")
    assert three.history("cy")[:-1] == history
    assert path.read_bytes().count(b"\n") == len(history) + 1


def test_a_changed_line_of_the_history_is_found(three: Registry) -> None:
    path = three.root / "cy" / "history.jsonl"
    path.write_text(path.read_text("utf-8").replace('"promote"', '"rollback"'), "utf-8")
    with pytest.raises(RegistryError, match=r"history\.jsonl, line 2, is damaged.*Restore the file from a backup"):
        three.history("cy")


def shorten(path: Path, by: int) -> None:
    """Cut the last lines off, at the end of a line."""
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:-by]), "utf-8")


def test_a_history_that_lost_its_end_is_found(three: Registry) -> None:
    """The moves that a backup or an editor dropped would be missed only when the next move is made."""
    path = three.root / "cy" / "history.jsonl"
    shorten(path, 1)
    assert all(check.ok for check in three.verify("cy")), "as after a kill: the state has the move"
    shorten(path, 1)
    found = [check for check in three.verify("cy") if not check.ok]
    assert [check.id for check in found] == ["history.jsonl"]
    assert "ends with move 2, and state.json holds move 4. Restore the file from a backup" in found[0].problems[0]
    assert [move.sequence for move in three.history("cy")] == [1, 2, 4], "what holds does not depend on it"
    path.unlink()
    assert [check.id for check in three.verify("cy") if not check.ok] == ["history.jsonl"]


@pytest.mark.parametrize("how", ["end", "all", "line", "gap", "after"])
def test_a_history_without_a_backup_goes_on(three: Registry, how: str) -> None:
    """Breaks if `verify` fails for ever, or what was lost is missed by nobody."""
    folder = three.root / "cy"
    path, before = folder / "history.jsonl", three.aliases("cy")
    if how == "end":
        shorten(path, 2)
    elif how == "all":
        path.unlink()
    elif how == "line":
        path.write_text(path.read_text("utf-8").replace('"promote"', '"rollback"'), "utf-8")
    else:
        lines = path.read_text("utf-8").splitlines(keepends=True)
        path.write_text("".join([*lines[:1], *lines[2:]]), "utf-8")
    if how == "after":
        shorten(path, 2)
        three.promote("cy", "2")
        before = three.aliases("cy")
    damaged = path.read_bytes() if path.exists() else None
    (problem,) = (check.problems[0] for check in three.verify("cy") if not check.ok)
    assert f"`{command(three, 'repair cy --without-backup')}`" in problem
    assert three.repair("cy") == before
    assert not all(check.ok for check in three.verify("cy")), "nobody said that there is no backup"
    assert three.repair("cy", without_backup=True) == before == three.aliases("cy")
    assert all(check.ok for check in three.verify("cy"))
    lost = {"end": [3], "all": [1, 2, 3], "line": [2], "gap": [2], "after": [2, 3]}[how]
    history = three.history("cy")
    assert [move.sequence for move in history if move.action == "lost"] == lost
    assert [move.sequence for move in history] == list(range(1, before.sequence + 1))
    assert history[-1] == before.last_move
    (event,) = three.events("cy")
    assert (event.kind, event.details) == ("action", {"lost": lost})
    kept = folder / "history.jsonl.broken"
    assert (kept.read_bytes() if kept.exists() else None) == damaged
    three.repair("cy", without_backup=True)
    assert len(three.events("cy")) == 1, "there is nothing to do"
    three.promote("cy", "3")
    assert len(three.history("cy")) == before.sequence + 1


def test_a_damaged_history_stands_in_no_moves_way(three: Registry) -> None:
    """Breaks if nobody can go back to the version before because a line of long ago is damaged."""
    three.promote("cy", "2")
    path = three.root / "cy" / "history.jsonl"
    _first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(b"\0\0\0\n" + rest)
    three.rollback("cy")
    # The line of a move whose process was killed before it wrote it.
    shorten(path, 1)
    three.promote("cy", "3")
    told = [json.loads(line)["sequence"] for line in path.read_bytes().split(b"\n")[1:-1]]
    assert told == list(range(2, three.aliases("cy").sequence + 1))


@pytest.mark.parametrize("cut", [False, True])
def test_a_lost_move_takes_nothing_out_of_production(three: Registry, cut: bool) -> None:
    """Breaks if a state that is rebuilt from a history with a lost move has nothing in production."""
    path, state = three.root / "cy" / "history.jsonl", three.root / "cy" / "state.json"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:2], *lines[3:]]), "utf-8")
    before = three.repair("cy", without_backup=True)
    assert [move.action for move in three.history("cy")] == ["candidate", "promote", "lost", "candidate"]
    # The last line is lost as well, and the state.
    shorten(path, 1)
    if not cut:
        path.write_text(path.read_text("utf-8") + "\0\n", "utf-8")
    state.unlink()
    assert three.repair("cy").production == before.production
    assert three.repair("cy", without_backup=True).production == before.production
    assert all(check.ok for check in three.verify("cy"))
    three.promote("cy", "2")
    assert [move.sequence for move in three.history("cy")] == [1, 2, 3, 4]
    # No line but those of lost moves: what was in production is lost, and not nothing.
    path.write_text(path.read_text("utf-8").splitlines(keepends=True)[2], "utf-8")
    state.unlink()
    with pytest.raises(RegistryError, match="what was candidate and in production is lost"):
        three.repair("cy")


def test_a_history_of_another_user_is_listed(three: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of every language would end at this one."""
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr(Path, "read_bytes", Mock(side_effect=denied))
    found = three.verify_aliases("cy")
    assert [check.id for check in found] == ["history.jsonl"]
    assert "history.jsonl can't be read (Permission denied)" in found[0].problems[0]


def test_a_state_from_an_old_backup_is_found_and_repaired(three: Registry) -> None:
    """What was promoted since would be undone without a line, and the next move would break the history."""
    state = three.root / "cy" / "state.json"
    old = state.read_bytes()
    three.promote("cy", "2")
    three.promote("cy", "3")
    now = three.aliases("cy")
    state.write_bytes(old)
    found = [check for check in three.verify("cy") if not check.ok]
    assert [check.id for check in found] == ["state.json"]
    assert "holds move 4, and the history goes on to move 6. `compass registry repair cy " in found[0].problems[0]
    assert three.repair("cy") == now
    assert all(check.ok for check in three.verify("cy"))


@pytest.mark.parametrize("shown_by", ["parent", "event"])
def test_aliases_that_are_all_gone_are_found(three: Registry, shown_by: str) -> None:
    if shown_by == "event":
        for home in three.root.glob("cy/versions/v000[23]-*"):
            shutil.rmtree(home)
        three.record(RegistryEvent("promotion", "cy", "Promoted."))
    for name in ("state.json", "history.jsonl"):
        (three.root / "cy" / name).unlink()
    found = [check for check in three.verify("cy") if not check.ok]
    assert [check.id for check in found] == ["state.json"]
    assert "neither state.json nor history.jsonl. Restore both from a backup" in found[0].problems[0]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, "was in production before. Restore it from a backup, or forget it by `compass registry prune cy "),
        (2, "a rollback would bring it back. Restore it from a backup, or promote"),
        (3, "is in production. Restore it from a backup, or go back by `compass registry rollback cy "),
        (4, "is the candidate. Restore it from a backup, or register its run again"),
    ],
)
def test_a_version_that_an_alias_names_and_that_is_gone_is_found(
    three: Registry, make_run: MakeRun, number: int, said: str
) -> None:
    """All would be called intact, and the gateway find nothing to serve at its next start."""
    for name in ("2", "3"):
        three.promote("cy", name)
    three.register(make_run(3))
    assert all(check.ok for check in three.verify("cy"))
    gone = next(three.root.glob(f"cy/versions/v000{number}-*"))
    shutil.rmtree(gone)
    found = [check for check in three.verify("cy") if not check.ok]
    assert [check.id for check in found] == [gone.name]
    assert said in found[0].problems[0]
    assert three.verify_aliases("cy") == tuple(found)
    three.prune("cy")
    assert all(check.ok for check in three.verify("cy")) == (number == 1)


def test_a_language_whose_versions_are_all_gone_is_none_that_was_never_there(three: Registry) -> None:
    """A check of every language would pass it over, and call the registry intact."""
    shutil.rmtree(three.root / "cy" / "versions")
    (three.root / "notes" / "versions" / "v0001-000000000000").mkdir(parents=True)
    assert three.languages() == ("cy",)
    assert len(three.verify("cy")) == 2
    (three.root / "ne").mkdir()
    with pytest.raises(RegistryError, match="has no version of ne; its languages: cy"):
        three.verify("ne")


@pytest.mark.parametrize("hidden", ["", "cy", "cy/versions"])
def test_what_can_not_be_read_is_not_taken_for_empty(
    three: Registry, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    """Another user's registry looked like one without versions, and like one where nothing is in production."""
    shut, listed, stat = three.root / hidden, Path.iterdir, Path.stat

    def iterdir(path: Path) -> Iterator[Path]:
        if path.is_relative_to(shut):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    def status(path: Path, **options: Any) -> os.stat_result:
        if path != shut and path.is_relative_to(shut):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(Path, "stat", status)
    said = r"can't be read \(Permission denied\)\. Run this as its owner"
    if hidden:
        assert three.languages() == ("cy",)
        assert re.search(said, three.verify("cy")[0].problems[0])
        assert re.search(said, three.verify_aliases("cy")[0].problems[0])
    else:
        with pytest.raises(RegistryError, match=said):
            three.languages()
    if hidden != "cy/versions":
        with pytest.raises(RegistryError, match=said):
            three.aliases("cy")
    with pytest.raises(RegistryError, match=said):
        three.versions("cy")


def test_events_are_kept(three: Registry) -> None:
    events = [RegistryEvent(kind, "cy", f"{kind} → ś\u2028", details={"p": 0.01}) for kind in ("drift", "refusal")]
    for event in events:
        three.record(event)
    assert three.events("cy") == tuple(events)
    with pytest.raises(ValueError, match="one of drift, update, canary, promotion, refusal, action; got 'drfit'"):
        RegistryEvent("drfit", "cy", "")


def test_bad_numbers_are_not_written(registry: Registry, make_run: MakeRun) -> None:
    """NaN is not JSON: other readers would refuse the manifest."""
    metrics: dict[str, Any] = {"cy": {"exact_match": 0.5, "loss_per_byte": float("nan")}}
    assert registry.register(make_run(0), metrics=metrics).metrics == {"cy": {"exact_match": 0.5}}
    with pytest.raises(ValueError, match="keep must be at least 0"):
        registry.prune("cy", keep=-1)


def _last_line(file: Path, **changes: object) -> None:
    *lines, last = file.read_text("utf-8").splitlines()
    file.write_text("\n".join([*lines, json.dumps(json.loads(last) | changes)]) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": {"a": 1}}, "kind of an event can't be dict"),
        ({"kind": "else"}, "kind must be one of drift, update"),
        ({"at": -1.1}, "at of an event can't be float"),
        ({"details": [1]}, "details of an event can't be list"),
        ({"more": ""}, "no event has these fields: kind, .*, more"),
    ],
)
def test_an_event_that_is_none_is_named(three: Registry, changes: dict[str, object], said: str) -> None:
    """The status page would end in a traceback, of whatever library meets the value first."""
    three.record(RegistryEvent("drift", "cy", "Usage drifted."))
    _last_line(three.root / "cy" / "events.jsonl", **changes)
    with pytest.raises(RegistryError, match=rf"events\.jsonl, line \d+, is damaged: {said}"):
        three.events("cy")


def test_a_line_that_is_no_object_is_named(three: Registry) -> None:
    for name, read in (("events.jsonl", three.events), ("history.jsonl", three.history)):
        with (three.root / "cy" / name).open("a") as file:
            file.write("[1]\n")
        with pytest.raises(RegistryError, match=rf"{name}, line \d+, is damaged: it is no JSON object"):
            read("cy")


def test_a_move_that_no_seal_can_be_made_of_is_damaged(three: Registry) -> None:
    """JSON's NaN ends in a traceback where the checksum is counted."""
    _last_line(three.root / "cy" / "history.jsonl", reason=float("nan"))
    with pytest.raises(RegistryError, match=r"history\.jsonl, line \d+, is damaged: its checksum"):
        three.history("cy")
    assert three.repair("cy").current.startswith("v0001")
