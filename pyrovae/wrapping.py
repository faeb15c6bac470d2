"""Objectives that wrap another: how the other one is given."""

from __future__ import annotations

from typing import Any

from pyrovae.objective import Objective
from pyrovae.registry.parts import build


def wrapped(
    objective: str | Objective,
    num_particles: int,
    max_plate_nesting: float,
    vectorize_particles: bool,
    gradient: str | None,
) -> Objective:
    """The objective of that name with these options, or the one that is already made.

    Raises:
        TypeError: a gradient for an objective that is already made.
        ValueError: an unknown name, or something that is no objective of this package.
    """
    if isinstance(objective, str):
        given: dict[str, Any] = {
            "num_particles": num_particles,
            "max_plate_nesting": max_plate_nesting,
            "vectorize_particles": vectorize_particles,
        }
        chosen = given if gradient is None else {**given, "gradient": gradient}
        objective = build("objective", objective, chosen)
    elif gradient is not None:
        raise TypeError("gradient is for an objective given by name: set it on the objective")
    if not isinstance(objective, Objective):
        raise ValueError(
            f"{type(objective).__name__} has no log-weights: wrap an objective of pyrovae.objectives"
        )
    return objective
