"""Inputs that are extreme and valid: everything stays finite, and logarithms of sums keep their digits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import pyro
import pyro.distributions as dist
import torch
from figures import Figure

from pyrovae import guides, models, objectives
from pyrovae.evidence import ImportanceSampling
from pyrovae.fit import fit
from pyrovae.log_weights import log_weights
from pyrovae.sampling.psis import k_hat
from pyrovae.surrogates.bounds import leave_one_out, log_mean_exp, renyi_bound

DIGITS = 1e-12


def sums(quick: bool) -> list[Figure]:
    """Log-mean-exp and Renyi bounds of log-weights that span up to 1e5, against 60 digits of mpmath."""
    mpmath.mp.dps = 60
    worst, right, total = 0.0, 0, 0
    for weights in _weights(4 if quick else 40):
        exact = _log_mean_exp([mpmath.mpf(w) for w in weights.tolist()])
        cases: list[tuple[torch.Tensor, Any]] = [(log_mean_exp(weights[:, None]), exact)]
        for alpha in (-1.0, 0.0, 0.5, 0.999, 1.001, 2.0):
            power = mpmath.mpf(1) - mpmath.mpf(alpha)
            scaled = _log_mean_exp([power * mpmath.mpf(w) for w in weights.tolist()]) / power
            if abs(power) > 0.01 or float(weights.max() - weights.min()) < 10:
                cases.append((renyi_bound(weights[:, None], alpha), scaled))
        for got, expected in cases:
            error = abs(mpmath.mpf(float(got)) - expected) / max(1, abs(expected))
            worst = max(worst, float(error))
            right += error < DIGITS
            total += 1
    return [
        Figure("logarithms of sums, spans up to 1e5, within 1e-12 of mpmath", right, total,
               f"worst {worst:.1e}")
    ]  # fmt: skip


def finite(quick: bool) -> list[Figure]:
    """Losses, gradients, evidence and k-hat at the edges of what is valid."""
    good = total = 0
    for name, case in itertools.islice(_cases(), 0, None, 3 if quick else 1):
        torch.manual_seed(0)
        pyro.clear_param_store()
        total += 1
        try:
            ok = case()
        except (ValueError, RuntimeError, FloatingPointError) as error:
            print(f"    {name}: {str(error)[:200]}")
            continue
        if not ok:
            print(f"    {name}: not finite")
        good += ok
    return [Figure("extreme but valid inputs: everything finite", good, total)]


def _weights(count: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    for span, size in itertools.product((1e-3, 1.0, 30.0, 1e3, 1e5), (1, 2, 50, 1000)):
        for _ in range(max(1, count // 10)):
            shift = 1e4 * (torch.rand((), generator=generator, dtype=torch.float64) - 0.5)
            yield span * torch.rand(size, generator=generator, dtype=torch.float64) + shift
    for shift in (-1e5, -745.0, 0.0, 709.0, 1e5):
        yield torch.tensor([shift, shift - 1e5, shift - 1e-9], dtype=torch.float64)


def _log_mean_exp(values: list[Any]) -> Any:
    return mpmath.log(mpmath.fsum(mpmath.exp(v) for v in values) / len(values))


def _all_finite(*values: Any) -> bool:
    return all(bool(torch.as_tensor(v).isfinite().all()) for v in values)


def _scored(model: Any, guide: Any, x: torch.Tensor, **extras: Any) -> bool:
    """Losses and gradients of several objectives, the evidence, and k-hat."""
    found = []
    for objective in (
        objectives.ELBO(),
        objectives.IWAE(num_particles=3),
        objectives.IWAE(num_particles=3, gradient="dreg"),
        objectives.Renyi(alpha=0.5, num_particles=3),
        objectives.Renyi(alpha=2.0, num_particles=3),
    ):
        loss = objective.differentiable_loss(model, guide, x, **extras)
        parts = [p for m in {id(m): m for m in (model, guide)}.values() for p in m.parameters()]
        gradients = torch.autograd.grad(loss, parts, allow_unused=True)
        found += [loss, *(g for g in gradients if g is not None)]
    with torch.no_grad():
        weights = log_weights(model, guide, x, num_particles=20, **extras)
        estimate = ImportanceSampling(num_particles=20)(model, guide, x, **extras)
    finite_k = ~k_hat(weights).isnan()
    return _all_finite(*found, weights, estimate.value, estimate.standard_error) and bool(
        finite_k.all()
    )


def _vae(likelihood: str, **options: Any) -> tuple[Any, Any]:
    return (
        models.VAE(6, latent=2, hidden=(8,), likelihood=likelihood, **options),
        guides.Amortized(6, 2, hidden=(8,)),
    )


def _shifted(module: Any, by: float) -> Any:
    with torch.no_grad():
        module.decoder.output_bias.add_(by)
    return module


def _cases() -> Iterator[tuple[str, Callable[[], bool]]]:
    zeros, ones = torch.zeros(8, 6), torch.ones(8, 6)
    for image, by in itertools.product((zeros, ones), (-1e4, 1e4)):
        for likelihood in ("bernoulli", "continuous_bernoulli"):
            name = f"{likelihood}, logits of {by:g}, all {int(image[0, 0])}"
            yield (
                name,
                lambda k=likelihood, b=by, x=image: _scored(_shifted(_vae(k)[0], b), _vae(k)[1], x),
            )
    for image, likelihood in itertools.product(
        (zeros, ones),
        ("bernoulli", "continuous_bernoulli", "gaussian", "student_t", "bounded_gaussian"),
    ):
        name = f"{likelihood}, all {int(image[0, 0])}"
        yield name, lambda k=likelihood, x=image: _scored(*_vae(k), x)
    for scale in (1e-20, 1e-10, 1e10, 1e20):
        yield (
            f"a fixed scale of {scale:g}",
            lambda s=scale: _scored(
                *(part.double() for part in _vae("fixed_gaussian", scale=s)),
                torch.rand(8, 6).double(),
            ),
        )
        yield f"data of size {scale:g}", lambda s=scale: _pca(s)
    for rows, particles in itertools.product((1, 2), (1, 2)):
        yield f"N = B = {rows}, K = {particles}", lambda n=rows, k=particles: _few(n, k)
    for name, parts in {
        "a mixture of one": lambda: models.GaussianMixture(6, components=1),
        "a mixture of as many components as rows": lambda: models.GaussianMixture(6, components=8),
        "one latent dimension": lambda: models.ProbabilisticPCA(6, latent=1),
    }.items():
        yield name, lambda p=parts: _exact(p())
    yield "a constant column", lambda: _constant()
    yield "guide far from the posterior: weights spanning 1e5", lambda: _far()
    yield "one row and one column", lambda: _one_number()
    yield (
        "leave-one-out of weights spanning 1e5",
        lambda: _all_finite(leave_one_out(torch.tensor([[0.0], [-1e5], [-2e5]]))),
    )
    yield (
        "k-hat of equal, of two, and of far apart weights",
        lambda: (
            not any(
                bool(k_hat(w).isnan().any())
                for w in (
                    torch.zeros(50, 1),
                    torch.zeros(2, 1),
                    torch.linspace(-1e5, 0, 100)[:, None],
                )
            )
        ),
    )


def _exact(model: Any) -> bool:
    x = torch.rand(8, 6)
    if hasattr(model, "initialise"):
        model.initialise(x, seed=0)
    return _scored(model, guides.ExactPosterior(model), x)


def _pca(scale: float) -> bool:
    model = models.ProbabilisticPCA(6, latent=2).double()
    x = scale * torch.rand(8, 6).double()
    return _all_finite(model.exact_log_evidence(x)) and _scored(
        model, guides.ExactPosterior(model), x
    )


def _few(rows: int, particles: int) -> bool:
    model, guide = _vae("gaussian")
    history = fit(
        model,
        guide,
        torch.rand(rows, 6),
        objectives.IWAE(num_particles=particles),
        epochs=3,
        batch_size=rows,
        progress=False,
    )
    return _all_finite(history.train_bound, *model.parameters(), *guide.parameters())


def _constant() -> bool:
    x = torch.rand(40, 6)
    x[:, 2] = 0.5
    model, guide = _vae("gaussian")
    model.initialise(x)
    history = fit(model, guide, x, epochs=20, progress=False)
    return _all_finite(history.train_bound, *model.parameters())


def _far() -> bool:
    model = models.ProbabilisticPCA(6, latent=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10.0)
    guide = guides.Amortized(6, 2, hidden=())
    return _scored(model.double(), guide.double(), 300 * torch.randn(8, 6).double())


def _one_number() -> bool:
    model, guide = models.VAE(1, latent=1, hidden=(2,)), guides.Amortized(1, 1, hidden=(2,))
    return _scored(model, guide, torch.rand(1, 1))


def overflow(quick: bool) -> list[Figure]:
    """What does overflow is said, and not passed on."""

    def narrow(x: torch.Tensor) -> Any:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None], torch.tensor(1e-30)).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0))

    try:
        fit(narrow, guide, torch.rand(8, 6), optim=pyro.optim.Adam({}), epochs=2, progress=False)
        said = 0
    except FloatingPointError as error:
        said = int("site 'x'" in str(error) and math.isfinite(pyro.param("loc").item()))
    return [Figure("a density that overflows is named, with its site", said, 1)]
