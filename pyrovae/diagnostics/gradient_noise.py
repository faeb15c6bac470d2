"""How noisy the gradient of an objective is: variance and signal-to-noise ratio by parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import Tensor

from pyrovae.objective import Objective
from pyrovae.programs import Program, modules_of, own_parameters
from pyrovae.registry.plain import whole_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class GradientNoise:
    r"""Moments of a gradient over repeated draws, by parameter.

    .. math:: \text{SNR} = \frac{\| E g \|}{\sqrt{\operatorname{tr} \operatorname{Cov} g}}

    Attributes:
        mean: by name, in the shape of the parameter.
        variance: by name, in the shape of the parameter.
        repeats: R, how many gradients were taken.
    """

    mean: dict[str, Tensor]
    variance: dict[str, Tensor]
    repeats: int

    def signal(self, prefix: str = "") -> float:
        """Squared norm of the expected gradient of the parameters whose names begin with ``prefix``.

        The variance of the mean is taken out, so that noise alone has a signal of 0 in expectation; what
        would be negative is 0.
        """
        names = self.names(prefix)
        found = sum(self.mean[name].square().sum().item() for name in names)
        return max(found - self.noise(prefix) / self.repeats, 0.0)

    def noise(self, prefix: str = "") -> float:
        """Sum of the variances of the parameters whose names begin with ``prefix``."""
        return sum(self.variance[name].sum().item() for name in self.names(prefix))

    def snr(self, prefix: str = "") -> float:
        """Signal-to-noise ratio of these parameters together; infinite where there is no noise."""
        noise, signal = self.noise(prefix), self.signal(prefix)
        if noise == 0.0:
            return math.inf if signal else math.nan
        return math.sqrt(signal / noise)

    def names(self, prefix: str = "") -> list[str]:
        """The parameters whose names begin with ``prefix``, such as ``"guide"``."""
        return [name for name in self.mean if name.startswith(prefix)]


def gradient_noise(
    objective: ELBO,
    model: Program,
    guide: Program,
    *args: Any,
    repeats: int = 100,
    seed: int = 0,
    **kwargs: Any,
) -> GradientNoise:
    """Measure mean and variance of the gradient of an objective, at the parameters as they stand.

    Args:
        objective: an objective of this package, or one of Pyro's.
        model: p(x, z), any Pyro program.
        guide: q(z | x), any Pyro program.
        *args: what both are called with.
        repeats: R, how many times the gradient is taken; its standard error falls as 1 / sqrt(R).
        seed: of the draws; the global random state is left as it was, and so are the averages and counts of
            steps of the objective.
        **kwargs: what both are called with.

    Returns:
        The `GradientNoise` of every parameter, named ``"model."`` or ``"guide."`` and its own name, of
        minus the loss: the bound of the whole data set, in nats by unit of the parameter.

    Raises:
        ValueError: fewer than 2 repeats, or programs without parameters.

    Source: Tighter variational bounds are not necessarily better (Rainforth et al., 2018).

    How to read it: a ratio well below 1 means that a step is mostly noise; one that falls as particles
    are added means that they are wasted on that parameter.

    Example:
        >>> from pyrovae.guides import Amortized
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.objectives import IWAE
        >>> programs = ProbabilisticPCA(5, latent=2), Amortized(5, 2)
        >>> noise = gradient_noise(IWAE(num_particles=3), *programs, torch.zeros(4, 5), repeats=10)
        >>> noise.names("model")
        ['model.loc', 'model.weight', 'model.raw_scale']
    """
    whole_number("repeats", repeats, least=2)
    kept = objective.state() if isinstance(objective, Objective) else {}
    kept = {name: tensor.clone() for name, tensor in kept.items()}
    with torch.random.fork_rng(), own_parameters():
        torch.manual_seed(seed)
        parameters = _parameters(model, guide, args, kwargs)
        mean = {name: torch.zeros_like(p) for name, p in parameters.items()}
        squares = {name: torch.zeros_like(p) for name, p in parameters.items()}
        for count in range(1, repeats + 1):
            gradient = _gradient(objective, model, guide, args, kwargs, list(parameters.values()))
            for name, each in zip(parameters, gradient, strict=True):
                # The running mean and sum of squares of Welford, which lose no digits.
                before = each - mean[name]
                mean[name] += before / count
                squares[name] += before * (each - mean[name])
    if isinstance(objective, Objective):
        objective.load_state(kept)
    variance = {name: total / (repeats - 1) for name, total in squares.items()}
    return GradientNoise(mean, variance, repeats)


def noise_table(found: Mapping[Any, GradientNoise], by: str = "part") -> list[dict[str, Any]]:
    """Rows of a table: one for each objective and each part of the programs.

    Args:
        found: by a label, such as the number of particles, or (groups, particles).
        by: ``"part"`` for model and guide as a whole, ``"parameter"`` for each parameter.

    Returns:
        Dictionaries with ``label``, ``parameters``, ``signal``, ``noise``, ``snr``.
    """
    rows = []
    for label, noise in found.items():
        prefixes = [p for p in ("model.", "guide.") if noise.names(p)]
        for prefix in prefixes if by == "part" else noise.names():
            rows.append(
                {
                    "label": label,
                    "parameters": prefix.rstrip("."),
                    "signal": noise.signal(prefix),
                    "noise": noise.noise(prefix),
                    "snr": noise.snr(prefix),
                }
            )
    return rows


def slope(ratios: Mapping[float, float]) -> float:
    """Slope of the signal-to-noise ratio over the number of particles, both on a log scale.

    Raises:
        ValueError: fewer than two ratios, or one that is 0 or not finite.

    Example:
        >>> slope({1: 2.0, 4: 4.0, 16: 8.0})
        0.5
    """
    if len(ratios) < 2 or not all(0.0 < ratio < math.inf for ratio in ratios.values()):
        raise ValueError(
            f"the ratios are {dict(ratios)}: a slope needs two or more, above 0 and finite (a ratio of 0 is "
            "one that noise hides: take more repeats)"
        )
    points = [(math.log(k), math.log(ratio)) for k, ratio in ratios.items()]
    mean = sum(x for x, _ in points) / len(points)
    return sum((x - mean) * y for x, y in points) / sum((x - mean) ** 2 for x, _ in points)


def plot_noise(found: Mapping[str, Mapping[int, GradientNoise]], axes: Axes | None = None) -> Axes:
    """Signal-to-noise ratios over particles, on log scales: a line for each objective and part.

    Args:
        found: by the name of an objective, its noise by number of particles.
        axes: where to draw; new ones if None.

    Returns:
        The axes.
    """
    if axes is None:
        from matplotlib.figure import Figure

        axes = Figure(layout="constrained").subplots()
    for name, by_particles in found.items():
        for part, style in (("model", "-"), ("guide", "--")):
            chosen = {k: n.snr(f"{part}.") for k, n in by_particles.items() if n.names(f"{part}.")}
            if chosen:
                axes.plot(list(chosen), list(chosen.values()), style, label=f"{name}, {part}")
    axes.set(xscale="log", yscale="log", xlabel="particles", ylabel="signal-to-noise ratio")
    axes.legend()
    return axes


def _gradient(
    objective: ELBO,
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    parameters: list[Tensor],
) -> list[Tensor]:
    """One gradient of the bound; the parameters' own ``.grad`` is left as it was."""
    before = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    with poutine.block():
        objective.loss_and_grads(model, guide, *args, **kwargs)
    found = [torch.zeros_like(p) if p.grad is None else -p.grad for p in parameters]
    for parameter, gradient in zip(parameters, before, strict=True):
        parameter.grad = gradient
    return found


def _parameters(
    model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Tensor]:
    """The parameters of both programs by name, those of modules and those of the global store."""
    found: dict[str, Tensor] = {}
    known: set[int] = set()

    def add(name: str, parameter: Tensor) -> None:
        if id(parameter) not in known and parameter.requires_grad:
            known.add(id(parameter))
            found[name] = parameter

    for part, program in (("model", model), ("guide", guide)):
        for module in modules_of(program):
            for name, parameter in module.named_parameters():
                add(f"{part}.{name}", parameter)
    for part, program in (("model", model), ("guide", guide)):
        with (
            torch.no_grad(),
            poutine.block(),
            poutine.trace(param_only=True) as seen,
            own_parameters(),
            poutine.block(hide_types=["sample"]),
        ):
            program(*args, **kwargs)
        for name, site in seen.trace.nodes.items():
            add(f"{part}.{name}", site["value"].unconstrained())
    if not found:
        raise ValueError("the programs have no parameters, so there is no gradient to measure")
    return found
