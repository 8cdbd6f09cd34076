"""The report of a run and the status of a registry: HTML files that can be read offline, mailed and printed."""

from __future__ import annotations

from compass.report.html import build_report
from compass.report.status import build_status

__all__ = ["build_report", "build_status"]
