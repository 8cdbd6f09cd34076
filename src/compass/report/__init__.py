"""The report of a run: one HTML file that can be read offline, mailed and printed."""

from __future__ import annotations

from compass.report.html import build_report

__all__ = ["build_report"]
