"""The help of a command in plain text, and what to say of a flag that it does not take.

An option that is `hidden` is an advanced one: `--help` shows the others, `--help-all` all of them, in groups.
"""

from __future__ import annotations

import difflib
import inspect
import re
import textwrap
from collections.abc import Collection, Mapping
from typing import Any

import typer
from typer.core import TyperCommand

from compass.config import all_options, gone_options
from compass.config.reading import RUNNING
from compass.errors import ConfigError

GENERAL = "General"
"""Title of the group of options that a command has besides those of its configuration; it comes last."""
HELP, HELP_ALL = "--help", "--help-all"
WIDTH, NAMES, INDENT = 80, 28, 2
"""Columns of the page, of the names in it at most, and before them."""


class HelpCommand(TyperCommand):
    """A command that shows its basic options by `--help` and all by `--help-all`, and knows the nearest option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual. Raises ConfigError for a flag that the command does not take."""
        if HELP_ALL in (args[: args.index("--")] if "--" in args else args):
            print(self.page(ctx, everything=True))
            raise typer.Exit
        try:
            return super().parse_args(ctx, self._each_named(ctx, args))
        except Exception as error:
            # typer may bring its own copy of click, with its own classes.
            first, is_unknown = getattr(error, "option_name", None), hasattr(error, "possibilities")
            if not first or not is_unknown:
                raise
            flags = [name for param in self.get_params(ctx) for name in (*param.opts, *param.secondary_opts)]
            said = [name for name in (arg.partition("=")[0] for arg in args) if name.startswith("--") and len(name) > 2]
            wrong = dict.fromkeys([first, *(name for name in said if name not in flags)])
            refused = getattr(self.callback, "refused", {})
            raise ConfigError([wrong_flag(flag, ctx.command_path, flags, refused) for flag in wrong]) from None

    def invoke(self, ctx: Any) -> Any:
        """Run the command, under its name."""
        before = RUNNING.set(ctx.command_path)
        try:
            return super().invoke(ctx)
        finally:
            RUNNING.reset(before)

    def _each_named(self, ctx: Any, args: list[str]) -> list[str]:
        """Name an option before each of its values: `--pool a b` is `--pool a --pool b`, as for transformers.

        Only where a command takes no arguments of its own: a further value could be one of these.
        """
        params: list[Any] = self.get_params(ctx)
        if any(param.param_type_name == "argument" for param in params):
            return list(args)
        several = {name for param in params if getattr(param, "multiple", False) for name in param.opts}
        spelt: list[str] = []
        option, has_value = "", False
        for position, arg in enumerate(args):
            if arg == "--":
                return [*spelt, *args[position:]]
            name, sign, _value = arg.partition("=")
            if arg.startswith("-"):
                option, has_value = (name, bool(sign)) if name in several else ("", False)
            elif option:
                spelt += [option] * has_value
                has_value = True
            spelt.append(arg)
        return spelt

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of `--help`."""
        formatter.write(self.page(ctx, everything=False))

    def page(self, ctx: Any, *, everything: bool) -> str:
        """Return the help: usage, what the command does, its arguments, and its options in groups."""
        arguments: list[tuple[str, str]] = []
        groups: dict[str, list[tuple[str, str]]] = {}
        hidden = 0
        params: list[Any] = self.get_params(ctx)
        for param in params:
            if param.param_type_name == "argument":
                arguments.append((str(param.metavar or param.name), param.help or ""))
            elif HELP in param.opts:
                continue
            elif param.hidden and not everything:
                hidden += 1
            else:
                title = param.rich_help_panel or GENERAL
                groups.setdefault(title, []).append((_names(param), param.help or ""))
        last = groups.pop(GENERAL, [])
        explained = {title: list(rows.items()) for title, rows in getattr(self.callback, "explained", {}).items()}
        tables = {"Arguments": arguments, **groups, **explained, GENERAL: last}
        usage = " ".join(["Usage:", ctx.command_path, "[OPTIONS]", *(name for name, _text in arguments)])
        parts = [usage, *_paragraphs(self.help or "")]
        parts += [_table(title, rows) for title, rows in tables.items() if rows]
        if hidden:
            parts.append(f"{ctx.command_path} {HELP_ALL} shows {hidden} more option{'s' * (hidden != 1)}.")
        return "\n\n".join(parts) + "\n"


def wrong_flag(flag: str, command: str, flags: Collection[str], refused: Mapping[str, str]) -> str:
    """Return what is wrong with a flag that a command does not take, and what to do instead.

    command: the whole name, `compass adapt`. flags: those that it takes. refused: name of an option -> what to say.
    """
    name = flag.lstrip("-").removeprefix("no-").replace("-", "_")
    if name in refused:
        return f"{flag}: {refused[name]}"
    if name in (gone := gone_options()):
        return f"{flag}: the option {name} {gone[name].what_happened}"
    page = f"{command} {HELP_ALL} shows all options"
    if name in all_options():
        return f"{flag}: {command} does not take this option; {page}"
    near = difflib.get_close_matches(flag.lstrip("-"), [known.lstrip("-") for known in flags], n=1)
    return f"{flag}: there is no such option; " + (f"did you mean --{near[0]}?" if near else page)


def _names(param: Any) -> str:
    """Return an option's names with what follows them: `-c, --config FILE`, `--[no-]redact`."""
    short = [name for name in param.opts if not name.startswith("--")]
    long = next(name for name in param.opts if name.startswith("--"))
    if param.secondary_opts:
        long = long.replace("--", "--[no-]", 1)
    value = "" if param.is_flag else f" {param.metavar or 'TEXT'}"
    return ", ".join([*short, long]) + value


def _table(title: str, rows: Collection[tuple[str, str]]) -> str:
    """Return a title and under it two columns; a name that is too long for its column has a line of its own."""
    width = min(NAMES, max(len(name) for name, _text in rows))
    start = " " * (INDENT + width + 2)
    lines = [f"{title}:"]
    for name, text in rows:
        wrapped = _wrapped(text, WIDTH - len(start)) or [""]
        head = f"{' ' * INDENT}{name}"
        if len(name) > width:
            lines.append(head)
            head = ""
        lines.append(f"{head:<{len(start)}}{wrapped[0]}".rstrip())
        lines += [start + line for line in wrapped[1:]]
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap a text to lines, with `[default: ...]` on one of them where it fits."""
    whole, space = re.compile(r"\[default: [^\]]*\]|\[required\]"), "\N{NO-BREAK SPACE}"
    kept = whole.sub(lambda found: found[0].replace(" ", space) if len(found[0]) <= width else found[0], text)
    lines = textwrap.wrap(kept, width, break_on_hyphens=False, break_long_words=False)
    return [line.replace(space, " ") for line in lines]


def _paragraphs(text: str) -> list[str]:
    return [textwrap.fill(part, WIDTH) for part in inspect.cleandoc(text).split("\n\n") if part.strip()]
