"""Saved records -> a table for the terminal and one self-contained page.

Nothing here runs a model: a report is a function of what runs wrote (`pyrovae.records`), so it can
be made again at any time, and on a machine without torch.
"""

from __future__ import annotations

from pyrovae.report.html import write
from pyrovae.report.table import table

__all__ = ["table", "write"]
