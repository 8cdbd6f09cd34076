"""The commands `compass registry ...`."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compass.cli.flags import Config, Json, with_options
from compass.cli.help import HelpCommand
from compass.cli.printing import print_json, print_table, say
from compass.cli.process import EXIT_DRIFT, EXIT_FAILED, set_up_logging
from compass.config import RegistryOptions, WatchOptions, load_options
from compass.errors import RegistryError

if TYPE_CHECKING:
    from compass.registry import Registry, Version

logger = logging.getLogger(__name__)

Language = Annotated[str, typer.Argument(metavar="LANGUAGE", help="Language of the versions, BCP-47.")]
Name = Annotated[str, typer.Argument(metavar="VERSION", help="Version: its id or number, `candidate` or `production`.")]
Reason = Annotated[str, typer.Option("--reason", help="Reason to note in the history.")]
WHERE = ("registry_dir",)
MOVED = (*WHERE, "mlflow_uri")


def _open_registry(config: Path | None, options: Any) -> tuple[Registry, RegistryOptions]:
    from compass.registry import Registry

    set_up_logging(verbose=False)
    resolved = load_options(RegistryOptions, config, options)
    where = resolved.registry
    return Registry(Path(where.registry_dir)), resolved


def _no_registry(store: Registry) -> RegistryError:
    from compass.registry.commands import command

    return RegistryError(f"There is no registry at {store.root}: `{command(store.root, 'add', 'RUN')}` begins one.")


def _languages(store: Registry) -> tuple[str, ...]:
    """Return the registry's languages. Raises RegistryError where there is no registry."""
    languages = store.languages()
    if not languages and not store.root.is_dir():
        raise _no_registry(store)
    return languages


def _keep_mirror(store: Registry, language: str, resolved: RegistryOptions) -> None:
    from compass.recipes.promote import keep_mirror

    keep_mirror(store, language, resolved.registry.mlflow_uri)


@with_options(also=(*MOVED, "leave_out"), of=RegistryOptions)
def registry_add(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Finished run folder.")],
    parent: Annotated[str, typer.Option("--parent", help="Version that this one is an update of.")] = "",
    trigger: Annotated[str, typer.Option("--trigger", help="What led to this version. [default: manual]")] = "manual",
    config: Config = None,
    json_: Json = False,
    *,
    options: Any = None,
) -> None:
    """Add a finished run as a version, and make it the candidate."""
    store, resolved = _open_registry(config, options)
    version = store.register(run, parent=parent, trigger=trigger, leave_out=resolved.registry.leave_out)
    _keep_mirror(store, version.language, resolved)
    if json_:
        print_json(version.to_dict())
    elif store.aliases(version.language).current == version.id:
        say(f"{version.id} is in production for {version.language} already")
    else:
        say(f"{version.id} is the candidate of {version.language}")


@with_options(also=WHERE, of=RegistryOptions)
def registry_list(config: Config = None, json_: Json = False, *, options: Any = None) -> None:
    """List the versions of every language.

    Exit code 1: state.json, the history or a manifest is damaged, or a version that an alias names is gone."""
    from compass.registry import Aliases
    from compass.registry.folders import homes

    store, _ = _open_registry(config, options)
    rows, damaged = [], False
    for language in _languages(store):
        wrong = store.verify_aliases(language)
        for check in wrong:
            logger.error("%s: %s: %s", language, check.id, "; ".join(check.problems))
        aliases, left_out = Aliases(), 0
        versions: tuple[Version, ...] = ()
        with contextlib.suppress(RegistryError):  # It is told above.
            versions = store.versions(language)
            left_out = len(homes(store.folder(language))) - len(versions)
            aliases = store.aliases(language)
        damaged |= bool(wrong or left_out)
        for version in versions:
            marks = [
                name
                for name, id in (("candidate", aliases.candidate), ("production", aliases.current))
                if id == version.id
            ]
            rows.append((language, version.id, ", ".join(marks), version.parent, version.trigger, version.created_at))
    names = ("language", "version", "alias", "parent", "trigger", "created")
    if json_:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table(names, rows)
    if damaged:
        raise typer.Exit(EXIT_FAILED)


@with_options(also=WHERE, of=RegistryOptions)
def registry_show(language: Language, name: Name, config: Config = None, *, options: Any = None) -> None:
    """Print a version's manifest as JSON."""
    store, _ = _open_registry(config, options)
    print_json(store.get(language, name).to_dict())


@with_options(also=WHERE, of=RegistryOptions)
def registry_diff(language: Language, a: Name, b: Name, config: Config = None, *, options: Any = None) -> None:
    """Print what differs between two versions as JSON."""
    from compass.registry import diff

    store, _ = _open_registry(config, options)
    print_json(diff(store.get(language, a), store.get(language, b)).to_dict())


@with_options("gate", also=MOVED, of=RegistryOptions)
def registry_promote(
    language: Language,
    name: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="Version to promote. [default: candidate]")
    ] = "candidate",
    reason: Reason = "",
    without_gate: Annotated[bool, typer.Option("--without-gate", help="Promote without a test.")] = False,
    config: Config = None,
    json_: Json = False,
    *,
    options: Any = None,
) -> None:
    """Put a version into production if it passes the gate.

    The first version of a language needs no gate. Exit code 3: refused, or not enough evidence.
    """
    from compass.recipes.promote import promote
    from compass.report.wording import p_value

    store, resolved = _open_registry(config, options)
    ask, seed = not without_gate, resolved.run.seed
    move, decision = promote(store, language, name, gate=resolved.gate, reason=reason, ask_the_gate=ask, seed=seed)
    _keep_mirror(store, language, resolved)
    if json_:
        print_json({"promoted": move is not None, "decision": decision.to_dict() if decision else None})
    else:
        if decision:
            print_table(
                ("test", "role", "rows", "difference", "margin", "p", "verdict"),
                [
                    (
                        test.name, test.role, str(test.n), f"{test.difference:+.3f}" if test.n else "-",
                        f"{test.margin:+.3f}", p_value(test.p) if test.n else "-", test.verdict,
                    )
                    for test in decision.tests
                ],
            )  # fmt: skip
            for test in decision.tests:
                if test.more_data:
                    say(f"{test.name}: {test.more_data}")
        say(f"{move.after} is in production" if move else f"Not promoted: {decision.reason if decision else ''}")
    if move is None:
        raise typer.Exit(EXIT_DRIFT)


@with_options(also=MOVED, of=RegistryOptions)
def registry_rollback(
    language: Language,
    to: Annotated[str, typer.Option("--to", help="Version to return to; empty: the previous one.")] = "",
    reason: Reason = "",
    config: Config = None,
    json_: Json = False,
    *,
    options: Any = None,
) -> None:
    """Put the previous version back into production."""
    store, resolved = _open_registry(config, options)
    move = store.rollback(language, to=to, reason=reason)
    _keep_mirror(store, language, resolved)
    if json_:
        print_json(move.to_dict())
    else:
        say(f"{move.after} is in production again")


@with_options(also=WHERE, of=RegistryOptions)
def registry_verify(
    language: Annotated[
        str, typer.Argument(metavar="[LANGUAGE]", help="Language of the versions, BCP-47. [default: all]")
    ] = "",
    config: Config = None,
    json_: Json = False,
    *,
    options: Any = None,
) -> None:
    """Check every version's files against their hashes.

    Exit code 1: a file or a version is missing or was changed, or state.json or the history is damaged."""
    store, _ = _open_registry(config, options)
    languages = (language,) if language else _languages(store)
    if not languages:
        raise _no_registry(store)
    checks = [(of, check) for of in languages for check in store.verify(of)]
    if json_:
        print_json(
            [
                {"language": of, "id": check.id, "files": check.files, "problems": list(check.problems)}
                for of, check in checks
            ]
        )
    else:
        for of, check in checks:
            files = f" ({check.files} files)" if check.files else ""
            where = "" if language else f"{of}: "
            say(f"{where}{check.id}: {'intact' if check.ok else '; '.join(check.problems)}{files}")
    if not all(check.ok for _, check in checks):
        raise typer.Exit(EXIT_FAILED)


@with_options(also=WHERE, of=RegistryOptions)
def registry_repair(
    language: Language,
    without_backup: Annotated[
        bool, typer.Option("--without-backup", help="Go on without the lost lines of the history, and record that.")
    ] = False,
    config: Config = None,
    json_: Json = False,
    *,
    options: Any = None,
) -> None:
    """Rebuild a lost or damaged state.json from the history.

    Exit code 1: something else is damaged; the log says what, and what to do."""
    store, _ = _open_registry(config, options)
    aliases = store.repair(language, without_backup=without_backup)
    if json_:
        print_json({"production": aliases.current or None, "candidate": aliases.candidate or None})
    else:
        say(f"production: {aliases.current or '-'}")
        say(f"candidate: {aliases.candidate or '-'}")
    left = store.verify_aliases(language)
    for check in left:
        logger.error("Not repaired: %s: %s", check.id, "; ".join(check.problems))
    if left:
        raise typer.Exit(EXIT_FAILED)


@with_options(also=(*MOVED, "keep_versions"), of=RegistryOptions)
def registry_prune(
    language: Language,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    config: Config = None,
    json_: Json = False,
    *,
    options: Any = None,
) -> None:
    """Remove old versions that no alias or rollback needs."""
    store, resolved = _open_registry(config, options)
    pruned = store.prune(language, keep=resolved.registry.keep_versions, dry_run=dry_run)
    if not dry_run:
        _keep_mirror(store, language, resolved)
    if json_:
        print_json({"removed": list(pruned.removed), "kept": dict(pruned.kept), "freed": pruned.freed})
        return
    verb = "would be removed" if dry_run else "removed"
    say(f"{len(pruned.removed)} versions {verb}, {pruned.freed / 2**20:.1f} MiB: {', '.join(pruned.removed) or '-'}")


@with_options(also=(*WHERE, "watch_dir", "database"), of=WatchOptions)
def registry_status(
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="HTML file to write. [default: status.html]")
    ] = Path("status.html"),
    config: Config = None,
    *,
    options: Any = None,
) -> None:
    """Write the status page as HTML."""
    from compass.registry import Registry
    from compass.report import build_status
    from compass.steps.watch_state import skipped_by_language

    set_up_logging(verbose=False)
    resolved = load_options(WatchOptions, config, options)
    store = Registry(Path(resolved.registry.registry_dir))
    _languages(store)
    found = skipped_by_language(store, resolved.watch.watch_dir, resolved.monitor.database)
    say(build_status(store, output, skipped=found).resolve())


registry = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Keep versions of adapters: add, promote, roll back, verify.",
)
for _name, _command in {
    "add": registry_add, "list": registry_list, "show": registry_show, "diff": registry_diff,
    "promote": registry_promote, "rollback": registry_rollback, "verify": registry_verify, "repair": registry_repair,
    "prune": registry_prune, "status": registry_status,
}.items():  # fmt: skip
    registry.command(_name, cls=HelpCommand)(_command)
