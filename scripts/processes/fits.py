"""What each process of these scripts does; started by torchrun, or alone."""

from __future__ import annotations

import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import pyrovae
from pyrovae import checkpoint, guides, models, objectives
from pyrovae.data import Digits
from pyrovae.distributed.group import current
from pyrovae.programs import data_plate

MEBI = 2**20


class RowNoise(guides.PerDatapoint):
    """A guide whose draws are fixed for each row: it does not matter which process makes them."""

    row_tables = ("table", "noise")

    def __init__(self, size: int, latent: int) -> None:
        super().__init__(size, latent)
        noise = torch.randn(size, latent, generator=torch.Generator().manual_seed(2))
        self.noise = torch.nn.Parameter(noise, requires_grad=False)

    def forward(self, x: torch.Tensor, index: Any = None, size: Any = None) -> torch.Tensor:
        """Draw, and score the draws."""
        loc, log_scale = self.table[index].chunk(2, -1)
        z = loc + log_scale.exp() * self.noise[index]
        log_density = dist.Normal(loc, log_scale.exp()).log_prob(z)
        with data_plate(len(x), index, size):
            found: torch.Tensor = pyro.sample("z", dist.Delta(z, log_density).to_event(1))
        return found


def gradients(folder: str) -> None:
    """One step of plain gradient descent at a rate of 1, so that parameters move by the gradients."""
    group, rows = current(), Digits().train.stored[:600]
    descend = functools.partial(torch.optim.SGD, lr=1.0)
    for name in ("exact", "noise"):
        for dtype in (torch.float32, torch.float64):
            for level in ("eager", "traced", "compiled"):
                torch.manual_seed(0)
                model: Any = models.ProbabilisticPCA(64, latent=3)
                guide: Any = guides.ExactPosterior(model) if name == "exact" else RowNoise(600, 3)
                model, guide = model.to(dtype), guide.to(dtype)
                before = {k: t.clone() for k, t in checkpoint.parameters(model=model).items()}
                options = {"optim": descend, "epochs": 1, "batch_size": 600, "progress": False}
                pyrovae.fit(model, guide, rows.to(dtype), level=level, **options)
                found = {k: before[k] - t for k, t in checkpoint.parameters(model=model).items()}
                if name == "noise":
                    # The gradients of the rows held here, at their places among all rows.
                    start, stop = group.block(600)
                    whole = torch.zeros(600, guide.table.shape[1], dtype=dtype)
                    whole[start:stop] = guide.table.detach()
                    found["table"] = group.sum(whole)
                if group.leads:
                    kind = str(dtype).removeprefix("torch.")
                    checkpoint.save(Path(folder) / f"{name}-{kind}-{level}.safetensors", found, {})


# Pixels, latent units, hidden units, particles, rows of a batch of one process.
SHAPES: dict[str, tuple[int, int, tuple[int, ...], int, int]] = {
    "784-400-20, ELBO, batch 128": (784, 20, (400,), 1, 128),
    "784-200-200-50, IWAE K = 5, batch 100": (784, 50, (200, 200), 5, 100),
    "784-200-200-50, IWAE K = 50, batch 100": (784, 50, (200, 200), 50, 100),
}


def weak(folder: str, name: str, steps: str) -> None:
    """Passes of so many steps, with as many rows for each process as one alone has."""
    group = current()
    pixels, latent, hidden, particles, batch = SHAPES[name]
    torch.manual_seed(0)
    model = models.VAE(pixels, latent=latent, hidden=hidden, likelihood="bernoulli")
    guide = guides.Amortized(pixels, latent, hidden=hidden[::-1])
    objective: Any = objectives.ELBO()
    if particles > 1:
        objective = objectives.IWAE(num_particles=particles)
    count = batch * int(steps) * group.ranks
    rows = torch.randint(0, 2, (count, pixels), dtype=torch.float32)
    clock: list[tuple[float, float, int]] = []
    pyrovae.fit(
        model,
        guide,
        rows,
        objective=objective,
        batch_size=batch * group.ranks,
        epochs=5,
        level="compiled",
        progress=False,
        on_epoch=lambda _: clock.append((time.perf_counter(), group.seconds, group.bytes)),
    )
    if group.leads:
        passes = [
            {"step": (b[0] - a[0]) / int(steps), "messages": (b[1] - a[1]) / int(steps)}
            for a, b in zip(clock[1:], clock[2:], strict=False)
        ]
        found = {"passes": passes, "bytes": (clock[-1][2] - clock[1][2]) / int(steps) / len(passes)}
        (Path(folder) / "weak.json").write_text(json.dumps(found))


def message(folder: str) -> None:
    """Seconds that sums of so many numbers take."""
    group, found = current(), {}
    for count in (1, 2**12, 2**16, 2**18, 2**20, 2**22):
        tensor = torch.zeros(count)
        for _ in range(5):
            group.sum(tensor)
        times = []
        for _ in range(30):
            began = time.perf_counter()
            group.sum(tensor)
            times.append(time.perf_counter() - began)
        found[4 * count] = sorted(times)[len(times) // 2]
    if group.leads:
        (Path(folder) / "message.json").write_text(json.dumps(found))


def tables(folder: str, rows: str, batch: str) -> None:
    """A per-datapoint guide of many rows, of which each process holds its part."""
    group, size = current(), int(rows)
    before = memory()
    torch.manual_seed(0)
    model, guide = models.ProbabilisticPCA(4, latent=2), guides.PerDatapoint(size, 2)
    data = torch.from_file(str(Path(folder) / "rows.bin"), size=size * 4).reshape(size, 4)
    clock: list[tuple[float, float]] = []
    pyrovae.fit(
        model,
        guide,
        data,
        batch_size=int(batch),
        epochs=max(2_000_000 // size, 2) + 1,
        level="compiled",
        progress=False,
        # The first process alone is told of passes; it waits for all in every step.
        on_epoch=lambda _: clock.append((time.perf_counter(), group.seconds)),
    )
    own = group.block(size)[1] - group.block(size)[0]
    width = guide.table.shape[1]
    # A parameter and two moments of 4 bytes and a clock of 4, all twice, as the guard keeps a copy; a place
    # and an order of 8.
    planned = own * (2 * (3 * 4 * width + 4) + 8 + 8)
    steps = -(-size // int(batch))
    passes = [
        ((after - before) / steps, (later - earlier) / steps)
        for (before, earlier), (after, later) in zip(clock[1:], clock[2:], strict=False)
    ]
    step, messages = sorted(passes)[len(passes) // 2] if passes else (0.0, 0.0)
    found = {
        "rows held": own,
        "MiB planned": planned / MEBI,
        "MiB more than before": (memory() - before) / MEBI,
        "milliseconds a step": 1e3 * step,
        "of these in messages, waiting included": 1e3 * messages,
    }
    (Path(folder) / f"tables-{group.rank}.json").write_text(json.dumps(found))


def memory() -> int:
    """Bytes of this process that are not pages of files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not say how much memory a process has")


if __name__ == "__main__":
    torch.set_num_threads(1)
    what = {"gradients": gradients, "weak": weak, "message": message, "tables": tables}
    what[sys.argv[1]](*sys.argv[2:])
