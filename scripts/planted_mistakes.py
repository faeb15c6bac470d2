"""Mistakes that estimators of log p(x) are known for, made on purpose, for `check_evidence.py`."""

from unittest.mock import patch

import torch

from pyrovae.sampling import annealing
from pyrovae.sampling.hmc import transition


def missing_log_count(log_weights):
    """The sum for the mean."""
    return log_weights.logsumexp(0)


def wrong_count(log_weights, chunk=7):
    """Divided by as many draws as the chunks could have held, not by those there are."""
    count, chunks = len(log_weights), -(-len(log_weights) // chunk)
    return log_mean_exp(log_weights) + torch.tensor(count / (chunks * chunk)).log()


def mean_of_logarithms(log_weights):
    """The mean for the log-mean-exp: the ELBO."""
    return log_weights.mean(0)


def scale_in_the_exponent(log_weights, scale=10.0):
    """The scale of a subsampled plate, N / B = 10, multiplied before the exponential and divided after."""
    return log_mean_exp(scale * log_weights) / scale


def log_mean_exp(log_weights):
    """As it should be."""
    return log_weights.logsumexp(0) - torch.tensor(float(len(log_weights))).log()


def steps_that_follow_their_chain():
    """Adaptation inside a chain: a refused chain takes shorter steps, so that it lingers where it is."""
    own = {}

    def adapting(ends, state, beta, step, precision, leapfrogs):
        factor = own.get(state.start.shape, torch.ones_like(state.start))
        moved, accept = transition(ends, state, beta, step * factor, precision, leapfrogs)
        taken = (moved.position != state.position).any(-1)
        own[state.start.shape] = torch.where(taken, 1.1 * factor, 0.5 * factor)
        return moved, accept

    return patch.object(annealing, "transition", adapting)
