"""What a fitted model knows about its data: codes as features, walks through the latent space."""

from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.programs import GenerativeModel, Program, latent_sites, own_parameters
from pyrovae.registry.plain import whole_number
from pyrovae.sampling.rows import as_rows


@torch.no_grad()
def codes(guide: Program, x: Tensor, *, site: str = "z") -> Tensor:
    """The mean of q(z | x) for each row, as features for other methods.

    Args:
        guide: q(z | x).
        x: (B, D).
        site: which latent site.

    Returns:
        (B, L).

    Raises:
        ValueError: the guide has no such site, or it is a category, or its mean is not known, as that of a
            site that is drawn given another.

    Example:
        >>> from pyrovae.guides import Amortized
        >>> codes(Amortized(64, 2), torch.zeros(3, 64)).shape
        torch.Size([3, 2])
    """
    x = as_rows(x, guide)
    with torch.random.fork_rng(), own_parameters():
        drawn = latent_sites(poutine.trace(guide).get_trace(x))
        again = latent_sites(poutine.trace(guide).get_trace(x)) if len(drawn) > 1 else drawn
    found = {name: one for name, one in drawn.items() if one["value"].is_floating_point()}
    if site not in found:
        known = ", ".join(map(repr, found)) or "none"
        raise ValueError(f"the guide has no continuous site {site!r}; such sites of it: {known}")
    try:
        mean: Tensor = found[site]["fn"].mean
    except NotImplementedError as error:  # how torch says that a distribution knows no mean
        raise ValueError(
            f"the mean of site {site!r} is not known in closed form, as for the family 'flow': take that of "
            "draws, as pyrovae.diagnostics.linear_probe does"
        ) from error
    if not torch.equal(mean, again[site]["fn"].mean):
        raise ValueError(
            f"the mean of site {site!r} depends on the draw of another site: take that of draws, as "
            "pyrovae.diagnostics.linear_probe does"
        )
    return mean


def probe_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, *, strength: float = 1.0
) -> float:
    """Accuracy of a linear classifier of some features on rows that it has not seen.

    Args:
        train: (N, F), features to learn from.
        train_labels: (N,), their classes.
        test: (M, F), features to be judged by.
        test_labels: (M,), their classes.
        strength: inverse of the penalty, for features scaled to unit variance.

    Returns:
        Share of the test rows whose class is found, from 0 to 1.

    Raises:
        ValueError: features of different shapes, or one class to learn from.

    Source: Understanding intermediate layers using linear classifier probes (Alain & Bengio, 2016).

    How to read it: beside the same probe on raw pixels, and on as many principal components: a code is a
    good summary if little of the class is lost.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [0.1], [0.9]])
        >>> y = torch.tensor([0, 1, 0, 1])
        >>> probe_accuracy(x, y, x, y)
        1.0
    """
    # Here, so that to import the package does not wait for scikit-learn.
    from sklearn.linear_model import LogisticRegression

    classes = train_labels.unique()
    if train.dim() != 2 or train.shape[1:] != test.shape[1:] or len(classes) < 2:
        raise ValueError(
            f"the features have the shapes {tuple(train.shape)} and {tuple(test.shape)}, and the labels to "
            f"learn from {len(classes)} class(es): rows of the same features are needed, (N, F) and (M, F), "
            "of at least two classes"
        )
    rounding = 10 * torch.finfo(train.dtype).eps if train.is_floating_point() else 0.0
    train, test = train.detach().double(), test.detach().double()
    mean, scale = train.mean(0), train.std(0)
    # What varies by no more than rounding is left out, not scaled up.
    scale = torch.where(scale > rounding * train.abs().amax(0), scale, torch.inf)
    probe = LogisticRegression(C=strength, max_iter=2000)
    probe.fit(((train - mean) / scale).cpu().numpy(), train_labels.cpu().numpy())
    return float(probe.score(((test - mean) / scale).cpu().numpy(), test_labels.cpu().numpy()))


@torch.no_grad()
def traverse(model: GenerativeModel, z: Tensor, values: Tensor) -> Tensor:
    """Mean images along each latent dimension in turn, the others held.

    Args:
        model: with a method ``decode``.
        z: (L,), where the walks start.
        values: (V,), what the dimension that moves is set to.

    Returns:
        (L, V, D), in units of x.

    Example:
        >>> from pyrovae.models import VAE
        >>> traverse(VAE(64, latent=3), torch.zeros(3), torch.linspace(-2, 2, 5)).shape
        torch.Size([3, 5, 64])
    """
    dimensions = len(z)
    walks = z.expand(dimensions, len(values), dimensions).clone()
    each = torch.arange(dimensions)
    walks[each, :, each] = values.to(z)
    mean: Tensor = model.decode(walks).mean
    return mean


@torch.no_grad()
def manifold(model: GenerativeModel, *, side: int = 15, reach: float = 0.95) -> Tensor:
    """Mean images on a grid of a two-dimensional latent space, evenly spaced in probability of the prior.

    Args:
        model: with two standard normal latent dimensions.
        side: images along each axis, at least 2.
        reach: how much of each axis's probability the grid covers.

    Returns:
        (side, side, D), in units of x; the first axis is z2 from above to below, the second z1.

    Raises:
        ValueError: the latent is no vector of two numbers, `side` is below 2, or `reach` is no share.

    Source: Auto-encoding variational Bayes (Kingma & Welling, 2014), its figure 4.

    Example:
        >>> from pyrovae.models import VAE
        >>> manifold(VAE(64, latent=2), side=3).shape
        torch.Size([3, 3, 64])
    """
    whole_number("side", side, least=2)
    if not 0.0 < reach < 1.0:
        raise ValueError(
            f"reach is {reach}: a share of the probability lies between 0 and 1, both left out"
        )
    prior = model.prior()
    if prior.event_shape != (2,):
        what = "dimensions" if prior.event_shape else "categories"
        raise ValueError(f"the model has {model.latent} latent {what}: a plane has 2 dimensions")
    like = prior.mean
    share = torch.linspace(
        0.5 - reach / 2, 0.5 + reach / 2, side, dtype=like.dtype, device=like.device
    )
    line = torch.distributions.Normal(0.0, 1.0).icdf(share)
    z2, z1 = torch.meshgrid(line.flip(0), line, indexing="ij")
    mean: Tensor = model.decode(torch.stack([z1, z2], -1)).mean
    return mean
