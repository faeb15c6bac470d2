"""What the latents know of labels that training never saw."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.programs import Program
from pyrovae.representation import probe_accuracy
from pyrovae.sampling.posterior import as_vectors, posterior_draws


def linear_probe(
    guide: Program,
    x: Tensor,
    labels: Tensor,
    test_x: Tensor,
    test_labels: Tensor,
    *,
    num_particles: int = 32,
    seed: int = 0,
) -> float:
    r"""Accuracy of a linear classifier that sees nothing but the posterior mean of z.

    .. math:: \hat y = \arg\max_c \; (A \, E_{q(z \mid x)} z + b)_c

    Args:
        guide: q(z | x), of any rows.
        x: (N, D), rows the classifier learns from.
        labels: (N,), their classes.
        test_x: (M, D), rows it is scored on.
        test_labels: (M,), their classes.
        num_particles: draws that the posterior mean is taken over.
        seed: of the draws.

    Returns:
        The share of test rows whose class is named right, from 0 to 1.

    Source: Understanding intermediate layers using linear classifier probes (Alain & Bengio, 2016).

    How to read it: compare it with the same probe on x itself; a higher share says that the latents
    hold the classes apart in a simpler way than the pixels do.

    Example:
        >>> from pyrovae.guides import Amortized
        >>> x, y = torch.randn(40, 5), torch.arange(40) % 2
        >>> 0 <= linear_probe(Amortized(5, 2), x, y, x, y) <= 1
        True
    """
    features = [
        as_vectors(
            posterior_draws(guide, rows, num_particles=num_particles, seed=seed), len(rows)
        ).mean(0)
        for rows in (x, test_x)
    ]
    return probe_accuracy(features[0], labels, features[1], test_labels)


@dataclass(frozen=True)
class ClusterAgreement:
    """How far clusters and classes are the same partition.

    Attributes:
        adjusted_rand: 1 for the same partition, 0 on average for a random one.
        normalised_mutual_information: from 0 to 1.
        accuracy: the share that is right if each cluster is named after a class of its own, at best.
        purity: the share that is right if each cluster is named after its most frequent class.
    """

    adjusted_rand: float
    normalised_mutual_information: float
    accuracy: float
    purity: float


def cluster_agreement(clusters: Tensor, labels: Tensor) -> ClusterAgreement:
    """Compare the clusters that a mixture found with classes that it never saw.

    Args:
        clusters: (N,) whole numbers, or (N, C) responsibilities, of which the largest counts.
        labels: (N,) whole numbers of any type, the classes; which numbers does not count.

    Returns:
        A `ClusterAgreement`.

    Raises:
        ValueError: no rows, or clusters of other rows than the labels.

    Source: Comparing partitions (Hubert & Arabie, 1985); The Hungarian method (Kuhn, 1955) for accuracy.

    How to read it: purity rises with the number of clusters by itself; the adjusted Rand index does not.

    Example:
        >>> cluster_agreement(torch.tensor([2, 2, 0, 0]), torch.tensor([0, 0, 1, 1])).accuracy
        1.0
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    found = clusters.argmax(-1) if clusters.dim() == 2 else clusters
    if found.shape != labels.shape or labels.dim() != 1 or not len(labels):
        raise ValueError(
            f"clusters have the shape {tuple(clusters.shape)} and labels {tuple(labels.shape)}: one of each "
            "for every row is needed, (N,) whole numbers or (N, C) responsibilities, and (N,)"
        )
    found_array, label_array = found.cpu().numpy(), labels.cpu().numpy()
    table = contingency_matrix(found_array, label_array)
    rows, columns = linear_sum_assignment(-table)
    return ClusterAgreement(
        float(adjusted_rand_score(label_array, found_array)),
        float(normalized_mutual_info_score(label_array, found_array)),
        float(table[rows, columns].sum() / len(label_array)),
        float(table.max(1).sum() / len(label_array)),
    )


def cluster_of(guide: Program, x: Tensor, *, num_particles: int = 32, seed: int = 0) -> Tensor:
    """The most frequent category among a guide's draws, for each row: (B,) whole numbers.

    Example:
        >>> from pyrovae.guides import Amortized
        >>> cluster_of(Amortized(5, 3, family="categorical"), torch.zeros(4, 5)).shape
        torch.Size([4])
    """
    values = posterior_draws(guide, x, num_particles=num_particles, seed=seed)
    categories = [value for value in values.values() if not value.is_floating_point()]
    if len(categories) != 1:
        raise ValueError(
            f"the guide draws {len(categories)} categories for each row: one is needed"
        )
    return torch.mode(categories[0], 0).values
