"""Registries with a damaged file: what is damaged is named, and nothing else is served in its place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from compass.registry import Registry, diff
from compass.report.status import render_status
from fuzzing import damage_file, fuzz, in_time, refused_or_fine, same_json, some_of

REGISTRY = Path(__file__).parent.parent / "fixtures" / "v0_1" / "registry"
FILES = sorted(path.relative_to(REGISTRY).as_posix() for path in REGISTRY.rglob("*") if path.is_file())
ACCOUNTS = [path for path in FILES if "/run/" not in path]
NOW = Registry(REGISTRY).aliases("cy")
READERS: tuple[Callable[[Registry], object], ...] = (
    lambda store: store.languages(),
    lambda store: store.versions("cy"),
    lambda store: store.history("cy"),
    lambda store: store.events("cy"),
    lambda store: store.get("cy", "production").to_dict(),
    lambda store: diff(store.get("cy", "1"), store.get("cy", "2")).to_dict(),
    render_status,
    lambda store: store.prune("cy", keep=0, dry_run=True),
    lambda store: store.rollback("cy", to="2"),
    lambda store: store.repair("cy"),
)


@fuzz(8, share=0.08)
@given(data=st.data())
def test_a_damaged_registry(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "registry"
        shutil.copytree(REGISTRY, folder)
        hurt = data.draw(st.sampled_from(ACCOUNTS) | st.sampled_from(FILES))
        damage_file(data, folder / hurt)
        store = Registry(folder)
        if "/versions/" in hurt and not same_json(REGISTRY / hurt, folder / hurt):
            with in_time():
                checks = store.verify("cy")
            assert not all(check.ok for check in checks), f"{hurt} was damaged, and the check is content"
        if hurt == "cy/state.json":
            with refused_or_fine():
                assert store.aliases("cy") == NOW, "another version is in production, by a damaged file"
        for read in data.draw(some_of(READERS)):
            with refused_or_fine():
                read(store)
