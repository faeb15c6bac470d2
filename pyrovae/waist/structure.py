"""Refuses, in a sentence, traces whose per-datapoint terms would be silently wrong."""

from __future__ import annotations

from torch import Tensor

from pyrovae.waist.sites import PARTICLES, Layout, Site
from pyrovae.waist.terms import is_point


def check_structure(
    in_model: dict[str, Site], in_guide: dict[str, Site], enumerated: list[Site], layout: Layout
) -> Site:
    """Check two traces against a layout, and return a site of the data plate.

    Args:
        in_model: the model's sample sites.
        in_guide: the guide's sample sites.
        enumerated: the model's sites that are summed out.
        layout: what was found when the programs were first run.

    Raises:
        ValueError: a latent site that one of the two has not (an auxiliary one included, unless latents are
            made of it), a plate where the particles are, a site
            enumerated where it ties datapoints together, or nothing inside the data plate.
    """
    sites = [*in_model.items(), *in_guide.items()]
    for name, site in sites:
        _check_plates(name, site, layout)
    _check_names(in_model, in_guide, {site["name"] for site in enumerated})
    _check_auxiliary(in_model, in_guide)
    for name, site in in_guide.items():
        _check_enumerated(name, site, layout)
    inside = [site for _, site in sites if layout.encloses(site)]
    if not inside:
        raise ValueError(
            f"no site is inside the plate {layout.plate!r} any more: the structure of a program must not "
            "change between calls; make a new objective for another program"
        )
    # A plate of the model takes its size from that of the guide, and keeps its own full size.
    batches = {layout.batch(site) * layout.scale(site) for site in inside}
    if len(batches) > 1:
        raise ValueError(
            f"the plate {layout.plate!r} has {' and '.join(f'{n:g}' for n in sorted(batches))} datapoints "
            "at different sites: use the same plate, of the same size, in model and guide"
        )
    return inside[0]


def check_shared(
    name: str, site: Site, log_prob: Tensor, num_particles: int, layout: Layout
) -> None:
    """Refuse a site outside the data plate that has a term for each particle or enumerated value.

    Raises:
        ValueError: it depends on what is inside, so that the particles are not apart.
    """
    plates = {frame.dim for frame in site["cond_indep_stack"] if frame.vectorized}
    for dim in range(-log_prob.dim(), 0):
        size = log_prob.shape[dim]
        if size > 1 and dim not in plates and (size == num_particles or layout.enumerated):
            raise ValueError(
                f"the site {name!r} outside the plate {layout.plate!r} has {size} log-probabilities and no "
                "plate for them, one for each particle or enumerated value of a latent inside, and their sum "
                "would be wrong: put it inside the plate, use one particle, or declare dimensions of its own "
                "with to_event"
            )


def _check_plates(name: str, site: Site, layout: Layout) -> None:
    for frame in site["cond_indep_stack"]:
        if frame.vectorized and frame.name != PARTICLES and -frame.dim > layout.nesting:
            raise ValueError(
                f"the plate {frame.name!r} at site {name!r} takes dim {frame.dim}, which belongs to the "
                f"particles: set max_plate_nesting to at least {-frame.dim}"
            )
    if not layout.encloses(site) and "_enumerate_dim" in site["infer"]:
        raise ValueError(
            f"the site {name!r} is enumerated outside the plate {layout.plate!r}, which ties all "
            "datapoints together: use pyro.infer.TraceEnum_ELBO for this model"
        )


def _check_names(
    in_model: dict[str, Site], in_guide: dict[str, Site], enumerated: set[str]
) -> None:
    for name, site in in_model.items():
        if not site["is_observed"] and name not in in_guide and name not in enumerated:
            raise ValueError(
                f"the guide misses the latent site {name!r} of the model: add pyro.sample({name!r}, ...) "
                "to it, or mark the model's site with infer={'enumerate': 'parallel'}"
            )
    for name, site in in_guide.items():
        auxiliary = site["is_observed"] or site["infer"].get("is_auxiliary")
        if name not in in_model and not auxiliary:
            raise ValueError(
                f"the guide has a site {name!r} that the model has not: rename it, or mark it "
                "infer={'is_auxiliary': True}"
            )


def _check_auxiliary(in_model: dict[str, Site], in_guide: dict[str, Site]) -> None:
    """Auxiliary draws are those that a latent is made of, without noise of its own: a Delta follows them."""
    extra = [n for n, s in in_guide.items() if n not in in_model and not s["is_observed"]]
    if extra and not any(is_point(in_guide[name]["fn"]) for name in in_guide):
        raise ValueError(
            f"the guide's auxiliary site {extra[0]!r} has no counterpart in the model, and its latents are "
            "not made of it (by a Delta), so that p(x, z) / q is no weight and its mean no bound: draw it in "
            "the model too, from any r(auxiliary | z, x), or sum it out of the guide's density"
        )


def _check_enumerated(name: str, site: Site, layout: Layout) -> None:
    inner = [
        frame.name
        for frame in site["cond_indep_stack"]
        if frame.vectorized and frame.name != PARTICLES and frame.name not in layout.plates
    ]
    if "_enumerate_dim" in site["infer"] and inner:
        raise ValueError(
            f"the guide enumerates the site {name!r} inside the plates {inner}, whose combinations are "
            "too many to list: leave it out of the guide and mark it infer={'enumerate': 'parallel'} in "
            "the model, which sums it out, or use pyro.infer.TraceEnum_ELBO"
        )
