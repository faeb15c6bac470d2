"""What the numbers of a diagnosis mean, in sentences. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Numbers = Mapping[str, float]

AGREE = 3.0  # standard errors within which two estimates are said to agree


def verdicts(numbers: Numbers) -> list[str]:
    """Say in words what a diagnosis found, one sentence or two for each thing that was looked at.

    Args:
        numbers: as `pyrovae.running.diagnosis.Diagnosis.numbers` names them; what is missing is not said.

    Example:
        >>> verdicts({"k_hat_bad_share": 0.12, "k_hat_threshold": 0.7, "ess_median": 90, "particles": 1000})
        ['12% of the rows have a k-hat above 0.70: importance sampling with this guide is unreliable there, \
and log p(x) may be higher than it says. The median row has an effective sample size of 90 of 1000 draws.']
    """
    said = [say(numbers) for needed, say in _SPEAKERS if needed <= numbers.keys()]
    return [sentence for sentence in said if sentence]


def _evidence(n: Numbers) -> str:
    value, error, elbo = n["log_evidence"], n["log_evidence_se"], n["elbo"]
    said = (
        f"log p(x) is {value:.2f} (standard error {error:.2f}) nats per row by importance sampling with "
        f"{n['particles']:.0f} draws, over {n['rows']:.0f} rows; the ELBO is {elbo:.2f}, so the guide loses "
        f"{value - elbo:.2f} nats"
    )
    if "exact_log_evidence" in n:
        return f"{said}. The exact value is {n['exact_log_evidence']:.2f}."
    return f"{said}."


def _k_hat(n: Numbers) -> str:
    share, limit = n["k_hat_bad_share"], n["k_hat_threshold"]
    ess = (
        f" The median row has an effective sample size of {n['ess_median']:.0f} of {n['particles']:.0f} "
        "draws."
    )
    if share == 0:
        trust = "importance sampling with this guide can be trusted"
        return f"No row has a k-hat above {limit:.2f}: {trust}.{ess}"
    return (
        f"{_percent(share)} of the rows have a k-hat above {limit:.2f}: importance sampling with this guide "
        f"is unreliable there, and log p(x) may be higher than it says.{ess}"
    )


def _annealed(n: Numbers) -> str:
    value, error = n["annealed_log_evidence"], n["annealed_log_evidence_se"]
    by = n["annealed_less_importance"]
    said = (
        f"Annealed importance sampling says {value:.2f} (standard error {error:.2f}) on the first "
        f"{n['annealed_rows']:.0f} rows, {abs(by):.2f} nats {'more' if by >= 0 else 'less'} than importance "
        "sampling on the same rows"
    )
    if abs(by) <= AGREE * n.get("annealed_less_importance_se", error) + 0.02:
        return f"{said}: they agree."
    if by > 0:
        return f"{said}: the guide misses a part of the posterior, and its estimate is too low."
    return f"{said}: the chains are too short for this model; give them more temperatures."


def _sandwich(n: Numbers) -> str:
    gap, error = n["sandwich_gap"], n.get("sandwich_gap_se", 0.0)
    trust = "can be trusted" if gap < 0.5 else "needs more temperatures"
    # Below 0 by the noise of the two bounds alone: there is no order left to speak of.
    apart = f"{gap:.2f} nats apart" if gap > 0 else f"the same to within {abs(gap):.2f} nats"
    return (
        f"On data simulated from the model the truth lies between two annealed bounds that are {apart} on "
        f"average (bidirectional Monte Carlo, standard error {error:.2f}): annealing {trust} here."
    )


def _gap(n: Numbers) -> str:
    family, encoder = n["approximation_gap"], n["amortization_gap"]
    said = (
        f"Of the {n['inference_gap']:.2f} nats that the guide loses on the first {n['gap_rows']:.0f} rows, "
        f"{family:.2f} are its family's (approximation) and {encoder:.2f} its encoder's (amortization)"
    )
    if max(family, encoder) < 0.05:
        advice = "there is nothing to gain from another guide"
    elif encoder > 1.5 * family:
        advice = "a larger encoder, or guides.SemiAmortized, would gain more than a richer family"
    elif family > 1.5 * encoder:
        advice = "a richer family ('full' or 'flow') would gain more than a larger encoder"
    else:
        advice = "a richer family and a larger encoder would gain about as much"
    late = "" if n.get("gaps_converged", 1.0) else " The best of the family was still rising."
    return f"{said}: {advice}.{late}"


def _information(n: Numbers) -> str:
    told, wasted, most = n["mutual_information"], n["mismatch"], math.log(n["information_rows"])
    said = f"z says {told:.2f} nats about which row it is, of {most:.2f} at most"
    if told < 0.1:
        said += ": the posterior has collapsed, z carries nothing"
    elif told > 0.95 * most:
        said += ": it tells every row from all others"
    said += f". The prior and the posteriors taken together differ by {wasted:.2f} nats"
    if wasted > 1.0:
        return (
            f"{said}: draws from the prior land where no data are, so samples look worse than fits."
        )
    return f"{said}."


def _units(n: Numbers) -> str:
    return f"{n['active_units']:.0f} of {n['units']:.0f} latent dimensions are active."


def _calibration(n: Numbers) -> str:
    p = n["calibration_p"]
    said = f"On {n['calibration_simulations']:.0f} rows simulated from the model"
    if p > 1e-3:
        return f"{said}, nothing speaks against the guide's posteriors (p = {p:.2g})."
    faults = []
    if n["calibration_shift_p"] < 1e-3:
        faults.append("shifted")
    if n["calibration_width_p"] < 1e-3:
        faults.append("of the wrong width or shape")
    tail = f"p = {p:.1g}" if p > 1e-99 else "p < 1e-99"
    return f"{said}, the guide's posteriors are {' and '.join(faults)} ({tail})."


def _predictions(n: Numbers) -> str:
    prefix = "predictive_p_"
    every = {key.removeprefix(prefix): p for key, p in n.items() if key.startswith(prefix)}
    odd = {name: p for name, p in every.items() if min(p, 1 - p) < 0.01}
    if not odd:
        return f"Data drawn in place of the real ones look like them in {_list(list(every))}."
    sides = [f"{name} (too {'high' if p > 0.5 else 'low'})" for name, p in odd.items()]
    return f"Data drawn in place of the real ones differ from them in {_list(sides)}."


def _probe(n: Numbers) -> str:
    return f"A linear classifier names the class of {_percent(n['probe_accuracy'])} of the rows from z alone."


def _clusters(n: Numbers) -> str:
    return (
        f"Clusters and classes agree to {n['cluster_adjusted_rand']:.2f} (adjusted Rand index; 1 is the same "
        f"partition, 0 chance); {_percent(n['cluster_purity'])} of the rows are of their cluster's "
        "main class."
    )


def _percent(share: float) -> str:
    """A share as a whole percentage, without rounding something to nothing or to everything."""
    if 0 < share < 0.01:
        return "Less than 1%"
    return f"{min(round(100 * share), 99 if share < 1 else 100)}%"


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


_SPEAKERS: list[tuple[set[str], Callable[[Numbers], str]]] = [
    ({"log_evidence", "log_evidence_se", "elbo", "particles", "rows"}, _evidence),
    ({"k_hat_bad_share", "k_hat_threshold", "ess_median", "particles"}, _k_hat),
    ({"annealed_log_evidence", "annealed_less_importance"}, _annealed),
    ({"sandwich_gap"}, _sandwich),
    ({"approximation_gap", "amortization_gap", "inference_gap"}, _gap),
    ({"mutual_information", "mismatch"}, _information),
    ({"active_units", "units"}, _units),
    ({"calibration_p"}, _calibration),
    ({"predictive_p_mean"}, _predictions),
    ({"probe_accuracy"}, _probe),
    ({"cluster_adjusted_rand"}, _clusters),
]
