"""The default comparison: which models, guides and objectives, and how each is trained.

All of its numbers are in this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyrovae.registry.parts import public_name
from pyrovae.running.config import Config, Part


@dataclass(frozen=True)
class Recipe:
    """How a model and a guide are trained, with which objectives unless others are asked for."""

    model: Part
    guide: Part
    objectives: tuple[str, ...] = ("Trace_ELBO", "Renyi", "IWAE")
    fit: Mapping[str, Any] = field(default_factory=lambda: {"epochs": 300})
    optim: Part = Part("Adam", {"lr": 1e-3})


OBJECTIVES = {
    "Trace_ELBO": Part("Trace_ELBO", {"num_particles": 1}),
    "Renyi": Part("Renyi", {"alpha": 0.5, "num_particles": 10}),
    "IWAE": Part("IWAE", {"num_particles": 10}),
}

_VAE = Part("VAE", {"latent": 32, "hidden": [128, 128], "activation": "silu"})
# Without dropout an encoder knows the 1,200 training images by heart, and little of others.
_ENCODER = Part("Amortized", {"hidden": [256, 256], "activation": "silu", "dropout": 0.2})
_LINEAR = Part("Amortized", {"hidden": []})

# The default comparison, longest runs first so that the last ones to finish are short.
GRID = (
    Recipe(
        _VAE,
        _ENCODER,
        ("IWAE", "Renyi", "Trace_ELBO"),
        {"epochs": 800, "batch_size": 100},
        Part("AdamW", {"lr": 5e-3, "weight_decay": 0.1}),
    ),
    Recipe(
        _VAE,
        Part("PerDatapoint"),
        ("IWAE", "Renyi", "Trace_ELBO"),
        {"epochs": 500, "batch_size": 100, "row_lr": 5e-2},
        Part("Adam", {"lr": 5e-3}),
    ),
    Recipe(
        Part("ProbabilisticPCA"),
        _LINEAR,
        ("Trace_ELBO", "IWAE"),
        {"epochs": 300},
        Part("Adam", {"lr": 3e-3}),
    ),
    Recipe(
        Part("ProbabilisticPCA"),
        Part("ExactPosterior"),
        ("Trace_ELBO",),
        {"epochs": 300},
        Part("Adam", {"lr": 1e-2}),
    ),
    Recipe(
        Part("GaussianMixture"),
        Part("ExactPosterior"),
        ("TraceEnum_ELBO", "IWAE"),
        {"epochs": 300},
        Part("Adam", {"lr": 1e-2}),
    ),
)
BASE = Config(
    optim=Part("Adam"),
    scheduler=Part("CosineAnnealingLR"),
    evidence=Part("ImportanceSampling", {"num_particles": 5000}),
    evaluate={"refit_steps": 400},
)


def grid(
    *,
    seeds: Sequence[int] = (0,),
    models: Sequence[str] = (),
    guides: Sequence[str] = (),
    objectives: Sequence[str] = (),
    data: Part = BASE.data,
    epochs: int | None = None,
) -> list[Config]:
    """The configurations of a comparison.

    Args:
        seeds: each run is repeated with each.
        models: only these; a dotted path adds a model of yours, with an `Amortized` guide.
        guides: only these.
        objectives: these with every model and guide, instead of the default choice for each; a name that
            the default comparison does not use, or a dotted path, is taken with its default options.
        data: the data set.
        epochs: passes over the data in every run, instead of the default number for each.

    Returns:
        Complete configurations, longest runs first.

    Raises:
        ValueError: an unknown name, or nothing is left.

    Example:
        >>> [config.guide.name for config in grid(models=["VAE"], objectives=["IWAE"])]
        ['Amortized', 'PerDatapoint']
    """
    recipes = _chosen_recipes(models, guides)
    named = [public_name("objective", name) for name in objectives]
    found = []
    for recipe in recipes:
        for name in named or recipe.objectives:
            for seed in seeds:
                fit = dict(recipe.fit) | ({} if epochs is None else {"epochs": epochs})
                config = replace(
                    BASE,
                    data=data,
                    model=recipe.model,
                    guide=recipe.guide,
                    objective=OBJECTIVES.get(name, Part(name)),
                    optim=recipe.optim,
                    fit=fit,
                    seed=seed,
                )
                found.append(config.complete())
    return found


def _chosen_recipes(models: Sequence[str], guides: Sequence[str]) -> list[Recipe]:
    """The default recipes of these models and guides, and new ones for pairs that were asked for."""
    pairs = {(recipe.model.name, recipe.guide.name): recipe for recipe in GRID}
    known_models = dict.fromkeys(model for model, _ in pairs)
    known_guides = dict.fromkeys(guide for _, guide in pairs)
    allowed = [public_name("guide", name) for name in guides]
    wanted = [public_name("model", name) for name in models] or list(known_models)
    chosen = []
    for model in wanted:
        own = [guide for known, guide in pairs if known == model] or ["Amortized"]
        for guide in allowed or own:
            asked = (models and guides) or guide not in known_guides or model not in known_models
            if (model, guide) in pairs:
                chosen.append(pairs[model, guide])
            elif asked:
                like = next(
                    (r for r in GRID if r.model.name == model), Recipe(Part(model), Part(guide))
                )
                chosen.append(replace(like, guide=Part(guide)))
    if not chosen:
        offered = "; ".join(f"{model} with {guide}" for model, guide in pairs)
        raise ValueError(
            f"The default comparison has no model with the guide {', '.join(allowed)}; it has {offered}. "
            "Give both --models and --guides for another pair."
        )
    return chosen
