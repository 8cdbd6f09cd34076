"""Drift: watch production prompts in the frozen space of the adapter that serves them."""

from compass.drift.explain import ClusterShift, Explanation, explain
from compass.drift.monitor import Monitor, check_config
from compass.drift.reference import LanguageReference, Reference
from compass.drift.results import DriftEvent, Look, Observed, describe
from compass.drift.sources import InputBatch, Record, check_path, read_files, read_stream
from compass.drift.state import KeptPrompt, MonitorState, Position
from compass.drift.tests.histogram import HistogramResult, HistogramTest
from compass.drift.tests.mmd import VectorResult, mmd_test
from compass.drift.tests.novelty import NoveltyTest

__all__ = [
    "ClusterShift",
    "DriftEvent",
    "Explanation",
    "HistogramResult",
    "HistogramTest",
    "InputBatch",
    "KeptPrompt",
    "LanguageReference",
    "Look",
    "Monitor",
    "MonitorState",
    "NoveltyTest",
    "Observed",
    "Position",
    "Record",
    "Reference",
    "VectorResult",
    "check_config",
    "check_path",
    "describe",
    "explain",
    "mmd_test",
    "read_files",
    "read_stream",
]
