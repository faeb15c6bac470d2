"""The scripts of the published tables, on digits that need no download."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pyrovae.records import OutputFolder
from pyrovae.training.interrupts import Interrupted

TABLES = Path(__file__).parent.parent.parent / "scripts" / "tables"


@pytest.fixture
def tables(monkeypatch):
    """The modules of the scripts, gone again afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(TABLES))
    import as_coded
    import burda2016
    import cells
    import cremer2018
    import li_turner2016
    import rainforth2018
    import recording
    import tables
    import typed

    yield {
        "cells": cells,
        "tables": tables,
        "recording": recording,
        "typed": typed,
        "scripts": (burda2016, li_turner2016, rainforth2018),
        "cremer": cremer2018,
        "as_coded": as_coded,
    }
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == TABLES:
            del sys.modules[name]


def tiny(tables, **options):
    return (
        tables["cells"]
        .one_layer(
            {"name": "Digits", "form": "binary"},
            {"name": "IWAE", "num_particles": 2},
            passes=3,
            latent=2,
            hidden=(5,),
            batch_size=400,
            **options,
        )
        .updated({"evidence": {"name": "ImportanceSampling", "num_particles": 20}})
    )


def options_of(tables, tmp_path, *arguments):
    return tables["typed"].options_of(
        "", ["--results", str(tmp_path / "r"), "--particles", "20", "--images", "30", *arguments]
    )


def test_every_cell_of_every_table_makes_a_configuration_of_its_own(tables, tmp_path):
    for script in tables["scripts"]:
        made = script.cells(options_of(tables, tmp_path))
        names = {cell.config.complete().run_name for cell in made}
        setups = getattr(script, "SETUPS", ["one"])
        assert len(names) == len(made) == len(setups) * len(script.PUBLISHED)
        assert all(-140 < cell.published < -80 for cell in made)


def test_a_run_that_is_out_of_time_is_evaluated_and_goes_on_later(tables, tmp_path, monkeypatch):
    module, output = tables["tables"], OutputFolder.claim(tmp_path / "out")
    options, config = options_of(tables, tmp_path), tiny(tables)
    whole = module.carry_out(config, OutputFolder.claim(tmp_path / "whole"), float("inf"), options)
    untrained = module.carry_out(config, output, time.monotonic() - 1, options)
    with monkeypatch.context() as patched:
        clock = iter([0.0, 2.0, 2.0, 2.0])
        patched.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        cut = module.carry_out(config, output, 1.0, options)
    after = module.carry_out(config, output, float("inf"), options)
    assert untrained["status"] == cut["status"] == "partial"
    assert untrained["passes"] == 0 < cut["passes"] < 3
    assert cut["data"]["binarisation"] == "dynamic"
    assert cut["log p error"] > 0
    assert after["status"] == "finished"
    assert after["log p"] == whole["log p"]


def test_a_run_begun_before_parts_had_new_options_is_found(tables, tmp_path):
    output, config = OutputFolder.claim(tmp_path / "out"), tiny(tables).complete()
    folder = output.run("of-long-ago")
    text = config.to_yaml()
    folder.start(text.replace("  activation: tanh\n", ""))
    assert tables["tables"].folder_of(config, output).name == config.run_name
    folder.start("\n".join(line for line in text.splitlines() if "show_missing" not in line))
    assert tables["tables"].folder_of(config, output).name == "of-long-ago"


def test_a_signal_of_ones_own_ends_the_script(tables, tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise Interrupted("stopped", 2)

    monkeypatch.setattr(tables["tables"], "run", stopped)
    output = OutputFolder.claim(tmp_path / "out")
    with pytest.raises(Interrupted):
        tables["tables"].carry_out(tiny(tables), output, float("inf"), options_of(tables, tmp_path))


RUN = {
    "log p": -86.0,
    "log p error": 0.01,
    "passes": 2,
    "of passes": 3,
    "status": "partial",
    "data": {"rows": {"test": 30}},
    "evaluations": [{"log p": -86.0, "error": 0.01, "seed": 0, "images": 30, "particles": 20}],
}


def test_the_file_keeps_other_seeds_and_the_table_says_what_is_partial(tables, tmp_path):
    module, path = tables["recording"], tmp_path / "mine.json"
    cell = tables["cells"].Cell("A", tiny(tables), -85.0, "somebody 2000", (-84.5, -85.5))
    again = RUN["evaluations"][0]
    spread = [again, again | {"log p": -86.2, "seed": 1}, again | {"log p": -99.0, "images": 5}]
    module.record("mine", cell, 0, RUN | {"evaluations": spread}, tmp_path, 1)
    module.record("mine", cell, 1, RUN | {"log p": -88.0}, tmp_path, 1)
    held = json.loads(path.read_text())["A"]["runs"]
    assert set(held) == {"0", "1"}
    assert held["0"]["config"]["fit"]["epochs"] == 3
    assert "versions" in held["1"]
    line = module.text(path).splitlines()[-1]
    assert "-87.00 (0.010) ± 1.41 over 2 seeds, 0.14 over evaluations" in line
    assert "2 of 3" in line
    assert "-85.50 to -84.50" in line


def test_a_recorded_run_is_not_replaced_by_another_or_by_less(tables, tmp_path):
    module, path = tables["recording"], tmp_path / "mine.json"
    make = tables["cells"].Cell
    cell, longer = (
        make("A", tiny(tables).updated({"fit": {"epochs": n}}), -85.0, "somebody") for n in (3, 5)
    )
    assert module.refusal(path, cell, 0) is None
    module.record("mine", cell, 0, RUN | {"status": "finished"}, tmp_path, 1)
    module.record("mine", cell, 0, RUN | {"log p": -99.0}, tmp_path, 1)
    assert json.loads(path.read_text())["A"]["runs"]["0"]["log p"] == -86.0
    assert module.refusal(path, cell, 0) is None
    assert module.refusal(path, longer, 1) is None
    assert "fit.epochs was 3, is 5" in module.refusal(path, longer, 0)
    options = options_of(tables, tmp_path, "--results", str(tmp_path))
    with pytest.raises(ValueError, match="--replace"):
        tables["tables"].fill("mine", [longer], options)


def test_every_recorded_run_is_one_that_its_script_makes(tables, tmp_path):
    module, seen = tables["recording"], 0
    for script in tables["scripts"]:
        path = module.RESULTS / f"{script.__name__}.json"
        for name, held in (json.loads(path.read_text()) if path.exists() else {}).items():
            for run in held.get("runs", {}).values():
                options = options_of(tables, tmp_path, "--passes", str(run["of passes"]))
                cell = next(c for c in script.cells(options) if c.name == name)
                assert not module.differences(run["config"], module.described(cell.config))
                assert cell.published == held["published"]
                seen += 1
    assert seen > 10


@pytest.mark.parametrize(
    "wrong",
    [["--passes", "0"], ["--images", "-3"], ["--minutes", "nan"], ["--seeds", "0", "x"]],
)
def test_what_is_typed_is_looked_at_first(tables, tmp_path, wrong, capsys):
    with pytest.raises(SystemExit):
        options_of(tables, tmp_path, *wrong)
    assert "expected" in capsys.readouterr().err


def test_a_mistake_is_one_sentence_and_a_stop_says_how_to_go_on(tables, capsys):
    with pytest.raises(SystemExit, match="mine: no network"), tables["typed"].spoken("mine"):
        raise ConnectionError("no network")
    with pytest.raises(SystemExit) as stopped, tables["typed"].spoken("mine"):
        raise Interrupted("stopped", 15)
    assert stopped.value.code == 143
    assert "goes on" in capsys.readouterr().err


def test_gaps_add_up(tables):
    from pyrovae.experiment import Experiment

    found = tables["cremer"].decompose(Experiment.build(tiny(tables)), "test", 2)
    assert found["approximation"] + found["amortization"] == pytest.approx(found["inference"])
    estimates = [found[f"log p, {name}importance sampling"] for name in ("", "annealed ")]
    assert found["log p"] == max(estimates)


def test_location_and_log_scale_begin_alike_as_coded(tables):
    torch.manual_seed(0)
    guide = tables["as_coded"].Amortized(7, 3, hidden=[5])
    model = tables["as_coded"].VAE(7, latent=3, hidden=[5])
    location, log_scale = guide.encoder.layers[2].weight.split(3)
    assert torch.equal(location, log_scale)
    assert location.abs().max() <= (6 / (5 + 3)) ** 0.5
    again = tables["as_coded"].VAE(7, latent=3, hidden=[5])
    assert all(map(torch.equal, model.parameters(), again.parameters()))


def test_independent_layers_are_of_one_seed_but_differ(tables):
    def heads():
        torch.manual_seed(0)
        guide = tables["as_coded"].Amortized(7, 3, hidden=[5], equal=False)
        return guide.encoder.layers[2].weight.split(3)

    (location, log_scale), again = heads(), heads()
    assert (location != log_scale).all()
    assert torch.equal(location, again[0])
    assert max(location.abs().max(), log_scale.abs().max()) <= (6 / (5 + 3)) ** 0.5


def test_adam_as_coded_steps_with_the_moments_before_its_gradient(tables):
    larger, beta1, beta2 = 8.0, 0.99, 0.999
    ours = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = tables["as_coded"].Adam([ours], lr=1e-3, larger=larger)
    first, second, theirs = torch.zeros_like(ours), torch.ones_like(ours), torch.zeros_like(ours)
    for step, summed in enumerate(
        ([5.0, 0.1], [-3.0, 0.2], [2.0, -7.0], [-7.0, 0.0], [1.0, 1.0]), 1
    ):
        gradient = torch.tensor(summed, dtype=torch.float64)
        ours.grad = larger * gradient
        optimizer.step()
        rate = 1e-3 * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        theirs = theirs - rate * first / (second.sqrt() + 1e-4)
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient.square()
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-12, atol=0)


def test_the_scale_as_coded_is_an_exponential(tables):
    family = tables["as_coded"].LogScales(2)
    parameters = torch.tensor([[0.5, -1.0, 0.0, 2.0]])
    base = family.distribution(parameters).base_dist
    assert torch.equal(base.loc, parameters[:, :2])
    assert torch.equal(base.scale, parameters[:, 2:].exp())
    moved = family.transport(parameters, torch.ones(1, 2))
    torch.testing.assert_close(moved, base.loc + base.scale)
