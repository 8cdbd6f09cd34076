"""The options of `compass monitor`."""

from __future__ import annotations

from dataclasses import dataclass, field

from compass.config.knobs import knob


@dataclass(frozen=True)
class MonitorConfig:
    """How production prompts are watched for drift, and what is kept of them."""

    prompts_per_false_alarm: int = knob(
        10_000, "Without drift, at most one false alarm is expected in so many prompts, all tests together.", low=100
    )
    window: int = knob(
        500, "Prompts of one language that are compared with the reference; a multiple of `look_every`.", low=20
    )
    look_every: int = knob(100, "Prompts of one language between two looks at its window.", low=1)
    share_histogram: float = knob(
        0.5, "Share of the false alarms granted to the histogram; 0 is off.", low=0.0, high=1.0
    )
    share_vectors: float = knob(
        0.2, "Share of the false alarms granted to the test on the vectors; 0 is off.", low=0.0, high=1.0
    )
    share_novelty: float = knob(
        0.1, "Share of the false alarms granted to the novelty rate; 0 is off.", low=0.0, high=1.0
    )
    share_languages: float = knob(
        0.1, "Share of the false alarms granted to the mix of languages; 0 is off.", low=0.0, high=1.0
    )
    share_loss: float = knob(
        0.1, "Share of the false alarms granted to the loss on labelled feedback; 0 is off.", low=0.0, high=1.0
    )
    novelty_tail: float = knob(
        0.05, "Share of the reference that counts as far from every cluster.", low=0.001, high=0.5
    )
    vector_rows: int = knob(
        300, "Vectors of a window that the test on vectors takes, at most; kept in memory alone.", low=20
    )
    feedback_window: int = knob(200, "Labelled prompts that are compared with the reference's losses.", low=20)
    reservoir: str = knob(
        "off",
        "Prompts kept for the next update: none, with private data replaced, or as they are.",
        choices=("off", "redacted", "full"),
    )
    reservoir_size: int = knob(1000, "Prompts kept of each language, at most.", low=1)
    retention_days: float = knob(30.0, "Days after which a kept prompt is deleted.", low=0.0)
    monitor_batch_size: int = knob(256, "Prompts in one batch: encoded together, counted in one transaction.", low=1)
    database: str = knob("", "SQLAlchemy URL of the state; empty: monitor/state.db in the run folder.")


@dataclass(frozen=True)
class MonitorOptions:
    """All options of `compass monitor`."""

    monitor: MonitorConfig = field(default_factory=MonitorConfig)
