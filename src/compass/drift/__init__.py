"""Drift: watch production prompts in the frozen space of the adapter that serves them."""

from compass.drift.catalogue import default_tests, describe, register
from compass.drift.explain import ClusterShift, Explanation, explain
from compass.drift.labels import label_next
from compass.drift.log_lines import InputBatch, Record
from compass.drift.monitor import Monitor
from compass.drift.protocol import Batch, DriftTest, Prompts, Stream
from compass.drift.reading import read_kept
from compass.drift.reference import LanguageReference, Reference
from compass.drift.results import MIX, Check, DriftEvent, Observed, Skipped
from compass.drift.sources import check_path, read_files, read_stream
from compass.drift.state import KeptPrompt, MonitorState, Position

__all__ = [
    "MIX",
    "Batch",
    "Check",
    "ClusterShift",
    "DriftEvent",
    "DriftTest",
    "Explanation",
    "InputBatch",
    "KeptPrompt",
    "LanguageReference",
    "Monitor",
    "MonitorState",
    "Observed",
    "Position",
    "Prompts",
    "Record",
    "Reference",
    "Skipped",
    "Stream",
    "check_path",
    "default_tests",
    "describe",
    "explain",
    "label_next",
    "read_files",
    "read_kept",
    "read_stream",
    "register",
]
