"""Print the figures that say how far estimators of log p(x) and diagnostics can be trusted.

    python scripts/check_evidence.py            # everything, about six minutes on one core
    python scripts/check_evidence.py k_hat cost # some of it
    python scripts/check_evidence.py --save scripts/results/evidence.json

Where the answer is known exactly, what is printed is the distance to it. Every seed is written down here,
so that all but the seconds come out the same again.
"""

import argparse
import functools
import json
import math
import os
import platform
import resource
import statistics
import time
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import planted_mistakes
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
from pyrovae.storage.files import write_json


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
    found = {}
    for kind in ("1", "2", "5", "10", "mixture", "mixture of PCAs"):
        for name, estimator in estimators.items():
            if kind == "mixture" and name == "annealed":
                continue  # its latent is a category: nothing to anneal
            log_ratios = torch.cat(
                [
                    estimator(model, guide, x, seed=seed).value - model.exact_log_evidence(x)
                    for seed, (model, guide, x) in enumerate(pairs(kind))
                ]
            )
            z, mean = z_score(log_ratios), log_ratios.exp().mean()
            found[f"{kind}: {name}"] = z
            print(f"  {kind:>15}  {name:<20} mean of p-hat / p {mean:.4f}   z {z:+.2f}")
    largest = max(map(abs, found.values()))
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
    return {"z": found, "largest_z": largest, "single_precision_error": error.item()}


def mistakes():
    """Mistakes made on purpose: how many standard errors the mean of p-hat / p is away from 1."""
    found = {}
    estimator = ImportanceSampling(num_particles=120, keep=True)
    for name in (
        "log_mean_exp",
        "missing_log_count",
        "wrong_count",
        "mean_of_logarithms",
        "scale_in_the_exponent",
    ):
        reduce = getattr(planted_mistakes, name)
        found[name] = z_score(
            torch.cat(
                [
                    reduce(estimator(model, guide, x, seed=seed).log_weights)
                    - model.exact_log_evidence(x)
                    for seed, (model, guide, x) in enumerate(pairs("2"))
                ]
            )
        )
    model = pca(6, 1, seed=1)
    x = model.decode(model.prior().sample((8,))).sample()
    annealed = AnnealedImportanceSampling(
        chains=3000, temperatures=150, leapfrogs=1, pilot_temperatures=10, pilot_chains=8
    )

    def of_chains():
        return z_score((annealed(model, None, x).log_weights - model.exact_log_evidence(x)).ravel())

    found["frozen_steps"] = of_chains()
    with planted_mistakes.steps_that_follow_their_chain():
        found["steps_that_follow_their_chain"] = of_chains()
    for name, z in found.items():
        right = name in ("log_mean_exp", "frozen_steps")
        print(f"  {name:<30} z {z:+9.1f}   ({'right: below' if right else 'to be above'} 5)")
    return {"z": found}


def z_score(log_ratios):
    """How many standard errors the mean of p-hat / p is away from 1."""
    ratios = log_ratios.detach().exp()
    return ((ratios.mean() - 1) / (ratios.std() / len(ratios) ** 0.5)).item()


def lecture():
    """p-hat is unbiased, log p-hat is biased low, and the naive estimate has hopeless variance."""
    rows = []
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
            row = {"latent": latent, "estimator": name, "mean_ratio": ratio.mean().item()}
            row |= {"mean_log_ratio": log_ratio.mean().item(), "relative_sd": ratio.std().item()}
            rows.append(row)
            print(
                f"    {name:<12} p-hat / p {ratio.mean():6.3f} +- {ratio.std() / 10:5.3f}"
                f"   log p-hat - log p {log_ratio.mean():8.3f} +- {log_ratio.std() / 10:5.3f}"
                f"   relative sd {ratio.std():7.3f}"
            )
    return {"estimates": rows}


def sandwich():
    """Bidirectional Monte Carlo: the exact value between both bounds, and the gap between them."""
    estimator = BidirectionalMonteCarlo(chains=32, temperatures=200, leapfrogs=5)
    rows = []
    for latent in (1, 2, 5, 10):
        model = pca(12, latent, spread=1.0, log_noise=-0.5)
        found = estimator(model, None, torch.zeros(100, 12).double())
        exact = model.exact_log_evidence(found.simulated)
        above = found.value - 4 * found.standard_error <= exact
        below = exact <= found.upper + 4 * found.upper_standard_error
        held, gap = int((above & below).sum()), (found.upper - found.value).mean()
        # The same with a sum for the mean, on either side: the truth falls out.
        wrong_low = (above & (found.value + math.log(32) - 4 * found.standard_error <= exact)).sum()
        wrong_high = (found.upper - math.log(32) + 4 * found.upper_standard_error >= exact).sum()
        row = {"latent": latent, "held_of_100": held, "mean_gap": gap.item()}
        rows.append(row | {"held_without_log_count": [int(wrong_low), int(wrong_high)]})
        print(
            f"  {latent:>2} latent dimensions: {held} of 100 held, mean gap {gap:.3f} nats; without log K "
            f"{wrong_low} held below, {wrong_high} above"
        )
    model, _, x = digits_vae()
    began = time.perf_counter()
    found = BidirectionalMonteCarlo(temperatures=400)(model, None, x[:50])
    gap, seconds = found.upper - found.value, time.perf_counter() - began
    error = gap.std() / len(gap) ** 0.5
    print(
        f"  VAE on the digits, 50 simulated images: mean gap {gap.mean():.3f} +- {error:.3f} nats (below "
        f"0.5), largest {gap.max():.2f}, {found.cost} gradients an image, {seconds:.0f} s"
    )
    vae = {"images": len(gap), "mean_gap": gap.mean().item(), "standard_error": error.item()}
    return {"pca": rows, "vae": vae | {"largest_gap": gap.max().item(), "gradients": found.cost}}


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
    rows = {}
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
        error = max(abs(near - exact[0]), abs(far - exact[1]))
        rows[name] = {"approximation": near, "amortization": far, "exact": exact, "furthest": error}
        print(
            f"  {name:<16} approximation {near:.4f} (exact {exact[0]:.4f})   amortization {far:.4f} "
            f"(exact {exact[1]:.4f})   furthest {error:.1e}"
        )
    print(f"  furthest of all {max(row['furthest'] for row in rows.values()):.1e} nat (below 1e-3)")
    return rows


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
    negated = np.abs(k_hat(-log_w).numpy() - shapes).max()
    print(f"  a planted mistake, weights upside down: {negated:.1f} away")
    known = {}
    for shape in (-0.3, 0.0, 0.3, 0.5, 0.7, 0.9, 1.2):
        draws = torch.as_tensor(genpareto.rvs(shape, size=(200_000, 8), random_state=0))
        known[shape] = k_hat(draws.log()).mean().item()
        print(f"  generalised Pareto draws of shape {shape:4.1f}: k-hat {known[shape]:.3f}")
    off = max(abs(found - shape) for shape, found in known.items())
    equal = k_hat(torch.full((1000, 1), -731.0)).item()
    print(f"  furthest from a known tail {off:.3f} (below 0.1); equal weights: {equal}")
    found = {"furthest_from_arviz": float(error), "weights": float(weights), "tails": known}
    return found | {"furthest_tail": off, "equal_weights": equal, "negated": float(negated)}


def calibrated():
    """Simulation-based calibration with 1,000 simulations."""
    p_values = {}
    model = pca(6, 2, spread=1.0)
    for name, guide in (
        ("exact posterior", ExactPosterior(model)),
        ("under-dispersed (0.7 of the width)", Beside(model, 0.0, 0.7)),
        ("shifted (by 0.4 of the width)", Beside(model, 0.4, 1.0)),
    ):
        found = calibration(model, guide, torch.zeros(1, 6).double(), simulations=1000)
        p_values[name] = found.p_value
        print(f"  {name:<36} p = {found.p_value:.2g}")
    return {"p_values": p_values, "simulations": 1000}


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
    own = ImportanceSampling(num_particles=5000, keep=True)
    hand = {chunk: seconds_of(by_hand, model, guide, x, 500, chunk) for chunk in (1, 2, 4, 8)}
    best = min(hand, key=hand.get)
    own(model, guide, x[:8])
    # In pairs, one after the other, since other work on the machine comes and goes.
    ratios = [
        seconds_of(by_hand, model, guide, x, 5000, best) / seconds_of(own, model, guide, x)
        for _ in range(3)
    ]
    speed = statistics.median(ratios)
    began = time.perf_counter()
    own(model, guide, x)
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"  speed against a loop written by hand, in its best chunks: {speed:.2f} (at least 0.9), of "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}\n"
        f"  5,000 particles for 1,797 digits: {seconds:.0f} s, peak memory {peak / 2**20:.2f} GiB (below 2)"
    )
    return {"speed_ratios": ratios, "seconds": seconds, "peak_gib": peak / 2**20, "chunk": best}


FIGURES = {
    "exactness": exactness,
    "mistakes": mistakes,
    "lecture": lecture,
    "sandwich": sandwich,
    "gaps": decomposition,
    "k_hat": tails,
    "calibration": calibrated,
    "cost": cost,
}


def save(path, figures):
    """Add figures to those that a file holds, with what they were made with."""
    file = Path(path)
    kept = json.loads(file.read_text()) if file.exists() else {}
    packages = ("torch", "pyro-ppl", "numpy", "scipy", "arviz")
    made = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python scripts/check_evidence.py {' '.join(figures)}",
        "versions": {name: version(name) for name in packages}
        | {"pyrovae": pyrovae.__version__, "python": platform.python_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread",
        "seeds": "0 for every call but where the script says otherwise",
    }
    for name, figure in figures.items():
        kept[name] = figure | {"made": made}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, kept)


def main():
    """Print the figures asked for, and keep them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", help=f"which; all by default: {', '.join(FIGURES)}")
    parser.add_argument("--save", help="a file to keep the figures in, as JSON")
    options = parser.parse_args()
    unknown = [name for name in options.figures if name not in FIGURES]
    if unknown:
        parser.error(f"unknown figure {unknown[0]!r}; known: {', '.join(FIGURES)}")
    torch.set_num_threads(1)
    for chosen in options.figures or FIGURES:
        print(f"{chosen}: {FIGURES[chosen].__doc__}", flush=True)
        figure = FIGURES[chosen]()
        if options.save:
            save(options.save, {chosen: figure})


if __name__ == "__main__":
    main()
