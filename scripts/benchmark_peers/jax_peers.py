"""NumPyro: the same models, with a jitted step, and with a scan over an epoch of batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO
from workloads import Workload

Run = Callable[[int], None]
SHIFT = 0.5413248546129181  # softplus of it is 1


def step(workload: Workload) -> Run:
    """``jit(svi.update)``, called once a step."""
    svi, state, batches = _make(workload)
    update = jax.jit(svi.update)

    def run(steps: int) -> None:
        nonlocal state
        for n in range(steps):
            state, loss = update(state, batches[n % len(batches)])
        loss.block_until_ready()

    return run


def scan(workload: Workload) -> Run:
    """``lax.scan`` over a block of batches: one call from Python for all of them."""
    svi, state, batches = _make(workload)
    whole = jnp.stack([batches[n % len(batches)] for n in range(workload.epoch)])

    @jax.jit
    def epoch(state: Any, batches: Any) -> Any:
        return jax.lax.scan(lambda s, x: svi.update(s, x), state, batches)

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(max(1, steps // workload.epoch)):
            state, losses = epoch(state, whole)
        losses.block_until_ready()

    return run


def _make(workload: Workload) -> tuple[SVI, Any, list[Any]]:
    random = np.random.default_rng(workload.seed)
    numpyro.enable_validation(False)
    data = (random.random((50, workload.batch, workload.features)) > 0.5).astype(np.float32)
    model, guide = _mixture(workload) if workload.components else _vae(workload, random)
    if workload.particles == 1:
        loss: Any = Trace_ELBO()
    else:
        loss = RenyiELBO(alpha=0.0, num_particles=workload.particles)
    svi = SVI(model, guide, numpyro.optim.Adam(1e-3), loss)
    batches = [jnp.asarray(batch) for batch in data]
    return svi, svi.init(jax.random.PRNGKey(workload.seed), batches[0]), batches


def _network(random: np.random.Generator, sizes: list[int]) -> list[Any]:
    return [
        (jnp.asarray(random.normal(size=(i, o)) / i**0.5, jnp.float32), jnp.zeros(o))
        for i, o in zip(sizes[:-1], sizes[1:], strict=True)
    ]


def _apply(layers: list[Any], x: Any) -> Any:
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def _vae(w: Workload, random: np.random.Generator) -> tuple[Any, Any]:
    binary = w.likelihood == "bernoulli"
    decoder = _network(
        random, [w.latent, *w.hidden[::-1], w.features if binary else 2 * w.features]
    )
    encoder = _network(random, [w.features, *w.hidden, 2 * w.latent])

    def model(x: Any) -> None:
        layers = numpyro.param("decoder", decoder)
        with numpyro.plate("data", x.shape[0]):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(w.latent), 1.0).to_event(1))
            output = _apply(layers, z)
            if binary:
                pixels: Any = dist.Bernoulli(logits=output)
            else:
                loc, raw = jnp.split(output, 2, -1)
                pixels = dist.Normal(loc, 0.01 + jax.nn.softplus(raw + SHIFT))
            numpyro.sample("x", pixels.to_event(1), obs=x)

    def guide(x: Any) -> None:
        layers = numpyro.param("encoder", encoder)
        with numpyro.plate("data", x.shape[0]):
            loc, raw = jnp.split(_apply(layers, x), 2, -1)
            numpyro.sample("z", dist.Normal(loc, jax.nn.softplus(raw + SHIFT)).to_event(1))

    return model, guide


def _mixture(w: Workload) -> tuple[Any, Any]:
    def model(x: Any) -> None:
        logits = numpyro.param("logits", jnp.zeros(w.components))
        loc = numpyro.param(
            "loc", jax.random.normal(jax.random.PRNGKey(1), (w.components, w.features))
        )
        raw = numpyro.param("raw", jnp.zeros((w.components, w.features)))
        scale = jnp.sqrt(1e-3 + jnp.exp(raw))
        parts = dist.Normal(loc, scale).to_event(1)
        with numpyro.plate("data", x.shape[0]):
            mixture = dist.MixtureSameFamily(dist.Categorical(logits=logits), parts)
            numpyro.sample("x", mixture, obs=x)

    return model, lambda x: None
