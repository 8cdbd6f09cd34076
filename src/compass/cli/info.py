"""The commands that only tell: strategies, report, env."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compass.cli.flags import Json
from compass.cli.printing import print_json, print_table, say


def strategies(json_: Json = False) -> None:
    """List the selection strategies and their parameters."""
    from compass.selection import describe_strategies

    found = describe_strategies()
    if json_:
        print_json([{"strategy": own.name, "picks": own.picks, "needs": list(own.needs),
                     "parameters": [asdict(parameter) for parameter in own.parameters]} for own in found])  # fmt: skip
    else:
        rows = [(own.name, own.picks, ", ".join(own.needs), "\n".join(map(str, own.parameters))) for own in found]
        print_table(("strategy", "picks", "needs", "parameters"), rows)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    texts: Annotated[bool, typer.Option("--texts/--no-texts", help="Show example texts. [default: on]")] = True,
) -> None:
    """Write a run's HTML report again."""
    from compass.report import build_report

    say(build_report(run, include_texts=texts).resolve())


def env(json_: Json = False) -> None:
    """Print versions, devices and embedded packages."""
    from compass.steps.environment import environment

    found = environment()
    if json_:
        print_json(found)
    else:
        for name, value in found.items():
            say(f"{name}: {value}")
