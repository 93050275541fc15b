"""What people look at: a run directory as one self-contained HTML file."""

from arenaloop.report.page import write_report

__all__ = ["write_report"]
