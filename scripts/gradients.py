"""Checks of the objectives and their gradients that take more draws than a test can: prints the numbers.

Run as ``python scripts/gradients.py``, or with the names of some checks: ``python scripts/gradients.py
unbiased slopes``. The model is the linear-Gaussian one of "Tighter variational bounds are not necessarily
better" (Rainforth et al., 2018): z ~ N(mu, I), x ~ N(z, I), q = N(A x + b, v I), in 20 dimensions, with
their v = 2/3 where nothing else is said.

Each of many identical rows of a batch has parameters of its own, so that one backward pass gives as many
independent estimates of the same gradient.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae import log_weights
from pyrovae.diagnostics.gradient_noise import slope
from pyrovae.objective import Objective
from pyrovae.objectives import ELBO, IWAE, VRIWAE, Renyi

D = 20
ROOM = 4_000_000  # numbers in a chunk of draws


class LinearGaussian:
    """The model and guide, with parameters repeated for each of some rows.

    Args:
        perturbation: how far the parameters are from the optimum, in standard deviations.
        variance: of the guide; the posterior's is 1/2.
        seed: of x, mu and the perturbation.
    """

    def __init__(
        self, perturbation: float = 0.01, variance: float = 2 / 3, seed: int = 0, features: int = D
    ) -> None:
        self.variance = variance
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        self.x = math.sqrt(2.0) * draw(features)
        self.mu = draw(features)
        matrix = 0.5 * torch.eye(features) + perturbation * draw(features, features)
        self.offset = 0.5 * self.mu + perturbation * draw(features)
        self.shift = matrix @ self.x
        self.mu = self.mu + perturbation * draw(features)

    def rows(self, count: int) -> tuple[Callable[[], None], Callable[[], None], list[Tensor]]:
        """Model, guide, and their parameters, (count, D) each."""
        mu = nn.Parameter(self.mu.repeat(count, 1))
        offset = nn.Parameter(self.offset.repeat(count, 1))
        x, shift, scale = self.x.expand(count, -1), self.shift, math.sqrt(self.variance)

        def model() -> None:
            with pyro.plate("data", count, dim=-1):
                z = pyro.sample("z", dist.Normal(mu, 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide() -> None:
            with pyro.plate("data", count, dim=-1):
                pyro.sample("z", dist.Normal(shift + offset, scale).to_event(1))

        return model, guide, [mu, offset]

    def renyi(self, alpha: float) -> float:
        """The variational Renyi bound: log p(x) less the divergence of two Gaussians (Gil et al., 2013)."""
        guide, posterior = self.shift + self.offset, (self.x + self.mu) / 2
        between = alpha / 2 + (1 - alpha) * self.variance
        logs = D / 2 * (math.log(1 / (2 * self.variance)) + math.log(2 * between) / (1 - alpha))
        squares = alpha * (guide - posterior).square().sum() / (2 * between)
        evidence = dist.Normal(self.mu, math.sqrt(2.0)).log_prob(self.x).sum()
        return (evidence - logs - squares).item()


def chunks(draws: int, particles: int) -> Iterator[int]:
    """How many rows to take at a time."""
    size = max(1, ROOM // (particles * D))
    while draws > 0:
        yield min(size, draws)
        draws -= size


class Moments:
    """Mean and variance of rows, in float64, in one pass."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Take in (rows, coordinates)."""
        rows = rows.double()
        self.count += len(rows)
        self.total = self.total + rows.sum(0)
        self.squares = self.squares + rows.square().sum(0)

    @property
    def mean(self) -> Tensor:
        """By coordinate."""
        return self.total / self.count

    @property
    def variance(self) -> Tensor:
        """By coordinate."""
        return (self.squares - self.count * self.mean.square()) / (self.count - 1)

    def largest_z(self) -> float:
        """Of the mean against 0, over coordinates; 0 for coordinates that are 0 throughout."""
        error = (self.variance / self.count).sqrt().clamp(min=1e-12)
        return (self.mean / error).abs().max().item()


def estimates(objective: Objective, programs: LinearGaussian, rows: int, seed: int) -> Tensor:
    """Independent estimates of the gradient of the bound: (rows, 2 D), model first."""
    model, guide, parameters = programs.rows(rows)
    torch.manual_seed(seed)
    loss = objective.differentiable_loss(model, guide)
    return torch.cat(torch.autograd.grad(-loss, parameters), -1)


def paired(one: Objective, other: Objective, programs: LinearGaussian, draws: int) -> float:
    """Largest |z| over coordinates of the mean difference of two estimators on the same draws."""
    moments = Moments()
    for seed, rows in enumerate(chunks(draws, one.num_particles)):
        found = [estimates(objective, programs, rows, seed) for objective in (one, other)]
        moments.add(found[0].double() - found[1].double())
    return moments.largest_z()


def say(what: str, came: str, wanted: str, good: bool) -> None:
    """One line of the report."""
    print(f"{what:64s} {came:>12s}  wanted {wanted:16s} {'ok' if good else 'SHORT'}", flush=True)


def unbiased(draws: int) -> None:
    """Doubly reparameterised gradients against plain ones, and mistakes that must be seen."""
    programs = LinearGaussian()
    for alpha in (0.0, 0.5, -1.0):
        for particles in (1, 8, 64):
            plain = Renyi(alpha=alpha, num_particles=particles)
            dreg = Renyi(alpha=alpha, num_particles=particles, gradient="dreg")
            z = paired(dreg, plain, programs, draws)
            say(f"DReG, alpha = {alpha:g}, K = {particles}: largest |z|", f"{z:.2f}", "< 5", z < 5)
    z = paired(ELBO(num_particles=8, gradient="stl"), ELBO(num_particles=8), programs, draws)
    say("STL on the ELBO, K = 8: largest |z|", f"{z:.2f}", "< 5", z < 5)


def controls(draws: int) -> None:
    """Planted mistakes: each must be rejected, and the right bound beside them must not."""
    programs = LinearGaussian()
    z = paired(IWAE(num_particles=8, gradient="stl"), IWAE(num_particles=8), programs, draws)
    say("mistake: STL on IWAE, K = 8: largest |z| of its gradient", f"{z:.1f}", "> 5", z > 5)
    # A scale of N / B = 10 inside the exponent: the log of the mean tenth power, over ten.
    inside, right = Renyi(alpha=-9.0, num_particles=8), IWAE(num_particles=8)
    z = paired(inside, right, programs, draws)
    say("mistake: scale inside, K = 8: largest |z| of its gradient", f"{z:.1f}", "> 5", z > 5)
    model, guide, _ = programs.rows(5_000)
    torch.manual_seed(0)
    weights = log_weights(model, guide, num_particles=64).detach().double()
    for name, values, wrong in (
        ("the right bound", right.bound(weights), False),
        ("mistake: scale inside", inside.bound(weights), True),
        ("mistake: -log K dropped", weights.logsumexp(0), True),
    ):
        error = values.std() / math.sqrt(len(values))
        z = ((values.mean() - programs.renyi(0.0)) / error).item()
        say(
            f"{name}, K = 64: z above the evidence",
            f"{z:.1f}",
            "> 5" if wrong else "< 5",
            (z > 5) == wrong,
        )


def slopes(draws: int) -> None:
    """Signal-to-noise ratio over K from 1 to 512, on log scales.

    The slope of one half is an asymptote, reached once the weights of K particles are nearly alike. A guide
    close to the posterior is there from K = 1 on. The paper's, too wide by a third in 20 dimensions, is not
    before K = 32: among fewer particles one carries most of the weight.
    """
    sizes = [2**i for i in range(10)]
    wanted = {("pathwise", "model"): 0.5, ("pathwise", "guide"): -0.5, ("dreg", "guide"): 0.5}
    for programs, smallest in ((LinearGaussian(0.004, 0.55), 1), (LinearGaussian(), 32)):
        print(f"guide of variance {programs.variance:.3f}")
        found = ratios(programs, sizes, draws, ("pathwise", "dreg"))
        for (gradient, part), target in wanted.items():
            tail = {k: ratio for k, ratio in found[gradient, part].items() if k >= smallest}
            say_slope(gradient, part, target, tail)


def ratios(
    programs: LinearGaussian, sizes: list[int], draws: int, gradients: tuple[str, ...]
) -> dict[tuple[str, str], dict[float, float]]:
    """By gradient and part, the signal-to-noise ratio at each number of particles."""
    found: dict[tuple[str, str], dict[float, float]] = {}
    for particles in sizes:
        moments = {}
        for gradient in gradients:
            moments[gradient] = Moments()
            objective = IWAE(num_particles=particles, gradient=gradient)  # type: ignore[arg-type]
            for seed, rows in enumerate(chunks(draws, particles)):
                moments[gradient].add(estimates(objective, programs, rows, seed))
        # Both estimate the same gradient; the doubly reparameterised mean is by far the surer one.
        for part, where in (("model", slice(0, D)), ("guide", slice(D, 2 * D))):
            mean, error = moments["dreg"].mean[where], moments["dreg"].variance[where] / draws
            signal = (mean.square() - error).sum().clamp(min=0.0).sqrt()
            for gradient, each in moments.items():
                ratio = (signal / each.variance[where].sum().sqrt()).item()
                found.setdefault((gradient, part), {})[particles] = ratio
    return found


def say_slope(gradient: str, part: str, target: float, found: dict[float, float]) -> None:
    """The slope of some ratios on log scales, beside what it should be."""
    print(f"{gradient}, {part}:", ", ".join(f"{k}: {r:.4f}" for k, r in found.items()))
    came = slope(found)
    say(
        f"slope of the {part}'s signal-to-noise ratio, {gradient}, K = {min(found)} to {max(found)}",
        f"{came:+.3f}",
        f"{target:+.1f} +- 0.05",
        abs(came - target) < 0.05,
    )


def closed_form(draws: int) -> None:
    """Renyi bounds at every tenth order, against their closed form."""
    programs = LinearGaussian()
    model, guide, _ = programs.rows(1)
    torch.manual_seed(0)
    parts = [log_weights(model, guide, num_particles=draws // 10)[:, 0] for _ in range(10)]
    found = torch.cat(parts).detach().double()
    for alpha in (i / 10 for i in range(10)):
        power = ((1 - alpha) * found).exp()
        error = power.std() / power.mean() / math.sqrt(len(power)) / (1 - alpha)
        came = VRIWAE(alpha=alpha).bound(found[:, None])
        z = ((came - programs.renyi(alpha)) / error).item()
        say(
            f"Renyi bound, alpha = {alpha:g}: z against its closed form",
            f"{z:+.2f}",
            "|z| < 5",
            abs(z) < 5,
        )


def ordered(draws: int) -> None:
    """Bounds in their order on 50 random models: how often one is out of order by 4 standard errors."""
    models, repeats, particles = 50, max(draws // 100, 100), 64
    generator = torch.Generator().manual_seed(0)
    x, offset, noise, scale = (torch.randn(models, generator=generator).double() for _ in range(4))
    noise, scale = noise.exp().clamp(0.3), scale.exp().clamp(0.5)

    def model() -> None:
        with pyro.plate("repeats", repeats, dim=-2), pyro.plate("data", models, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(models).double(), 1.0))
            pyro.sample("x", dist.Normal(z, noise), obs=x.expand(repeats, models))

    def guide() -> None:
        with pyro.plate("repeats", repeats, dim=-2), pyro.plate("data", models, dim=-1):
            pyro.sample("z", dist.Normal(x / 2 + 0.3 * offset, scale))

    torch.manual_seed(0)
    weights = log_weights(model, guide, num_particles=particles).reshape(particles, repeats, models)
    exact = dist.Normal(torch.zeros(models).double(), (1 + noise.square()).sqrt()).log_prob(x)

    def violations(lower: Tensor, upper: Tensor) -> int:
        difference = lower - upper
        error = difference.std(0) / math.sqrt(repeats)
        return int((difference.mean(0) - 4 * error > 1e-9).sum())

    rising = [IWAE().bound(weights[:k]) for k in (1, 2, 4, 8, 16, 32, 64)]
    falling = [
        Renyi(alpha=alpha).bound(weights) for alpha in (0.0, 0.25, 0.5, 0.75, 0.99, 2.0, 5.0)
    ]
    counts = {
        "IWAE falls as K doubles": sum(map(violations, rising, rising[1:])),
        "Renyi rises with alpha": sum(map(violations, falling[1:], falling)),
        "a bound lies above the evidence": sum(violations(b, exact) for b in rising + falling),
    }
    for what, count in counts.items():
        say(f"50 random models: {what}", f"{count}", "0", count == 0)
    control = violations(Renyi(alpha=-5.0).bound(weights), exact)
    say(
        "mistake: alpha = -5 taken for a bound, on so many models", f"{control}", "> 0", control > 0
    )


def discrete(draws: int) -> None:
    """Score functions with leave-one-out baselines, against enumeration of all K-tuples of categories."""
    theta, logits = torch.tensor([0.2, -0.4, 0.1]), torch.tensor([0.5, 0.0, -0.5])
    x = torch.tensor(1.5)

    def exact(objective: Objective) -> Tensor:
        log_p, log_q = theta.double().requires_grad_(), logits.double().requires_grad_()
        q = log_q.log_softmax(-1)
        weights = log_p.log_softmax(-1) + dist.Normal(torch.arange(3.0), 1.0).log_prob(x) - q
        total = torch.zeros(())
        for chosen in itertools.product(range(3), repeat=objective.num_particles):
            index = torch.tensor(chosen)
            total = total + q[index].sum().exp() * objective.bound(weights[index, None]).squeeze()
        return torch.cat(torch.autograd.grad(total, [log_p, log_q]))

    def sampled(objective: Objective, rows: int, seed: int) -> Tensor:
        parameters = [nn.Parameter(p.repeat(rows, 1)) for p in (theta, logits)]

        def model() -> None:
            with pyro.plate("data", rows, dim=-1):
                d = pyro.sample("d", dist.Categorical(logits=parameters[0]))
                pyro.sample("x", dist.Normal(d.float(), 1.0), obs=x)

        def guide() -> None:
            with pyro.plate("data", rows, dim=-1):
                pyro.sample("d", dist.Categorical(logits=parameters[1]))

        torch.manual_seed(seed)
        loss = objective.differentiable_loss(model, guide)
        return torch.cat(torch.autograd.grad(-loss, parameters), -1)

    for objective in (ELBO(), ELBO(num_particles=4), IWAE(num_particles=2), IWAE(num_particles=4)):
        moments, truth = Moments(), exact(objective)
        for seed, rows in enumerate(chunks(draws, objective.num_particles)):
            moments.add(sampled(objective, rows, seed).double() - truth)
        name = f"{type(objective).__name__}, K = {objective.num_particles}"
        z, size = moments.largest_z(), truth[3:].abs().max().item()
        good = z < 5 and size > 1e-3
        say(f"discrete guide, {name} (gradient {size:.3f}): largest |z|", f"{z:.2f}", "< 5", good)


CHECKS = {
    "unbiased": unbiased,
    "controls": controls,
    "slopes": slopes,
    "closed_form": closed_form,
    "ordered": ordered,
    "discrete": discrete,
}


def main() -> None:
    """Run the checks named on the command line, all by default."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checks", nargs="*", help=f"some of {', '.join(CHECKS)}; all by default")
    parser.add_argument("--draws", type=int, default=100_000, help="estimates of each gradient")
    options = parser.parse_args()
    unknown = set(options.checks) - set(CHECKS)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; the checks are {', '.join(CHECKS)}")
    for name in options.checks or CHECKS:
        began = time.perf_counter()
        CHECKS[name](options.draws // 25 if name == "slopes" else options.draws)
        print(f"({name}: {time.perf_counter() - began:.0f} s)\n", flush=True)


if __name__ == "__main__":
    main()
