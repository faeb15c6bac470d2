"""The table of a comparison: its columns, and the table as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from pyrovae.records import Record
from pyrovae.report.entries import Comparison, Entry, compare
from pyrovae.report.words import number

Data = Mapping[str, object]
TOLD_ALWAYS = ("rows", "split_seed")  # by `describe`


class Column(NamedTuple):
    """One column: its heading, its unit, and the text of an entry's cell."""

    heading: str
    unit: str
    cell: Callable[[Entry], str]
    numeric: bool = True


COLUMNS = (
    Column("model", "", lambda entry: entry.model, numeric=False),
    Column("guide", "", lambda entry: entry.guide, numeric=False),
    Column("objective", "", lambda entry: entry.objective, numeric=False),
    Column("seeds", "", lambda entry: ", ".join(str(r.get("seed", "?")) for r in entry.records)),
    Column("log evidence", "nats", lambda entry: number(entry.estimate)),
    Column("exact", "nats", lambda entry: _bare(entry, "exact_log_evidence", 2)),
    Column("ELBO", "nats", lambda entry: number(entry.elbo)),
    Column("gap", "nats", lambda entry: _bare(entry, "inference_gap", 2)),
    Column("bad k-hat", "% of rows", lambda entry: _percent(entry)),
    Column("parameters", "", lambda entry: _bare(entry, "parameters", 0)),
    Column("training", "s", lambda entry: _bare(entry, "train_seconds", 1)),
)


def columns(comparison: Comparison) -> list[Column]:
    """The columns that tell something: not the seed where it is one for all, none without data."""
    seeds = {str(r.get("seed")) for entry in comparison.entries for r in entry.records}
    return [
        column
        for column in COLUMNS
        if not (column.heading == "seeds" and len(seeds) == 1)
        and any(column.cell(entry) != "–" for entry in comparison.entries)
    ]


def table(records: Iterable[Record]) -> str:
    """The records as a table for the terminal, best log evidence first; failed runs below it.

    Bounds and evidences are in nats per datapoint, larger is better, ± one standard error; runs
    that differ in their seed only share a line. Records of different data make several tables.

    Args:
        records: what runs wrote, in any order, finished or not.

    Returns:
        The text, without a line end after its last line.

    >>> print(table([{"name": "a", "status": "finished", "model": "VAE", "guide": "Amortized",
    ...               "objective": "IWAE", "test_log_evidence": 83.4, "train_seconds": 30}]))
    model  guide      objective  log evidence  training
                                         nats         s
    ───────────────────────────────────────────────────
    VAE    Amortized  IWAE              83.40      30.0
    <BLANKLINE>
    nats per datapoint, larger is better, ± one standard error
    """
    comparisons = compare(records)
    among = [comparison.data for comparison in comparisons]
    blocks = [_block(comparison, among) for comparison in comparisons]
    return "\n\n".join(blocks) if blocks else "No runs."


def title(data: Data, among: Sequence[Data] = ()) -> str:
    """The data set's name, its form, the file it is from, and what tells it from others of these words."""
    return ", ".join([*_named(data), *_told(data, among)])


def describe(data: Data, among: Sequence[Data] = ()) -> str:
    """The data set in a few words: its title, and how many rows for what."""
    words, rows = _named(data), data.get("rows")
    if isinstance(rows, dict):
        words.append(" / ".join(f"{count} {part}" for part, count in rows.items()) + " rows")
    if data.get("split_seed") is not None:
        words.append(f"split {data['split_seed']}")
    return ", ".join([*words, *_told(data, among)])


def unfit_lines(comparison: Comparison) -> list[str]:
    """One line per run that has no result: its name, and why."""
    return [
        f"{record.get('name', 'a run')}: {record.get('status')}"
        + (f" ({record['error']})" if record.get("error") else "")
        for record in comparison.unfit
    ]


def _named(data: Data) -> list[str]:
    found = [str(data[key]) for key in ("name", "form", "source") if data.get(key)]
    return list(dict.fromkeys(found))  # data in memory have no name but what they are


def _told(data: Data, among: Sequence[Data]) -> list[str]:
    alike = [other for other in among if _named(other) == _named(data)]
    keys = dict.fromkeys(key for other in alike for key in other if key not in TOLD_ALWAYS)
    differing = [key for key in keys if any(other.get(key) != data.get(key) for other in alike)]
    return [f"{key} {data.get(key, 'unknown')}" for key in differing]


def _block(comparison: Comparison, among: Sequence[Data]) -> str:
    lines = [describe(comparison.data, among)] if comparison.data else []
    if comparison.entries:
        lines += [
            *_grid(comparison),
            "",
            "nats per datapoint, larger is better, ± one standard error",
        ]
    return "\n".join([*lines, *unfit_lines(comparison)])


def _grid(comparison: Comparison) -> list[str]:
    shown = columns(comparison)
    cells = [[column.heading for column in shown], [column.unit for column in shown]]
    cells += [[column.cell(entry) for column in shown] for entry in comparison.entries]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(row, widths, shown, strict=True)
        ).rstrip()
        for row in cells
    ]
    return [*lines[:2], "─" * (sum(widths) + 2 * (len(widths) - 1)), *lines[2:]]


def _bare(entry: Entry, key: str, digits: int) -> str:
    mean = entry.mean(key)
    return number(mean and mean._replace(error=math.nan), digits)


def _percent(entry: Entry) -> str:
    share = entry.mean("k_hat_bad_share")
    return "–" if share is None else f"{100 * share.value:.0f}"
