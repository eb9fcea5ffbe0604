"""Writes what a profile consists of, all of it or nothing."""

import json
from pathlib import Path

from weft.files import whole_file

from .report import report_page
from .trace import trace_events

__all__ = ["write_profile"]


def write_profile(folder, name, profiles):
    """Writes ``trace.json`` and ``report.html`` of `Profile`s of a program called ``name`` into a folder, which is made if need be.

    Returns the paths. Raises InputError where they cannot be written.
    """
    trace, report = Path(folder) / "trace.json", Path(folder) / "report.html"
    with whole_file(trace) as first, whole_file(report) as second:
        with first.open("w", encoding="utf-8") as file:
            json.dump(trace_events(profiles), file, separators=(",", ":"))
        second.write_text(report_page(name, profiles), encoding="utf-8")
    return [trace, report]
