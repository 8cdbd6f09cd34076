"""The commands `compass data ...`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from compass.cli.flags import Config, Json, with_options
from compass.cli.help import HelpCommand
from compass.cli.printing import print_json, say
from compass.cli.process import set_up_logging
from compass.config import ForgetOptions, load_options


@with_options(also=("serve_dir", "watch_dir", "registry_dir", "database"), basic=("database",), of=ForgetOptions)
def data_forget(
    conversation: Annotated[
        str, typer.Option("--conversation", metavar="ID", help="Name of the conversation, or its hash.")
    ],
    config: Config = None,
    json_: Json = False,
    *,
    options: Any = None,
) -> None:
    """Remove a conversation, and list the versions trained or tested on it."""
    set_up_logging(verbose=False)
    from dataclasses import asdict

    from compass.recipes.forget import forget
    from compass.registry.commands import command
    from compass.report.wording import plural

    resolved = load_options(ForgetOptions, config, options)
    done = forget(conversation, resolved)
    if json_:
        print_json(asdict(done))
        return
    if not done.anything:
        say("Nothing is kept of this conversation.")
        return
    logged = f"{plural(done.prompts, 'logged prompt')}, {plural(done.feedback, 'logged line')} of feedback"
    kept = f"{plural(done.kept, 'prompt')} that monitors kept"
    say(f"Removed: {plural(done.answers, 'answer')}, {logged}, {kept}.")
    for version in done.versions:
        prune = command(resolved.registry.registry_dir, "prune", version.partition(" ")[0])
        say(f"Has seen it: {version}. Train a version without it, then let `{prune}` remove this one.")
    for folder in done.updates:
        say(f"Has rows of it: the update in progress in {folder}.")


data = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Remove stored user data.")
data.command("forget", cls=HelpCommand)(data_forget)
