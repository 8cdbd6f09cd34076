"""The command `compass`: thin commands over the recipes. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import errno
import inspect
import json
import logging
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compass.config import (
    AdaptConfig,
    CompareConfig,
    MonitorOptions,
    Option,
    RegistryOptions,
    TaskOptions,
    UpdateOptions,
    WatchOptions,
    fields_of,
    load_config,
    load_options,
    load_stored,
    named_options,
)
from compass.config.knobs import flag_of
from compass.errors import CompassError, ConfigError, DataError
from compass.runs import layout

if TYPE_CHECKING:
    from compass.records import Comparison, Difference, Metrics
    from compass.registry import Registry

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Adapt an LLM to the languages that its users really speak.",
)

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_DRIFT, EXIT_INTERRUPTED = 1, 2, 3, 130
"""Exit codes: something failed; the options or the data are wrong; `monitor` found a drift, or the gate refused;
stopped by Ctrl-C (the same command goes on)."""
NO_SUCH_PLACE = {
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS
}  # fmt: skip
"""What the system says of a folder that can't be made or a file that can't be written."""
NOISY = ("ContinuousBatchingLogger", "transformers", "trl", "peft", "datasets", "accelerate", "httpx")
"""Libraries that log errors alone, unless --verbose asks for more."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=_with_dashes(given), standalone_mode=False)
    except (ConfigError, DataError) as error:
        _fail(str(error))
        code = EXIT_BAD_INPUT
    except CompassError as error:
        _fail(str(error))
        code = EXIT_FAILED
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except SystemExit as stopped:
        # typer turns Ctrl-C into an exit of its own.
        code = stopped.code
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _fail(f"The disk is full{f' ({error.filename})' if error.filename else ''}. Free some space and run the "
                  "same command again: finished stages are kept.")  # fmt: skip
        elif error.errno in NO_SUCH_PLACE and error.filename:
            _fail(f"{error.filename}: {error.strerror}. Choose a place that is there and may be written to; finished "
                  "stages are kept.")  # fmt: skip
        else:
            raise
        code = EXIT_FAILED
    except Exception as error:
        # click's own usage errors, without depending on its classes: typer may bring its own copy.
        show, exit_code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if show is None or exit_code is None:
            raise
        show()
        code = exit_code
    if code == EXIT_INTERRUPTED:
        _fail("Stopped. What was finished is kept: the same command goes on from there.")
    sys.exit(code if isinstance(code, int) else 0)


def _with_dashes(arguments: Sequence[str]) -> list[str]:
    """Take options in the spelling of transformers too: `--lora_r 8` is `--lora-r 8`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    spelt = []
    for argument in arguments[:end]:
        name, sign, value = argument.partition("=")
        spelt.append(f"{name.replace('_', '-')}{sign}{value}" if name.startswith("--") else argument)
    return [*spelt, *arguments[end:]]


def _fail(message: str) -> None:
    print(f"compass: {message}", file=sys.stderr)


def _with_options(
    *sections: str, also: Sequence[str] = (), of: type[Any] = AdaptConfig
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one flag for each option of the named sections, and for those in `also`; it gets them as a dict.

    The flags come from `compass.config`, so that each option is documented once.
    """
    options = [o for o in fields_of(of) if o.section in sections or o.name in also]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())
        own = [parameter for parameter in own if parameter.name != "options"]

        def wrapper(**given: Any) -> None:
            values = {option.name: _value(option, given.pop(option.name)) for option in options}
            command(**given, options={name: value for name, value in values.items() if value is not None})

        flags = [
            inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(option))
            for option in options
        ]
        wrapper.__signature__ = inspect.Signature(own + flags)  # type: ignore[attr-defined]
        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        return wrapper

    return decorate


def _annotation(option: Option) -> Any:
    names = [f"{option.flag}/--no-{option.name.replace('_', '-')}" if option.type is bool else option.flag]
    names += [flag_of(option.alias)] if option.alias else []
    choices = f" One of: {', '.join(option.choices)}." if option.choices else ""
    default = ",".join(map(str, option.default)) if isinstance(option.default, tuple) else option.default
    info = typer.Option(
        *names,
        help=f"{option.help}{choices}",
        rich_help_panel=f"Options: {option.section}",
        show_default=f"{default}" if default not in ("", {}) else False,
    )
    several = (tuple[str, ...], tuple[int, ...], dict[str, str], dict[str, float])
    kind: Any = list[str] if option.type in several else option.type
    # Numbers come as text, so that a wrong one is reported together with all the other problems.
    if kind in (int, float):
        kind = str
        info.metavar = "N"
    return Annotated[kind | None, info]


def _value(option: Option, value: Any) -> Any:
    if value is None or value == []:
        return None
    if option.type == dict[str, str]:
        pairs = [item.partition("=") for item in value]
        broken = ["".join(pair) for pair in pairs if not pair[1]]
        if broken:
            raise ConfigError(f"{option.flag}: write ours=theirs, as in prompt=question; got {', '.join(broken)}")
        return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    if option.type is int or option.type is float:
        try:
            return option.type(value)
        except ValueError:
            return value
    return value


Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of options; flags override it.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan with counts and an estimate of time; do nothing.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, and show the libraries' warnings.")]
SECTIONS = ("run", "data", "encoder", "space", "selection", "training", "evaluation")


@app.command()
@_with_options(*SECTIONS)
def adapt(
    config: Config = None,
    json_: Json = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Select, train, evaluate and report, from one configuration. The same command resumes a run."""
    _set_up_logging(verbose)
    resolved = load_config(config, options)
    if dry_run:
        _print_plan(resolved, as_json=json_)
        return
    from compass.recipes.adapt import adapt as run_adapt

    done = run_adapt(resolved)
    result = {"run": done.run_dir, "adapter": done.adapter, "report": done.report, "differences": done.differences}
    _print_result(result, json_, lambda: _print_differences(done.differences))


@app.command()
@_with_options(*SECTIONS, "grid", of=CompareConfig)
def compare(
    config: Config = None,
    json_: Json = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Run strategies against each other at equal budget and steps; paired statistics and a report."""
    _set_up_logging(verbose)
    if one := [name for name in ("strategy", "budget") if name in options]:
        grids = {"strategy": "strategies", "budget": "budgets"}
        raise ConfigError([f"--{name}: a comparison has several; write --{grids[name]}, once for each" for name in one])
    resolved = load_options(CompareConfig, config, options)
    from compass.recipes.compare import compare as run_compare
    from compass.recipes.compare import grid

    if dry_run:
        _print_grid(grid(resolved), as_json=json_)
        return
    done = run_compare(resolved)
    result = {"folder": done.folder, "report": done.report, "cells": done.cells, "comparisons": done.comparisons}
    _print_result(result, json_, lambda: _print_comparisons(done.comparisons))


@app.command(hidden=True)
def prepare(config: Config = None, verbose: Verbose = False) -> None:
    """Do what all strategies share, and stop before the selection: `compare` runs it, once for each draw."""
    _set_up_logging(verbose)
    from compass.recipes.adapt import prepare as recipe

    recipe(load_config(config))


@app.command()
@_with_options("run", "data", "encoder", "space", "selection", "training")
def select(
    config: Config = None,
    json_: Json = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Pick the pool's rows and write the audit, without training."""
    _set_up_logging(verbose)
    resolved = load_config(config, options)
    if dry_run:
        _print_plan(resolved, as_json=json_)
        return
    from compass.recipes.adapt import select as run_select

    run_select(resolved)
    folder = Path(resolved.run.output_dir)
    result = {
        **json.loads((folder / layout.SELECTION_SUMMARY).read_text("utf-8")),
        "selected": folder / layout.PICKS,
        "audit": folder / layout.AUDIT,
        "report": folder / layout.REPORT,
    }
    _print_result(result, json_)


@app.command()
@_with_options("run", "training", also=("columns",))
def train(
    data: Annotated[list[str], typer.Argument(help="Files or data sets with a prompt and a response.")],
    config: Config = None,
    json_: Json = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Train an adapter on given rows, without selection."""
    _set_up_logging(verbose)
    from compass.recipes.train import train_on

    adapter, result = train_on(load_config(config, options), data)
    if json_:
        _print_json({"adapter": str(adapter), **result})
    else:
        print(f"Adapter: {adapter}")


@app.command()
@_with_options("run", "training", "evaluation", "tasks", also=("columns", "language", "usage"), of=TaskOptions)
def evaluate(
    data: Annotated[list[str] | None, typer.Argument(help="Test files with a prompt and a response.")] = None,
    tasks: Annotated[str, typer.Option("--tasks", help="lm-eval's tasks instead, with commas between.")] = "",
    config: Config = None,
    json_: Json = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Measure a base model, and an adapter against it with --adapter, on files or on lm-eval's tasks."""
    _set_up_logging(verbose)
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if bool(names) == bool(data):
        raise ConfigError("evaluate: give either test files or --tasks with the names of lm-eval's tasks.")
    if names:
        _evaluate_tasks(load_options(TaskOptions, config, options), names, as_json=json_)
        return
    from compass.recipes.evaluate import evaluate_on

    resolved = load_options(TaskOptions, config, options)
    language = named_options(config, options, TaskOptions, {"language"}).get("language", "")
    folder, evaluations, differences = evaluate_on(resolved.adapt, data or [], language=language)
    metrics = {test: {model: done.metrics for model, done in own.items()} for test, own in evaluations.items()}
    result = {"folder": folder, "evaluations": metrics, "differences": differences}
    _print_result(result, json_, lambda: _print_differences(differences) if differences else _print_metrics(metrics))


@app.command()
@_with_options("monitor", of=MonitorOptions)
def monitor(
    run: Annotated[Path, typer.Argument(help="Run folder whose adapter serves.")],
    source: Annotated[str, typer.Argument(help="JSON Lines file or folder of production prompts; - reads stdin.")],
    reference: Annotated[str, typer.Option("--reference", help="Usage to compare with; empty: the held-out.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more, until Ctrl-C.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin the windows anew; lines that were read are not read again.")
    ] = False,
    config: Config = None,
    json_: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Count production prompts against the run's usage, and say when and how their distribution drifts.

    What was counted is remembered: the same command goes on behind it. Exit code 3 says that a drift stands.
    """
    _set_up_logging(verbose)
    from compass.recipes.monitor import monitor as run_monitor

    resolved = load_options(MonitorOptions, config, options)
    drift, unread = False, 0
    for event in run_monitor(run, source, resolved.monitor, reference=reference, follow=follow, restart=restart):
        print(json.dumps(event.to_dict(), ensure_ascii=False) if json_ else event.summary, flush=True)
        if event.kind == "status":
            drift = bool(event.details["drift"])
            unread = 0 if event.details["new_prompts"] else event.details["skipped_lines"]
    if unread and not drift:
        raise DataError(
            f"{source}: none of its {unread} new lines could be used. A line is a JSON object with "
            "`prompt` or `messages`; the log says what is wrong with the first."
        )
    if drift:
        raise typer.Exit(EXIT_DRIFT)


@app.command()
@_with_options("selection", "training", "monitor", "update", "registry", "gate", "hooks", "watch", of=WatchOptions)
def watch(
    language: Annotated[str, typer.Argument(help="Language whose version in production is watched, BCP-47.")],
    source: Annotated[str, typer.Argument(help="JSON Lines file or folder of production prompts; - reads stdin.")],
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more, until Ctrl-C.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin the windows anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    config: Config = None,
    json_: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Monitor, update, gate and promote in one loop, with a budget of updates and a hook for each event.

    A killed loop goes on where it was. Exit code 3 says that a drift stands.
    """
    _set_up_logging(verbose)
    from compass.recipes.watch import watch as run_watch

    resolved = load_options(WatchOptions, config, options)
    given = _for_updates(config, options, WatchOptions)
    drift = False
    for event in run_watch(
        language, source, resolved, overrides=given, follow=follow, dry_run=dry_run, restart=restart
    ):
        print(json.dumps(event.to_dict(), ensure_ascii=False) if json_ else event.summary, flush=True)
        if event.kind == "status":
            drift = bool(event.details["drift"])
    if drift:
        raise typer.Exit(EXIT_DRIFT)


@app.command()
@_with_options("run", "selection", "training", "evaluation", "update", of=UpdateOptions)
def update(
    parent: Annotated[Path, typer.Argument(help="Run folder whose adapter serves now; it is only read.")],
    window: Annotated[str, typer.Argument(help="New usage: prompts, and responses where there are any.")],
    current: Annotated[str, typer.Option("--new-data", help="New training data in the target language.")] = "",
    test: Annotated[str, typer.Option("--new-test", help="Held-out new usage with responses.")] = "",
    pool: Annotated[list[str] | None, typer.Option("--new-pool", help="Another pool than the parent's.")] = None,
    json_: Json = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Let an adapter follow new usage without losing the old, into a run folder of its own."""
    _set_up_logging(verbose)
    from compass.recipes.update import NewData
    from compass.recipes.update import update as run_update

    own = load_options(UpdateOptions, None, options)
    if "output_dir" not in (options or {}):
        raise ConfigError("--output-dir: name a folder for the new version; the parent is not written to.")
    resolved = load_stored(parent / layout.CONFIG, _for_updates(None, options, UpdateOptions))
    new = NewData(window, train=current, test=test, pool=tuple(pool or ()))
    done = run_update(resolved, own.update, parent=parent, new=new)
    result = {
        "run": done.run_dir,
        "adapter": done.adapter,
        "report": done.report,
        "parent": done.parent,
        "differences": done.differences,
    }
    _print_result(result, json_, lambda: _print_differences(done.differences, title="Parent and update"))


def _for_updates(
    config: Path | None, options: Mapping[str, Any] | None, kind: type[UpdateOptions | WatchOptions]
) -> dict[str, Any]:
    """Return the options of `adapt` that a file or a flag names; refuse what an update decides by itself."""
    given = named_options(config, options, kind, {option.name for option in fields_of(AdaptConfig)})
    why = {
        "adapter": "an update goes on from the adapter of its parent",
        "averaged_trainings": "an update is one training, for it goes on from one adapter",
    }
    if problems := [f"{name}: {reason}. Leave it out" for name, reason in why.items() if name in given]:
        raise ConfigError(problems)
    return given


@app.command()
def strategies(json_: Json = False) -> None:
    """List the selection strategies: what each picks, and what it needs besides the data."""
    from compass.selection import describe_strategies

    found = describe_strategies()
    if json_:
        _print_json([{"strategy": own.name, "picks": own.picks, "needs": list(own.needs),
                      "parameters": [asdict(parameter) for parameter in own.parameters]} for own in found])  # fmt: skip
    else:
        rows = [(own.name, own.picks, ", ".join(own.needs), "\n".join(map(str, own.parameters))) for own in found]
        _print_table(("strategy", "picks", "needs", "parameters"), rows)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    texts: Annotated[bool, typer.Option("--texts/--no-texts", help="Show example texts.")] = True,
) -> None:
    """Write the HTML report of a run folder again."""
    from compass.report import build_report

    print(build_report(run, include_texts=texts).resolve())


@app.command()
def env(json_: Json = False) -> None:
    """Print the versions, devices and embedded packages that are found here."""
    from compass.steps.environment import environment

    found = environment()
    if json_:
        _print_json(found)
    else:
        for name, value in found.items():
            print(f"{name}: {value}")


registry = typer.Typer(no_args_is_help=True, help="Versions of adapters: register, promote, roll back, verify.")
app.add_typer(registry, name="registry")

Language = Annotated[str, typer.Argument(help="Language of the versions, BCP-47.")]
Name = Annotated[str, typer.Argument(help="Version: its id or number, `candidate` or `production`.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]
WHERE = ("registry_dir", "lock_timeout")
MOVED = (*WHERE, "mlflow_uri")


def _open_registry(config: Path | None, options: Any) -> tuple[Registry, RegistryOptions]:
    from compass.registry import Registry

    _set_up_logging(verbose=False)
    resolved = load_options(RegistryOptions, config, options)
    where = resolved.registry
    return Registry(Path(where.registry_dir), lock_timeout=where.lock_timeout), resolved


def _keep_mirror(store: Registry, language: str, resolved: RegistryOptions) -> None:
    from compass.recipes.promote import keep_mirror

    keep_mirror(store, language, resolved.registry.mlflow_uri)


@registry.command("add")
@_with_options(also=(*MOVED, "leave_out"), of=RegistryOptions)
def registry_add(
    run: Annotated[Path, typer.Argument(help="Finished run folder.")],
    parent: Annotated[str, typer.Option("--parent", help="Version that it was updated from.")] = "",
    trigger: Annotated[str, typer.Option("--trigger", help="What caused it.")] = "manual",
    config: Config = None,
    json_: Json = False,
    *,
    options: Any = None,
) -> None:
    """Take a finished run in as an immutable version, and make it the candidate."""
    store, resolved = _open_registry(config, options)
    version = store.register(run, parent=parent, trigger=trigger, leave_out=resolved.registry.leave_out)
    _keep_mirror(store, version.language, resolved)
    _print_json(version.to_dict()) if json_ else print(f"{version.id} is the candidate of {version.language}")


@registry.command("list")
@_with_options(also=WHERE, of=RegistryOptions)
def registry_list(config: Config = None, json_: Json = False, *, options: Any = None) -> None:
    """Show every version of every language, and which of them serves."""
    store, _ = _open_registry(config, options)
    rows = []
    for language in store.languages():
        aliases = store.aliases(language)
        for version in store.versions(language):
            marks = [
                name
                for name, id in (("candidate", aliases.candidate), ("production", aliases.current))
                if id == version.id
            ]
            rows.append((language, version.id, ", ".join(marks), version.parent, version.trigger, version.created_at))
    names = ("language", "version", "alias", "parent", "trigger", "created")
    if json_:
        _print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        _print_table(names, rows)


@registry.command("show")
@_with_options(also=WHERE, of=RegistryOptions)
def registry_show(language: Language, name: Name, config: Config = None, *, options: Any = None) -> None:
    """Print a version's manifest as JSON."""
    store, _ = _open_registry(config, options)
    _print_json(store.get(language, name).to_dict())


@registry.command("diff")
@_with_options(also=WHERE, of=RegistryOptions)
def registry_diff(language: Language, a: Name, b: Name, config: Config = None, *, options: Any = None) -> None:
    """Print what differs between two versions as JSON: options, metrics, picks, data, files."""
    from compass.registry import diff

    store, _ = _open_registry(config, options)
    _print_json(diff(store.get(language, a), store.get(language, b)).to_dict())


@registry.command("promote")
@_with_options("gate", also=MOVED, of=RegistryOptions)
def registry_promote(
    language: Language,
    name: Annotated[str, typer.Argument(help="Version to promote.")] = "candidate",
    reason: Reason = "",
    without_gate: Annotated[bool, typer.Option("--without-gate", help="Promote without asking the gate.")] = False,
    config: Config = None,
    json_: Json = False,
    *,
    options: Any = None,
) -> None:
    """Put a version into production if the gate lets it pass; a first version has nothing to be compared with.

    Exit code 3 says that the gate refused, or had not enough evidence.
    """
    from compass.recipes.promote import promote

    store, resolved = _open_registry(config, options)
    ask, seed = not without_gate, resolved.run.seed
    move, decision = promote(store, language, name, gate=resolved.gate, reason=reason, ask_the_gate=ask, seed=seed)
    _keep_mirror(store, language, resolved)
    if json_:
        _print_json({"promoted": move is not None, "decision": decision.to_dict() if decision else None})
    else:
        if decision:
            rows = [
                (row.name, row.role, f"{row.difference:+.3f}", f"{row.margin:+.3f}", f"{row.p:.3f}", row.verdict)
                for row in decision.tests
            ]
            _print_table(("test", "role", "difference", "margin", "p", "verdict"), rows)
        print(f"{move.after} is in production" if move else f"Not promoted: {decision.reason if decision else ''}")
    if move is None:
        raise typer.Exit(EXIT_DRIFT)


@registry.command("rollback")
@_with_options(also=MOVED, of=RegistryOptions)
def registry_rollback(
    language: Language,
    to: Annotated[str, typer.Option("--to", help="Version to go back to; empty: the one before.")] = "",
    reason: Reason = "",
    config: Config = None,
    *,
    options: Any = None,
) -> None:
    """Put the version that served before back into production."""
    store, resolved = _open_registry(config, options)
    move = store.rollback(language, to=to, reason=reason)
    _keep_mirror(store, language, resolved)
    print(f"{move.after} is in production again")


@registry.command("verify")
@_with_options(also=WHERE, of=RegistryOptions)
def registry_verify(language: Language, config: Config = None, json_: Json = False, *, options: Any = None) -> None:
    """Check every hash of every version. Exit code 1 says that a file is not what was registered."""
    store, _ = _open_registry(config, options)
    checks = store.verify(language)
    if json_:
        _print_json([{"id": check.id, "files": check.files, "problems": list(check.problems)} for check in checks])
    else:
        for check in checks:
            print(f"{check.id}: {'whole' if check.ok else '; '.join(check.problems)} ({check.files} files)")
    if not all(check.ok for check in checks):
        raise typer.Exit(EXIT_FAILED)


@registry.command("repair")
@_with_options(also=WHERE, of=RegistryOptions)
def registry_repair(language: Language, config: Config = None, *, options: Any = None) -> None:
    """Write a lost or damaged state.json anew from the history; one that is whole is left alone."""
    store, _ = _open_registry(config, options)
    aliases = store.repair(language)
    print(f"production: {aliases.current or '-'}")
    print(f"candidate: {aliases.candidate or '-'}")


@registry.command("prune")
@_with_options(also=(*MOVED, "keep_versions"), of=RegistryOptions)
def registry_prune(
    language: Language,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    config: Config = None,
    *,
    options: Any = None,
) -> None:
    """Remove old versions, never one that an alias or its rollback needs."""
    store, resolved = _open_registry(config, options)
    pruned = store.prune(language, keep=resolved.registry.keep_versions, dry_run=dry_run)
    if not dry_run:
        _keep_mirror(store, language, resolved)
    verb = "would be removed" if dry_run else "removed"
    print(f"{len(pruned.removed)} versions {verb}, {pruned.freed / 2**20:.1f} MiB: {', '.join(pruned.removed) or '-'}")


@registry.command("status")
@_with_options(also=WHERE, of=RegistryOptions)
def registry_status(
    output: Annotated[Path, typer.Option("--output", help="HTML file to write.")] = Path("status.html"),
    config: Config = None,
    *,
    options: Any = None,
) -> None:
    """Write the status page: versions, aliases, events, decisions."""
    from compass.report import build_status

    store, _ = _open_registry(config, options)
    print(build_status(store, output).resolve())


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("compass-peft"))
        raise typer.Exit


def _set_up_logging(verbose: bool) -> None:
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("compass")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    if not verbose:
        warnings.simplefilter("ignore")
        for noisy in NOISY:
            logging.getLogger(noisy).setLevel(logging.ERROR)


def _evaluate_tasks(config: TaskOptions, names: Sequence[str], *, as_json: bool) -> None:
    from compass.recipes.evaluate import evaluate_tasks

    results, differences = evaluate_tasks(config, names)
    if as_json:
        found = {model: [result.to_dict() for result in of_model] for model, of_model in results.items()}
        _print_json({"tasks": found, "differences": differences})
        return
    rows = [
        (model, result.task, metric.part or "-", metric.name, f"{metric.value:.4f}", f"{metric.stderr:.4f}")
        for model, of_model in results.items()
        for result in of_model
        for metric in result.metrics
    ]
    _print_table(("model", "task", "part", "metric", "value", "stderr"), rows)
    if differences:
        _print_differences(differences, title="Base and adapter, paired")


def _print_result(result: Mapping[str, Any], as_json: bool, table: Callable[[], None] | None = None) -> None:
    """End a command: all of its result as JSON, or its table and then a line for each plain value."""
    if as_json:
        _print_json({name: str(value) if isinstance(value, Path) else value for name, value in result.items()})
        return
    if table:
        table()
    for name, value in result.items():
        if not isinstance(value, (list, tuple, dict)):
            # A path that a person can click on.
            print(f"{name}: {value.resolve() if isinstance(value, Path) else value}")


def _print_json(content: Any) -> None:
    print(json.dumps(content, ensure_ascii=False, indent=2, default=lambda value: value.to_dict()))


def _print_plan(config: AdaptConfig, *, as_json: bool) -> None:
    from compass.steps.plan import plan

    steps = plan(config)
    if as_json:
        _print_json([step.to_dict() for step in steps])
        return
    _print_table(("step", "what", "estimate"), [(s.name, s.what, s.estimate) for s in steps], title="Plan")


def _print_differences(differences: Sequence[Difference], *, title: str = "Before and after") -> None:
    if not differences:
        print("Not evaluated: there was no held-out row with a response.")
        return
    lines = [
        (
            row.name, row.metric.replace("_", " "), f"{row.base:.3f}", f"{row.adapter:.3f}",
            f"{row.interval.value:+.3f}", f"{row.interval.low:+.3f} to {row.interval.high:+.3f}",
        )
        for row in differences
    ]  # fmt: skip
    _print_table(("test", "metric", "before", "after", "difference", "interval"), lines, title=title)


def _print_grid(cells: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        _print_json(list(cells))
        return
    names = ("language", "seed", "budget", "strategy")
    _print_table(names, [[str(cell[name]) for name in names] for cell in cells], title=f"{len(cells)} cells")


def _print_comparisons(comparisons: Sequence[Comparison]) -> None:
    lines = [
        (
            row.language or "all", str(row.budget or "all"), row.metric, row.against, f"{row.value:.3f}",
            f"{row.other:.3f}", f"{row.interval.value:+.3f} [{row.interval.low:+.3f}, {row.interval.high:+.3f}]",
            f"{row.p_holm:.3f}", "–" if math.isnan(row.runs_p_holm) else f"{row.runs_p_holm:.3f}",
        )
        for row in comparisons
    ]  # fmt: skip
    names = ("language", "budget", "metric", "against", "ours", "theirs", "difference", "p rows", "p runs")
    _print_table(names, lines, title="Paired differences; p after Holm, over test rows and over trainings")


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Print rows; where there is no room a cell is wrapped and never cut, for ids are there to be copied."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _print_metrics(evaluations: Mapping[str, Mapping[str, Metrics]]) -> None:
    lines = [
        (name, metric.replace("_", " "), f"{value.value:.3f}", f"{value.low:.3f} to {value.high:.3f}")
        for name, models in evaluations.items()
        for metric, value in models["base"].items()
    ]
    _print_table(("test", "metric", "value", "interval"), lines, title="Evaluation")


if __name__ == "__main__":
    main()
