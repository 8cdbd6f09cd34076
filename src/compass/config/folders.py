"""What a run folder may do, which can be from somebody else."""

from __future__ import annotations

from dataclasses import dataclass

from compass.config.knobs import knob


@dataclass(frozen=True)
class FolderConfig:
    """What is granted to the run folder that a command reads its options from."""

    allow_endpoint: str = knob(
        "", "Encoder endpoint that the run folder may name: prompts and COMPASS_API_KEY go there.", from_operator=True
    )
