"""Where the bottleneck of a fit over 8, 64 and 1,024 processes lies, reckoned from what two of them measured.

    python scripts/processes/reckoning.py scripts/results/processes.json

Writes ``scaling.md`` and ``scaling.svg`` beside that file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np


class Network(NamedTuple):
    """What a message costs."""

    name: str
    latency: float  # seconds
    bandwidth: float  # bytes a second


class Work(NamedTuple):
    """A step of one process."""

    name: str
    rows: int
    seconds: float
    size: int  # bytes of a message


# Not measured: round figures of such networks, to be replaced by those of one's own.
NETWORKS = (
    Network("10 Gbit/s Ethernet", 50e-6, 10e9 / 8),
    Network("100 Gbit/s InfiniBand", 5e-6, 100e9 / 8),
)
RANKS = (8, 64, 1024)


def ring(ranks: int, size: float, network: Network) -> tuple[float, float]:
    """Seconds of a sum over a ring of processes: those of latency, and those of bandwidth."""
    rounds = 2 * (ranks - 1)
    return rounds * network.latency, rounds * size / ranks / network.bandwidth


def loopback(found: dict[str, dict[str, float]]) -> Network:
    """Latency and bandwidth of the sums that were measured over two processes, by least squares."""
    sizes = np.array([float(size) for size in found["2"]])
    seconds = np.array(list(found["2"].values()))
    # Relative errors count, so that small messages are not drowned by large ones.
    terms = np.stack([np.full_like(sizes, 2.0), sizes], 1) / seconds[:, None]
    latency, per_byte = np.linalg.lstsq(terms, np.ones_like(seconds), rcond=None)[0]
    return Network("loopback", max(float(latency), 0.0), 1 / float(per_byte))


def works(found: dict[str, dict[str, object]]) -> list[Work]:
    """The steps that were measured."""
    return [
        Work(
            name,
            int(of["rows of a batch of one process"]),
            median(of["milliseconds, one process"]) / 1e3,
            int(of["bytes of a message"]),
        )
        for name, of in found.items()
    ]


def row(work: Work, network: Network, ranks: int) -> str:
    """A line of the table."""
    latency, bandwidth = ring(ranks, work.size, network)
    efficiency = work.seconds / (work.seconds + latency + bandwidth)
    slowest = max((work.seconds, "arithmetic"), (bandwidth, "bandwidth"), (latency, "latency"))[1]
    needed = work.rows * max(9 * (latency + bandwidth) / work.seconds, 1)
    times = " | ".join(f"{1e3 * t:.2f}" for t in (work.seconds, bandwidth, latency))
    cells = f"{times} | {efficiency:.2f} | {slowest} | {needed:,.0f} | {work.rows * ranks:,}"
    return f"| {network.name} | {ranks:,} | {cells} |"


def table(work: Work) -> str:
    """For a step."""
    head = (
        "network | processes | arithmetic, ms | bandwidth, ms | latency, ms | efficiency | largest | rows a "
        "process for 0.9 | rows a batch"
    )
    lines = [f"### {work.name}: {work.size / 1e6:.2f} MB a step\n", f"| {head} |"]
    lines.append("|---|" + "--:|" * 5 + "---|" + "--:|" * 2)
    lines += [row(work, network, ranks) for network in NETWORKS for ranks in RANKS]
    return "\n".join(lines)


def figure(steps: list[Work], path: Path) -> None:
    """Efficiency by the number of processes."""
    ranks = np.unique(np.logspace(0, 11, 60, base=2).astype(int))
    drawn, axes = plt.subplots(
        1, len(NETWORKS), figsize=(9, 3.4), sharey=True, layout="constrained"
    )
    for axis, network in zip(axes, NETWORKS, strict=True):
        for work in steps:
            taken = [sum(ring(int(r), work.size, network)) for r in ranks]
            axis.plot(ranks, [work.seconds / (work.seconds + t) for t in taken], label=work.name)
        axis.axhline(0.85, color="0.6", lw=0.8, ls=":")
        axis.set(title=network.name, xscale="log", xlabel="processes", ylim=(0, 1.02))
        for r in RANKS:
            axis.axvline(r, color="0.85", lw=0.8, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("efficiency, reckoned")
    axes[0].legend(frameon=False, fontsize=7.5, loc="lower left")
    drawn.savefig(path)


PAGE = """\
# One fit over many processes: where the bottleneck moves

Made by `python scripts/processes/reckoning.py`. Measured, on {machine}: the step of one process with one
thread, the bytes of its message (the gradients of what all share, once a step), and on the loopback
interface {latency:.0f} µs for a round and {bandwidth:.1f} GB/s. Two processes with twice the rows then
reached {reached}. Not measured, but round figures of such networks: {networks}. Reckoned:

    seconds of a step = arithmetic + 2 (R - 1) (latency + bytes / (R bandwidth))

which is a ring of R processes that sums after, and not during, the arithmetic. Every process keeps the rows
that it has alone, so that a batch has R times as many. *Rows a process for 0.9* is how many each would need
for nine tenths of the time in arithmetic.

![Efficiency by the number of processes](scaling.svg)

{tables}

## What to change then

- **8 processes.** Bandwidth is what is waited for on Ethernet where a step takes milliseconds: take more rows
  or particles for each process, which costs nothing in messages; K particles are K times the arithmetic for
  the same gradients. Sums that begin while gradients are still being made would hide up to the arithmetic's
  time; pyrovae does not do that, since a compiled step is one function.
- **64 processes.** Messages no longer grow with R, but the rounds of a ring do: sum within a machine first
  and between machines after (NCCL chooses trees by itself), send gradients in bfloat16 for half the bytes.
  A batch of all is thousands of rows: fewer steps are taken in a pass, and the learning rate has to be found
  again.
- **1,024 processes.** Latency is most of a step unless the arithmetic takes tens of milliseconds, and a
  batch is larger than MNIST. One fit seldom gains from more processes: give them to many fits
  (`pyrovae compare --cluster`), to K, or average parameters every so many steps instead of gradients at
  every one.
- **Tables by rows** send nothing: {rows_held:,} of 10,000,000 rows for each of four processes took {held} MiB
  ({planned:.0f} planned for the rows, and {fit:.0f} that a fit of 100,000 takes), and a step took {step}.
  They are what may grow. Checkpoints of tables are written by all, what is shared by the first alone: 12
  bytes a parameter, felt from 1e9 on at a gigabyte a second.
- **Rows from files** are read by the process that needs them. A step of {fastest_rows} rows of 784 bytes in
  {fastest:.1f} ms is {reading:.0f} MB/s a process; 64 of them ask more than one disk gives: put a copy on
  each machine.
"""


def page(found: dict[str, dict[str, object]], steps: list[Work]) -> str:
    """The whole of it."""
    here, large = loopback(found["message"]), found["tables"]["10000000"]
    reached = ", ".join(
        f"{found['weak'][work.name]['efficiency']:.2f} ({work.name})" for work in steps
    )
    times = [
        f"{of['milliseconds a step']:.1f} ms with {int(rows):,} rows"
        f" ({of['of these in messages, waiting included']:.1f} in messages)"
        for rows, of in found["tables"].items()
    ]
    quickest = min(steps, key=lambda work: work.seconds / work.rows)
    return PAGE.format(
        machine=found["machine"],
        latency=1e6 * here.latency,
        bandwidth=here.bandwidth / 1e9,
        reached=f"an efficiency of {reached}",
        networks="; ".join(
            f"{n.name}, {1e6 * n.latency:.0f} µs, {n.bandwidth / 1e9:.2f} GB/s" for n in NETWORKS
        ),
        tables="\n\n".join(map(table, steps)),
        rows_held=large["rows held"],
        held=f"{max(large['MiB more than before']):.0f}",
        planned=large["MiB planned"][0],
        fit=max(found["tables"]["100000"]["MiB more than before"]),
        step=", ".join(times),
        fastest_rows=quickest.rows,
        fastest=1e3 * quickest.seconds,
        reading=quickest.rows * 784 / quickest.seconds / 1e6,
    )


def main() -> int:
    """Write the page and its picture."""
    path = Path(sys.argv[1])
    found = json.loads(path.read_text())
    steps = works(found["weak"])
    figure(steps, path.parent / "scaling.svg")
    (path.parent / "scaling.md").write_text(page(found, steps))
    return 0


if __name__ == "__main__":
    sys.exit(main())
