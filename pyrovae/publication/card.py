"""The model card: what a published model is, how good it is known to be, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = """\
# {title}

A latent-variable model p(x, z) and an approximation q(z given x) of its posterior, written in Pyro, fitted
and checked by [pyrovae](https://pypi.org/project/pyrovae) {version}. The folder holds safetensors and JSON:
no code, nothing that could run when it is opened.

| | |
|---|---|
| model | {model} |
| guide | {guide} |
| objective | {objective} |
| data | {data} |
| trained numbers | {parameters} |
| training | {epochs} epochs, {steps} steps, seed {seed} |
| versions | {versions} |

## How well it explains rows it has not seen

Nats per datapoint, larger is better, plus or minus one standard error of the sampling, on the test rows.

| | |
|---|---|
| log evidence, estimated by {evidence} | {log_evidence} |
| exact log evidence | {exact} |
| ELBO | {elbo} |
| lost by the guide | {gap} |
| rows whose k-hat says that the estimate cannot be trusted | {k_hat} |

## How to use it

```python
import torch
from pyrovae.publishing import load_model

model, guide, card = load_model("{folder}")
with torch.no_grad():
    z = model.prior().sample((16,))
    x = model.decode(z).sample()     # new rows, shape (16, {features})
    means = model.decode(z).mean     # their means: not samples
```
{exported}
`guide(x)` draws z given rows x of shape (B, {features}). Pixel values and noise must be as in the data named
above: {form}.
"""

EXPORTED = """
Without Pyro, and without this package:

```python
import torch

{examples}
```
"""


def card(
    record: Mapping[str, Any],
    *,
    folder: str,
    features: int,
    evidence: str,
    k_hat: str,
    programs: Mapping[str, str],
) -> str:
    """The text of a model card.

    Args:
        record: of the run that made the model.
        folder: its name, for the example.
        features: D.
        evidence: what estimated the log evidence.
        k_hat: what the diagnostic says, in words.
        programs: what each exported program returns, by its file's name.
    """
    data = record["data"]
    rows = data.get("rows", {})
    examples = "\n".join(
        f'{returns} = torch.export.load("{folder}/{file}").module()({given})'
        for file, returns in programs.items()
        for given in ("x" if file.startswith("encoder") else "z",)
    )
    exact = record.get("exact_log_evidence")
    return CARD.format(
        title=f"{record['model']} of {data.get('name', 'data')}",
        version=record["versions"].get("pyrovae", ""),
        model=_part(record, "model"),
        guide=_part(record, "guide"),
        objective=_part(record, "objective"),
        data=f"{data.get('name')}, {data.get('form', '')}, {rows.get('train')} training rows",
        parameters=f"{record['parameters']:,}",
        epochs=record["epochs"],
        steps=f"{record['steps']:,}",
        seed=record["seed"],
        versions=", ".join(f"{name} {number}" for name, number in record["versions"].items()),
        evidence=evidence,
        log_evidence=_with_error(record, "test_log_evidence"),
        exact="not known in closed form" if exact is None else f"{exact:.3f}",
        elbo=_with_error(record, "test_elbo"),
        gap=_number(record.get("inference_gap")),
        k_hat=k_hat,
        folder=folder,
        features=features,
        form=data.get("form", "as they were"),
        exported=EXPORTED.format(examples=examples) if programs else "",
    )


def _part(record: Mapping[str, Any], kind: str) -> str:
    return in_words(record[kind], record.get(f"{kind}_options", {}))


def in_words(name: str, options: Mapping[str, Any]) -> str:
    """A part and its options, for a cell of the card's table.

    >>> in_words("ImportanceSampling", {"num_particles": 5000})
    'ImportanceSampling(num_particles=5000)'
    """
    told = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"{name}({told})".replace("|", "\\|")


def _with_error(record: Mapping[str, Any], key: str) -> str:
    return f"{_number(record.get(key))} ± {_number(record.get(f'{key}_se'))}"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3f}"
