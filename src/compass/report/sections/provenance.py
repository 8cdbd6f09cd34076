"""How the run was made: the training, its cost, and how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from compass.records import LEARNED
from compass.report import figures, wording
from compass.report.blocks import Block, Cell, Chart, Code, Facts, Section, Text, table
from compass.report.view import NOT_TRAINED, View, absent
from compass.report.wording import number, percent, plain, plural
from compass.runs import layout

NOT_LEARNED = (
    "The training rows were not learned yet when the training ended: a response still had a loss of more than "
    f"{plural(LEARNED, 'nat')}. Training for longer may help. Raise num_train_epochs, and see whether the held-out "
    "scores rise."
)
"""What the report says where the last epoch's loss of a response is high."""


def training(view: View) -> Section:
    """Show what the training cost and how its loss fell."""
    run, title = view.run, "Training"
    if not run.training_log and not run.training_result:
        return absent("training", "Training", title, NOT_TRAINED)
    result = run.training_result
    facts: list[tuple[str, str]] = []
    for key, term, word in (
        ("averaged_trainings", "Trainings averaged", lambda value: number(value)),
        ("steps", "Steps", lambda value: number(value)),
        ("epochs", "Epochs", lambda value: number(value, 1)),
        ("tokens", "Tokens in an epoch", lambda value: number(value)),
        ("train_seconds", "Time", wording.seconds),
        ("response_loss", "Loss of a response in the last epoch, nats", lambda value: number(value, 2)),
        ("peak_memory_bytes", "Peak memory", wording.memory),
        ("trainable_parameters", "Trainable parameters", lambda value: number(value)),
    ):
        if isinstance(result.get(key), int | float):
            facts.append((term, word(float(result[key]))))
    blocks: list[Block] = [Facts(tuple(facts))] if facts else []
    loss = result.get("response_loss")
    if isinstance(loss, int | float) and loss > LEARNED:
        blocks.append(Text(NOT_LEARNED))
    losses = [entry for entry in run.training_log if "loss" in entry and "step" in entry]
    if losses:
        first, last = losses[0], losses[-1]
        rows = [
            [
                number(float(entry["step"])),
                number(float(entry["epoch"]), 2) if "epoch" in entry else "–",
                number(float(entry["loss"]), 4),
                f"{float(entry['learning_rate']):.2e}" if "learning_rate" in entry else "–",
            ]
            for entry in losses
        ]
        blocks.append(
            Chart(
                "curves",
                "Training curves",
                f"{_course(first, last)} The training loss does not tell how the adapter answers new rows: the results "
                "below do.",
                figures.training_curves(run.training_log),
                table("The trainer's log", ("#Step", "#Epoch", "#Loss", "#Learning rate"), rows, collapsed=True),
            )
        )
    return Section("training", "Training", title, tuple(blocks))


def _course(first: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    loss, step = number(float(first["loss"]), 3), number(float(first["step"]))
    if first is last:
        return f"The training loss was {loss} at step {step}, the only one that was logged."
    end, last_step = number(float(last["loss"]), 3), number(float(last["step"]))
    return f"The training loss went from {loss} at step {step} to {end} at step {last_step}."


def cost(view: View) -> Section:
    """Show time and memory of each stage."""
    title, stages = "Cost", view.run.stages
    if not stages:
        return absent("cost", "Cost", title, f"No stage was timed: {layout.STAGE_LOG} is missing.")
    ran = [stage for stage in stages if not stage.skipped]
    total, peak = sum(stage.seconds for stage in ran), max((stage.peak_memory_bytes for stage in stages), default=0.0)
    skipped = len(stages) - len(ran)
    summary = f"{wording.seconds(total)} in total, at most {wording.memory(peak)} of memory."
    if skipped:
        summary += f" {plural(skipped, 'stage was', 'stages were')} finished before and skipped."
    rows: list[Sequence[str | Cell]] = [
        [
            stage.stage,
            wording.seconds(stage.seconds),
            percent(stage.seconds / total, 0) if total and not stage.skipped else "–",
            wording.memory(stage.peak_memory_bytes),
            Cell("skipped: finished in an earlier run" if stage.skipped else "", tone="quiet"),
        ]
        for stage in stages
    ]
    chart = Chart(
        "cost",
        "Time by stage",
        summary,
        figures.stage_bars(stages),
        table("Seconds and peak memory by stage", ("Stage", "#Time", "#Share", "#Peak memory", "Note"), rows),
    )
    return Section("cost", "Cost", title, (chart,))


def reproduce(view: View) -> Section:
    """Give the command, the options, the versions and the licences."""
    run = view.run
    trained = bool(run.training_result or run.training_log or run.adapter)
    command = run.lock.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else shlex.split(str(command or ""))
    # Names of folders and files, not their paths: a path may say who ran it.
    command = shlex.join(word if word.startswith("hub:") else word.rsplit("/", 1)[-1] for word in words)
    command = command or f"compass {'adapt' if trained else 'select'} --config {run.folder.name}/{layout.CONFIG}"
    blocks: list[Block] = [
        Text(
            "The configuration below has every option, defaults included. The same versions, revisions and seed pick "
            "the same rows. Training repeats up to the device's rounding."
        ),
        Code(str(command)),
    ]
    licences = run.lock.get("licences")
    if isinstance(licences, Mapping) and licences:
        blocks.append(
            table(
                "Licences of what was used", ("Artefact", "Licence"), [[str(k), plain(v)] for k, v in licences.items()]
            )
        )
    else:
        blocks.append(Text(f"{layout.LOCK} names no licences. Look them up before you share the adapter.", "note"))
    loose = {key: value for key, value in run.lock.items() if not isinstance(value, Mapping) and key != "command"}
    groups = {key: value for key, value in run.lock.items() if isinstance(value, Mapping) and key != "licences"}
    if loose:
        groups = {"run": loose, **groups}
    for key, values in groups.items():
        blocks.append(
            table(
                f"{layout.LOCK}: {key.replace('_', ' ')}",
                ("Name", "Value"),
                [(str(name), Cell(plain(value), code=True)) for name, value in values.items()],
                collapsed=True,
            )
        )
    if not run.lock:
        blocks.append(Text(f"{layout.LOCK} is missing: versions, revisions and hashes are unknown.", "note"))
    if run.options:
        blocks.append(
            table(
                f"Every option ({layout.CONFIG})",
                ("Option", "Value"),
                [(name, Cell(plain(value), code=True)) for name, value in run.options.items()],
                collapsed=True,
            )
        )
    return Section("reproduce", "Reproduce", "How to reproduce", tuple(blocks))
