"""The commands that read production prompts: monitor and watch."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compass.cli.flags import Config, JsonLines, Verbose, with_options
from compass.cli.printing import print_event, print_json, print_table, say
from compass.cli.process import EXIT_DRIFT, EXIT_FAILED, set_up_logging
from compass.config import (
    AdaptConfig,
    MonitorOptions,
    ServeOptions,
    WatchOptions,
    as_flags,
    fields_of,
    load_options,
    load_project,
    named_options,
)
from compass.config.update import OF_THE_PARENT
from compass.data.languages import normalize_tag
from compass.errors import ConfigError, DataError
from compass.signals import ended, handled

if TYPE_CHECKING:
    from compass.drift import Skipped
    from compass.records import Event

logger = logging.getLogger(__name__)

Source = Annotated[
    str,
    typer.Argument(
        metavar="[SOURCE]",
        help="JSON Lines file or folder of production prompts; - reads stdin. Not needed with --skipped.",
    ),
]
ListSkipped = Annotated[bool, typer.Option("--skipped", help="List the lines that were skipped so far, by reason.")]
Follow = Annotated[bool, typer.Option("--follow", help="Wait for more prompts, until Ctrl-C.")]
Restart = Annotated[bool, typer.Option("--restart", help="Empty the windows; lines that were read are not read again.")]


@with_options("monitor", "folder", of=MonitorOptions)
def monitor(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of the adapter that serves.")],
    source: Source = "",
    reference: Annotated[
        str, typer.Option("--reference", help="Usage to compare with; empty: the run's held-out usage.")
    ] = "",
    follow: Follow = False,
    restart: Restart = False,
    skipped: ListSkipped = False,
    config: Config = None,
    json_: JsonLines = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Test production prompts for drift from a run's usage.

    The state is kept: the same command continues with the new prompts. Exit code 3: a drift test is in alarm.
    """
    set_up_logging(verbose)
    from compass.recipes.monitor import monitor as run_monitor
    from compass.recipes.monitor import skipped as skipped_by

    resolved = load_options(MonitorOptions, config, options)
    _check_source(source, skipped=skipped)
    if skipped:
        _print_skipped(skipped_by(run, resolved.monitor), as_json=json_)
        return
    granted = resolved.folder.allow_endpoint
    events = run_monitor(
        run, source, resolved.monitor, reference=reference, follow=follow, restart=restart, allow_endpoint=granted
    )
    _print_to_end(events, source, as_json=json_)


def _print_to_end(events: Iterable[Event], source: str, *, as_json: bool) -> None:
    """Print events as they come; the status at the end decides the exit code.

    Raises DataError if none of the new lines could be used, unless a drift test is in alarm.
    """
    drift, unread = False, 0
    # A service is stopped by SIGTERM: it ends as by Ctrl-C, with the status.
    with handled(signal.SIGTERM, ended):
        for event in events:
            print_event(event, as_json=as_json)
            if event.kind == "status":
                drift = bool(event.details["drift"])
                unread = 0 if event.details["new_prompts"] else event.details["skipped_lines"]
    if unread:
        problem = (
            f"{source}: none of its {unread} new lines could be used. A line is a JSON object with `prompt` or "
            "`messages`; tables and plain text are not read. The log says what is wrong with the first."
        )
        if not drift:
            raise DataError(problem)
        logger.error("%s", problem)
    if drift:
        raise typer.Exit(EXIT_DRIFT)


def _check_source(source: str, *, skipped: bool) -> None:
    """Raise ConfigError if there is no source to read, or one that would not be read."""
    if skipped and source:
        raise ConfigError("--skipped only lists what was passed over so far and reads no prompts: leave SOURCE out")
    if not skipped and not source:
        raise ConfigError("SOURCE is missing: give a JSON Lines file, a folder of them, or - for standard input")


def _print_skipped(found: Sequence[Skipped], *, as_json: bool) -> None:
    """Print what a monitor passed over; places, never texts."""
    if as_json:
        print_json([skip.to_dict() for skip in found])
    elif found:
        rows = [(skip.reason, str(skip.n), skip.first, _time(skip.at)) for skip in found]
        print_table(("reason", "how often", "first at", "when"), rows, title="Skipped")
    else:
        say("Nothing was skipped.")


def _time(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else ""


@with_options(
    "selection", "training", "monitor", "update", "registry", "gate", "hooks", "watch", "folder",
    of=WatchOptions, refused=OF_THE_PARENT, advanced=("training", "strategy", "min_improvement", "leave_out"),
    defaults={option.name: "default: the version's" for option in fields_of(AdaptConfig)},
)  # fmt: skip
def watch(
    language: Annotated[
        str,
        typer.Argument(
            metavar="[LANGUAGE]",
            help="Language whose production version is watched; leave it out for all languages of a project.",
        ),
    ] = "",
    source: Source = "",
    follow: Follow = False,
    restart: Restart = False,
    skipped: ListSkipped = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    config: Config = None,
    json_: JsonLines = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Monitor prompts, update on drift, and promote by a gate.

    A stopped loop resumes where it was. With the file of a project and no LANGUAGE, all of its languages are watched,
    each in a process of its own. Exit code 3: a drift test is in alarm.
    """
    set_up_logging(verbose)
    if not language:
        switches = {"--follow": follow, "--restart": restart, "--dry-run": dry_run, "--verbose": verbose}
        flags = [*as_flags(options), *(name for name, on in switches.items() if on)]
        _watch_project(config, options, flags, skipped=skipped, as_json=json_)
        return
    from compass.recipes.watch import skipped as skipped_by
    from compass.recipes.watch import watch as run_watch
    from compass.steps.read import fill_in

    resolved = load_options(WatchOptions, config, options, language=language)
    source = source or fill_in(resolved.watch.prompts, language=language)
    _check_source(source, skipped=skipped)
    if skipped:
        _print_skipped(skipped_by(language, resolved), as_json=json_)
        return
    names = {option.name for option in fields_of(AdaptConfig)}
    given = named_options(config, options, WatchOptions, names, language=language)
    events = run_watch(language, source, resolved, overrides=given, follow=follow, dry_run=dry_run, restart=restart)
    _print_to_end(events, source, as_json=json_)


def _watch_project(
    config: Path | None, options: Mapping[str, Any], flags: Sequence[str], *, skipped: bool, as_json: bool
) -> None:
    """Watch all languages of a project. Exits with an error if one could not be watched, else by drift."""
    project = load_project(WatchOptions, config, options, also_read=ServeOptions, normal=normalize_tag)
    if skipped:
        tags = f" ({', '.join(project.languages)})" if project else ""
        raise ConfigError(
            f"LANGUAGE is missing: --skipped lists what the loop of one language passed over; name it{tags}"
        )
    if project is None:
        raise ConfigError("LANGUAGE is missing: name it, or leave it out with the --config of a project to watch all")
    from compass.recipes.together import in_one_stream
    from compass.serve.prompt_log import FOLDER
    from compass.steps.read import fill_in

    of_gateway = str(Path(load_options(ServeOptions, config, log=False).serve.serve_dir) / FOLDER)
    commands = {}
    for tag, resolved in project.languages.items():
        source = fill_in(resolved.watch.prompts, language=tag) or of_gateway
        commands[tag] = ["watch", tag, source, "--config", str(project.path), "--json", *flags]
    codes: dict[str, int] = {}
    for event in in_one_stream(commands, codes):
        print_event(event, as_json=as_json)
    failed = [tag for tag, code in codes.items() if code not in (0, EXIT_DRIFT)]
    if failed:
        say(f"compass: not watched to the end: {', '.join(failed)}; the lines above say why", error=True)
        raise typer.Exit(EXIT_FAILED)
    if EXIT_DRIFT in codes.values():
        raise typer.Exit(EXIT_DRIFT)
