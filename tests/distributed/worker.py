"""What each process of the tests of several processes does; started by the fixture `run`."""

import atexit
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch

import pyrovae
from pyrovae import checkpoint
from pyrovae.distributed.group import LostProcessError, current
from pyrovae.guides import Amortized, ExactPosterior, PerDatapoint
from pyrovae.models import ProbabilisticPCA

sys.path.append(str(Path(__file__).parent.parent.parent / "scripts" / "processes"))
from fits import RowNoise

SGD = partial(torch.optim.SGD, lr=1e-3)
ROWS = 23


def rows():
    return torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def exact():
    torch.manual_seed(0)
    model = ProbabilisticPCA(3, latent=2).double()
    return model, ExactPosterior(model)


def table(size):
    torch.manual_seed(0)
    return ProbabilisticPCA(3, latent=2).double(), PerDatapoint(size, 2).double()


def exact_fit(**options):
    """Noise-free: batches of 7 and fewer rows, in which no two processes have equal parts."""
    model, guide = exact()
    options = {"optim": SGD, "epochs": 2, "batch_size": 7, "progress": False} | options
    history = pyrovae.fit(model, guide, rows(), **options)
    return checkpoint.parameters(model=model), history


def noise_fit(**options):
    """All rows in one batch, so that it does not matter who owns which."""
    torch.manual_seed(0)
    model, guide = ProbabilisticPCA(3, latent=2).double(), RowNoise(ROWS, 2).double()
    options = {"epochs": 3, "batch_size": ROWS, "progress": False} | options
    pyrovae.fit(model, guide, rows(), **options)
    return checkpoint.parameters(model=model, guide=guide)


def single_rows_fit():
    """A row in a batch, so that in most steps none is left for a process; nothing else is trained."""
    torch.manual_seed(0)
    model, guide = ProbabilisticPCA(3, latent=2).double(), RowNoise(5, 2).double()
    model.requires_grad_(False)
    options = {"epochs": 6, "batch_size": 1, "progress": False}
    pyrovae.fit(model, guide, rows()[:5], optim=partial(torch.optim.Adam, lr=0.1), **options)
    return checkpoint.parameters(guide=guide)


def careful(model):
    """A model that cannot score the last of three rows."""

    def program(x, index=None, size=None):
        if (x[:, -1] > 50).any():
            raise ValueError("too large for me")
        return model(x, index, size)

    return program


def with_a_site_of_no_row():
    loc = torch.nn.Parameter(torch.zeros(()))

    def model(x):
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean, 1.0).expand([3]).to_event(1), obs=x)

    class Guide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = loc

        def forward(self, x):
            pyro.sample("mean", dist.Normal(self.loc, 0.1))

    return model, Guide()


def disagreeing(folder):
    """Fits in which the second process has something else than the first; each says what it raised."""
    rank = current().rank
    data, (model, guide) = rows(), exact()
    wide = ProbabilisticPCA(3, latent=2 + rank).double()
    fits = {
        "values": lambda fit: fit(model, guide, data + rank),
        "rows": lambda fit: fit(model, guide, data[: 20 + rank]),
        "latent": lambda fit: fit(wide, ExactPosterior(wide), data),
        "clip_norm": lambda fit: fit(model, guide, data, clip_norm=[1.0, None][rank]),
        "epochs": lambda fit: fit(model, guide, data, epochs=1 + rank),
        "batch": lambda fit: fit(model, guide, data, batch_size=4 + rank),
        "seed": lambda fit: fit(model, guide, data, seed=rank),
        "validation": lambda fit: fit(model, guide, data, validation=data if rank else None),
        "scored": lambda fit: fit(careful(model), guide, data, validation=100 * torch.eye(3)),
        "whole": lambda fit: fit(*with_a_site_of_no_row(), data),
        "disk": lambda fit: fit(model, guide, data, epochs=9, run_dir=own_disk, resume=True),
    }
    own_disk = folder / f"disk{rank}"
    pyrovae.fit(model, guide, data, epochs=2, run_dir=folder / "disk0", progress=False)
    for name, begin in fits.items():
        try:
            begin(partial(pyrovae.fit, progress=False))
        except (TypeError, ValueError) as error:
            (folder / f"{name}-{rank}").write_text(str(error))


def table_fit(**options):
    model, guide = table(ROWS)
    options = {"epochs": 4, "batch_size": 5, "progress": False, "checkpoint_steps": 3} | options
    history = pyrovae.fit(model, guide, rows(), **options)
    return checkpoint.parameters(model=model, guide=guide), history


def amortized_fit(on_epoch=None, **options):
    torch.manual_seed(0)
    model = ProbabilisticPCA(3, latent=2).double()
    guide = Amortized(3, 2, hidden=(8,)).double()
    options = {"epochs": 4, "batch_size": 8, "progress": False, "seed": 3} | options
    data = rows()
    pyrovae.fit(model, guide, data[:16], validation=data[16:], on_epoch=on_epoch, **options)
    return checkpoint.parameters(model=model, guide=guide)


def everything(folder):
    """Every fit that the tests look at, written as files by rank."""
    rank = current().rank

    def keep(name, tensors, **metadata):
        checkpoint.save(folder / f"{name}-{rank}.safetensors", tensors, metadata)

    found, history = exact_fit(level="traced")
    keep("exact", found, bound=history.train_bound.tolist())
    found, _ = exact_fit(
        epochs=2, batch_size=22
    )  # the last batch of a pass has fewer rows than processes
    keep("one_row", found)
    keep("clipped", noise_fit(clip_norm=1e-2, optim=SGD))
    keep("by_rows", noise_fit())
    keep("single_rows", single_rows_fit())
    model, guide = (part.float() for part in table(ROWS))
    options = {"epochs": 8, "batch_size": 5, "clip_norm": 1.0, "progress": False}
    pyrovae.fit(model, guide, rows().float(), **options)
    keep("clipped_narrow", checkpoint.parameters(model=model))
    found, history = table_fit()
    keep("straight", found, parameters=history.parameters)
    table_fit(epochs=2, run_dir=folder / "table")
    found, _ = table_fit(run_dir=folder / "table", resume=True)
    keep("resumed", found)
    keep("amortized", amortized_fit())
    amortized_fit(epochs=2, run_dir=folder / "amortized")
    keep("amortized_resumed", amortized_fit(run_dir=folder / "amortized", resume=True))


def dying(folder):
    """The first process is killed in its second pass; the others say a sentence."""

    def die(at):
        if at.epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        amortized_fit(die, run_dir=folder / "dying", checkpoint_steps=1)
    except LostProcessError as error:
        (folder / "said").write_text(str(error))


def leaving(folder):
    """Compile, which imports much of torch, and write down which threads are left when the process ends."""

    def threads():
        names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
        (folder / f"threads-{current().rank}").write_text(" ".join(names))

    atexit.register(threads)  # the last that is called is the first that is registered
    exact_fit()
    torch.compile(torch.square, backend="eager")(torch.ones(3))


if __name__ == "__main__":
    torch.set_num_threads(1)
    parts = {"everything": everything, "dying": dying, "disagreeing": disagreeing}
    parts |= {"leaving": leaving}
    parts[sys.argv[1]](Path(sys.argv[2]))
