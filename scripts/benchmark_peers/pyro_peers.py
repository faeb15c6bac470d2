"""Stock Pyro on the models of this package: `pyro.infer.SVI` and its losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
from data import batches
from programs import make
from pyro.infer import SVI, JitTrace_ELBO, JitTraceEnum_ELBO, RenyiELBO, Trace_ELBO, TraceEnum_ELBO
from workloads import Workload

Run = Callable[[int], None]


def stock(workload: Workload) -> Run:
    """`Trace_ELBO`; for K > 1 `RenyiELBO` with vectorised particles; for a mixture `TraceEnum_ELBO`."""
    if workload.components:
        return _trained(workload, TraceEnum_ELBO(max_plate_nesting=1))
    if workload.particles == 1:
        return _trained(workload, Trace_ELBO())
    loss = RenyiELBO(
        alpha=0, num_particles=workload.particles, vectorize_particles=True, max_plate_nesting=1
    )
    return _trained(workload, loss)


def loop(workload: Workload) -> Run:
    """`RenyiELBO` as it comes: one particle after the other."""
    return _trained(workload, RenyiELBO(alpha=0, num_particles=workload.particles))


def jit(workload: Workload) -> Run:
    """`JitTrace_ELBO`."""
    if workload.components:
        return _trained(workload, JitTraceEnum_ELBO(max_plate_nesting=1))
    return _trained(workload, JitTrace_ELBO())


def _trained(workload: Workload, loss: Any) -> Run:
    pyro.set_rng_seed(workload.seed)
    model, guide = make(workload)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), loss)
    data = batches(workload)

    def run(steps: int) -> None:
        for n in range(steps):
            svi.step(data[n % len(data)])

    return run
