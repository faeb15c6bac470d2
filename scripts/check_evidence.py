"""Print the figures that say how far estimators of log p(x) and diagnostics can be trusted.

    python scripts/check_evidence.py            # everything, about five minutes on one core
    python scripts/check_evidence.py k_hat cost # some of it

Where the answer is known exactly, what is printed is the distance to it.
"""

import argparse
import functools
import math
import resource
import statistics
import time
import warnings

import numpy as np
import torch
from exact_models import Beside, DrawnMixture, MixedPCA, broad, pca

import pyrovae
from pyrovae.data import Digits
from pyrovae.diagnostics import calibration, gaps
from pyrovae.evidence import (
    AnnealedImportanceSampling,
    BidirectionalMonteCarlo,
    ImportanceSampling,
    PriorMonteCarlo,
    UniformBox,
)
from pyrovae.guides import Amortized, ExactPosterior
from pyrovae.models import VAE
from pyrovae.sampling.moments import LogMoments
from pyrovae.sampling.psis import k_hat, smooth


def pairs(kind):
    """200 datapoints of four models, with a guide for each model."""
    for seed in range(4):
        torch.manual_seed(seed)
        if kind == "mixture":
            model = DrawnMixture(4, components=5).double()
            guide = Amortized(4, 5, hidden=(3,), family="categorical").double()
            x = model.decode(torch.randint(5, (50,))).sample()
        elif kind == "mixture of PCAs":
            model = MixedPCA().double()
            guide, x = broad, model.pca.decode(torch.randn(50, 2).double()).sample()
        else:
            model = pca(6, int(kind), seed)
            guide, x = Beside(model, 0.2, 1.2), model.decode(model.prior().sample((50,))).sample()
        yield model, guide, x.detach()


def exactness():
    """The mean of p-hat / p over 200 pairs of model and datapoint, in standard errors from 1."""
    annealing = AnnealedImportanceSampling(temperatures=30, leapfrogs=4, pilot_temperatures=20)
    estimators = {
        "prior Monte Carlo": PriorMonteCarlo(num_particles=2000),
        "importance sampling": ImportanceSampling(num_particles=1000, chunk_size=7),
        "annealed": annealing,
    }
    largest = 0.0
    for kind in ("1", "2", "5", "10", "mixture", "mixture of PCAs"):
        for name, estimator in estimators.items():
            if kind == "mixture" and name == "annealed":
                continue  # its latent is a category: nothing to anneal
            ratios = torch.cat(
                [
                    (
                        estimator(model, guide, x, seed=seed).value - model.exact_log_evidence(x)
                    ).exp()
                    for seed, (model, guide, x) in enumerate(pairs(kind))
                ]
            ).detach()
            z = ((ratios.mean() - 1) / (ratios.std() / len(ratios) ** 0.5)).item()
            largest = max(largest, abs(z))
            print(f"  {kind:>15}  {name:<20} mean of p-hat / p {ratios.mean():.4f}   z {z:+.2f}")
    print(f"  largest |z| {largest:.2f} (to be below 5)")
    log_w = (20 * torch.randn(5000, 100)).float()
    total = LogMoments()
    for chunk in log_w.split(7):
        total.add(chunk)
    exact = log_w.double().logsumexp(0) - math.log(5000)
    error = ((total.result()[0] - exact) / exact).abs().max()
    print(
        f"  5,000 single-precision weights in chunks of 7, against double: {error:.1e} (below 1e-5)"
    )


def lecture():
    """p-hat is unbiased, log p-hat is biased low, and the naive estimate has hopeless variance."""
    for latent in (1, 2, 5, 10):
        model = pca(12, latent, log_noise=-0.5)
        x = model.decode(model.prior().sample((1,))).sample()
        exact = model.exact_log_evidence(x)
        print(f"  {latent} latent dimensions, 100 estimates from 200 draws each")
        for name, estimator, guide in (
            ("uniform box", UniformBox(num_particles=200), None),
            ("prior", PriorMonteCarlo(num_particles=200), None),
            ("importance", ImportanceSampling(num_particles=200), Beside(model, 0.3, 1.3)),
        ):
            found = [estimator(model, guide, x, seed=seed).value - exact for seed in range(100)]
            log_ratio = torch.stack(found)
            ratio = log_ratio.exp()
            print(
                f"    {name:<12} p-hat / p {ratio.mean():6.3f} +- {ratio.std() / 10:5.3f}"
                f"   log p-hat - log p {log_ratio.mean():8.3f} +- {log_ratio.std() / 10:5.3f}"
                f"   relative sd {ratio.std():7.3f}"
            )


def sandwich():
    """Bidirectional Monte Carlo: the exact value between both bounds, and the gap between them."""
    estimator = BidirectionalMonteCarlo(chains=32, temperatures=200, leapfrogs=5)
    for latent in (1, 2, 5, 10):
        model = pca(12, latent, spread=1.0, log_noise=-0.5)
        found = estimator(model, None, torch.zeros(100, 12).double())
        exact = model.exact_log_evidence(found.simulated)
        above = found.value - 4 * found.standard_error <= exact
        below = exact <= found.upper + 4 * found.upper_standard_error
        held, gap = int((above & below).sum()), (found.upper - found.value).mean()
        print(f"  {latent:>2} latent dimensions: {held} of 100 held, mean gap {gap:.3f} nats")
    model, _, x = digits_vae()
    began = time.perf_counter()
    found = BidirectionalMonteCarlo(temperatures=400)(model, None, x[:50])
    gap, seconds = found.upper - found.value, time.perf_counter() - began
    print(
        f"  VAE on the digits, 50 simulated images: mean gap {gap.mean():.3f} nats (below 0.5), largest "
        f"{gap.max():.2f}, {found.cost} gradients an image, {seconds:.0f} s"
    )


@functools.cache
def digits_vae():
    """A VAE trained on the dequantized digits for a quarter of a minute, and its test images."""
    data = Digits()
    torch.manual_seed(0)
    model, guide = VAE(64, latent=10), Amortized(64, 10)
    model.initialise(data.fixed("train"))
    adam = functools.partial(torch.optim.Adam, lr=2e-3)
    pyrovae.fit(model, guide, data, epochs=150, optim=adam, progress=False)
    return model, guide, data.fixed("test")


def decomposition():
    """Gaps against algebra on a linear-Gaussian model."""
    model = pca(6, 3, spread=1.0)
    x = model.decode(model.prior().sample((50,))).sample()
    for name, guide in (
        ("diagonal, best", Beside(model, 0.0, 1.0, "diagonal")),
        ("full, best", Beside(model, 0.0, 1.0, "full")),
        ("diagonal, wrong", Beside(model, 0.3, 0.8, "diagonal")),
        ("full, wrong", Beside(model, 0.3, 0.8, "full")),
    ):
        found = gaps(model, guide, x, num_particles=40_000)
        (near, _), (far, _) = found.means()["approximation"], found.means()["amortization"]
        exact = guide.exact_gaps(x)
        print(
            f"  {name:<16} approximation {near:.4f} (exact {exact[0]:.4f})   amortization {far:.4f} "
            f"(exact {exact[1]:.4f})   furthest {max(abs(near - exact[0]), abs(far - exact[1])):.1e}"
        )


def tails():
    """k-hat against ArviZ's own, on known tails, and of equal weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    from scipy.stats import genpareto

    log_w = torch.randn(1000, 400).double() * torch.linspace(0.1, 5, 400).double()
    theirs, shapes = arviz.psislw(log_w.mT.numpy().copy())
    mine = smooth(log_w)
    error = np.abs(mine.k_hat.numpy() - shapes).max()
    # Sorted, since which of two equal weights gets which quantile is no matter.
    weights = np.abs(mine.log_weights.sort(0).values.mT.numpy() - np.sort(theirs)).max()
    print(
        f"  furthest from ArviZ's k-hat {error:.1e}, smoothed weights {weights:.1e} (below 1e-10)"
    )
    for shape in (-0.3, 0.0, 0.3, 0.5, 0.7, 0.9, 1.2):
        draws = torch.as_tensor(genpareto.rvs(shape, size=(200_000, 8), random_state=0))
        print(
            f"  generalised Pareto draws of shape {shape:4.1f}: k-hat {k_hat(draws.log()).mean():.3f}"
        )
    print(f"  equal weights: {k_hat(torch.full((1000, 1), -731.0)).item()}")


def calibrated():
    """Simulation-based calibration with 1,000 simulations."""
    model = pca(6, 2, spread=1.0)
    for name, guide in (
        ("exact posterior", ExactPosterior(model)),
        ("under-dispersed (0.7 of the width)", Beside(model, 0.0, 0.7)),
        ("shifted (by 0.4 of the width)", Beside(model, 0.4, 1.0)),
    ):
        found = calibration(model, guide, torch.zeros(1, 6).double(), simulations=1000)
        print(f"  {name:<36} p = {found.p_value:.2g}")


def by_hand(model, guide, x, num_particles, chunk):
    """The loop that one would write for this very model: what ours is timed against."""
    scored = []
    with torch.no_grad():
        loc, raw = guide.encoder(x).split(10, -1)
        scale = torch.nn.functional.softplus(raw + math.log(math.e - 1))
        for start in range(0, num_particles, chunk):
            noise = torch.randn(min(chunk, num_particles - start), len(x), 10)
            z = loc + scale * noise
            mean, raw_spread = model.decoder.network(z).split(64, -1)
            spread = 0.01 + torch.nn.functional.softplus(raw_spread + math.log(math.e - 1))
            log_x = (-0.5 * ((x - mean) / spread) ** 2 - spread.log()).sum(-1)
            log_z, log_q = -0.5 * z.square().sum(-1), -0.5 * noise.square().sum(-1)
            scored.append(log_x + log_z - log_q + scale.log().sum(-1))
        return torch.cat(scored).logsumexp(0) - math.log(num_particles) - 32 * math.log(2 * math.pi)


def seconds_of(work, *args):
    """Processor time of a call, the better of two."""
    times = []
    for _ in range(2):
        began = time.process_time()
        work(*args)
        times.append(time.process_time() - began)
    return min(times)


def cost():
    """5,000 particles for all 1,797 digits: memory, and speed against a loop written by hand."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, guide, x = VAE(64, latent=10), Amortized(64, 10), torch.rand(1797, 64)
    own = ImportanceSampling(num_particles=500)
    hand = {chunk: seconds_of(by_hand, model, guide, x, 500, chunk) for chunk in (1, 2, 4, 8)}
    best = min(hand, key=hand.get)
    # In pairs, one after the other, since other work on the machine comes and goes.
    ratios = [
        seconds_of(by_hand, model, guide, x, 500, best) / seconds_of(own, model, guide, x)
        for _ in range(9)
    ]
    speed = statistics.median(ratios)
    began = time.perf_counter()
    ImportanceSampling(num_particles=5000, keep=True)(model, guide, x)
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"  speed against a loop written by hand, in its best chunks: {speed:.2f} (at least 0.9)\n"
        f"  5,000 particles for 1,797 digits: {seconds:.0f} s, peak memory {peak / 2**20:.2f} GiB (below 2)"
    )


FIGURES = {
    "exactness": exactness,
    "lecture": lecture,
    "sandwich": sandwich,
    "gaps": decomposition,
    "k_hat": tails,
    "calibration": calibrated,
    "cost": cost,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", help=f"which; all by default: {', '.join(FIGURES)}")
    for chosen in parser.parse_args().figures or FIGURES:
        print(f"{chosen}: {FIGURES[chosen].__doc__}")
        FIGURES[chosen]()
