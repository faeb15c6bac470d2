import functools
import math

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from pyro.nn import PyroModule
from torch import nn

from pyrovae import checkpoint
from pyrovae.data import Digits
from pyrovae.densities.missing import known_missing
from pyrovae.fit import fit
from pyrovae.guides import Amortized, ExactPosterior, PerDatapoint
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA
from pyrovae.objectives import ELBO, IWAE, Renyi

STILL = functools.partial(torch.optim.SGD, lr=0.0)
quietly = functools.partial(fit, progress=False)


def rows(count, features=5, dtype=torch.float64, seed=0):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pca(dtype=torch.float64, features=5):
    torch.manual_seed(1)
    return ProbabilisticPCA(features, latent=2).to(dtype)


def state_of(*modules):
    return [p.detach().clone() for module in modules for p in module.parameters()]


@pytest.mark.parametrize("objective", [ELBO(), IWAE(num_particles=3), Renyi(alpha=2.0)])
@pytest.mark.parametrize("batch_size", [7, 50])
def test_with_the_exact_posterior_the_bounds_are_the_exact_evidence(objective, batch_size):
    model = pca()
    x, held_out = rows(50), rows(20, seed=1)
    history = quietly(
        model,
        ExactPosterior(model),
        x,
        objective,
        validation=held_out,
        optim=STILL,
        epochs=2,
        batch_size=batch_size,
    )
    exact = model.exact_log_evidence(x).mean().item()
    assert history.train_bound == pytest.approx([exact, exact], rel=1e-10)
    expected = model.exact_log_evidence(held_out).mean().item()
    assert history.validation_bound == pytest.approx([expected, expected], rel=1e-10)
    assert history.step.tolist() == [-(-50 // batch_size), 2 * -(-50 // batch_size)]


def test_programs_without_a_plate_over_the_data_set_give_the_same_bound():
    model = pca()
    guide = ExactPosterior(model)
    x = rows(50)
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    history = quietly(
        lambda x: model(x), lambda x: guide(x), x, optim=still, epochs=1, batch_size=7
    )
    exact = model.exact_log_evidence(x).mean().item()
    assert history.train_bound == pytest.approx([exact], rel=1e-10)


def test_same_seed_same_parameters_and_another_seed_others():
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(0)
        model, guide = VAE(64, latent=2, hidden=(8,)), Amortized(64, 2, hidden=(8,))
        quietly(model, guide, Digits(), epochs=1, seed=seed)
        found.append(state_of(model, guide))
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True))


def test_global_state_is_left_as_found():
    pyro.param("mine", torch.ones(2))
    model, guide = pca(torch.float32), Amortized(5, 2, hidden=(4,))
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    quietly(model, guide, rows(20, dtype=torch.float32), epochs=2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert list(pyro.get_param_store().keys()) == ["mine"]


def test_the_best_parameters_on_the_validation_rows_are_kept():
    model = pca()
    guide = ExactPosterior(model)
    x, held_out = rows(12), rows(40, seed=1)
    history = quietly(
        model,
        guide,
        x,
        validation=held_out,
        optim=functools.partial(torch.optim.Adam, lr=0.3),
        epochs=60,
    )
    best = history.validation_bound.max()
    assert history.validation_bound[-1] < best  # it overfits twelve rows
    assert history.validation_bound[history.best_epoch - 1] == best
    assert model.exact_log_evidence(held_out).mean().item() == pytest.approx(best, rel=1e-10)


def test_patience_stops_a_fit_that_no_longer_improves():
    model = pca()
    history = quietly(
        model,
        ExactPosterior(model),
        rows(20),
        validation=rows(9),
        optim=STILL,
        epochs=50,
        patience=3,
    )
    assert history.stopped_early
    assert history.epoch.tolist() == [1, 2, 3, 4]
    assert history.best_epoch == 1


def test_rows_with_parameters_of_their_own_are_not_validated():
    data = Digits()
    model = VAE(64, latent=2, hidden=(8,))
    guide = PerDatapoint(len(data.train), 2)
    before = guide.table.detach().clone()
    history = quietly(model, guide, data, epochs=2, batch_size=400)
    assert np.isnan(history.validation_bound).all()
    assert history.best_epoch == 2
    assert (guide.table != before).any(dim=1).all()  # every row was visited
    with pytest.raises(TypeError, match="cannot score rows"):
        quietly(model, guide, data, epochs=2, patience=1)


class Spy(ProbabilisticPCA):
    def forward(self, x, index=None, size=None):
        if index is not None:
            self.seen.append((index.clone(), x.clone(), size))
        return ProbabilisticPCA.forward(self, x, index, size)


def test_noise_is_drawn_anew_at_every_visit_and_every_row_is_visited():
    data = Digits()
    model = Spy(64, latent=2)
    model.seen = []
    quietly(model, ExactPosterior(model), data, optim=STILL, epochs=2, batch_size=500)
    visits = model.seen[-6:]
    index = torch.cat([i for i, _, _ in visits])
    x = torch.cat([x for _, x, _ in visits])
    assert sorted(index.tolist()) == sorted([*range(1200), *range(1200)])
    assert {len(i) for i, _, _ in visits} == {400}  # batches of one size
    assert {size for _, _, size in visits} == {1200}
    first, second = x[index == 17]
    assert not torch.equal(first, second)
    assert torch.equal((first * 17).floor(), (second * 17).floor())
    assert torch.equal((first * 17).floor(), data.train.stored[17].float())


def test_a_schedule_is_stepped_once_an_epoch():
    model = pca()
    made = []

    def schedule(optimizer):
        made.append(torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5))
        return made[0]

    optim = functools.partial(torch.optim.Adam, lr=0.8)
    quietly(
        model,
        ExactPosterior(model),
        rows(20),
        optim=optim,
        scheduler=schedule,
        epochs=3,
        batch_size=5,
    )
    assert made[0].get_last_lr() == [pytest.approx(0.1)]


@pytest.mark.parametrize("optim", [pyro.optim.Adam({"lr": 1e-2}), None])
@pytest.mark.parametrize("objective", [pyro.infer.Trace_ELBO(), IWAE(num_particles=2)])
def test_stock_and_own_objectives_and_optimisers_train(optim, objective):
    model, guide = pca(torch.float32), Amortized(5, 2, hidden=(4,))
    before = state_of(model, guide)
    history = quietly(model, guide, rows(40, dtype=torch.float32), objective, optim=optim, epochs=2)
    assert history.parameters == sum(p.numel() for p in before)
    assert all((a != b).any() for a, b in zip(before, state_of(model, guide), strict=True))


def test_the_mixture_trains_with_its_category_enumerated():
    torch.manual_seed(0)
    model = GaussianMixture(5, components=2)
    x = torch.cat([rows(40) - 3, rows(40) + 3]).float()
    model.initialise(x, seed=0)
    with torch.no_grad():
        model.loc += 1.0
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    history = quietly(model, ExactPosterior(model), x, epochs=5, optim=adam)
    assert history.train_bound[-1] > history.train_bound[0] + 1.0


def test_a_fit_that_diverges_stops_with_the_last_good_parameters():
    model = pca()
    guide = ExactPosterior(model)

    def schedule(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda epoch: 1.0 if epoch < 2 else 1e300
        )

    with pytest.raises(FloatingPointError, match="learning rate"):
        quietly(
            model,
            guide,
            rows(20),
            validation=rows(9),
            optim=functools.partial(torch.optim.SGD, lr=1e-6),
            scheduler=schedule,
            epochs=9,
        )
    assert all(p.isfinite().all() for p in model.parameters())


def test_nothing_is_read_back_from_the_device_between_epochs(monkeypatch):
    original = torch.Tensor.item
    read = []

    def counting(tensor):
        read.append(tensor)
        return original(tensor)

    monkeypatch.setattr(torch.Tensor, "item", counting)
    counts = []
    for batch_size in (40, 4):
        model = pca()
        read.clear()
        with known_missing(False):  # or the programs ask their batch for NaN
            quietly(
                model, ExactPosterior(model), rows(40), optim=STILL, epochs=1, batch_size=batch_size
            )
        counts.append(len(read))
    assert counts[0] == counts[1]


def test_measurements_are_reported_every_epoch():
    model = pca()
    seen = []
    history = quietly(model, ExactPosterior(model), rows(20), epochs=3, on_epoch=seen.append)
    assert [at.epoch for at in seen] == [1, 2, 3]
    assert [at.train_bound for at in seen] == history.train_bound.tolist()
    assert all(math.isnan(at.validation_bound) for at in seen)


def takes_no_index(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample(
            "x", dist.Normal(z.sum(-1, keepdim=True), 1.0).expand(x.shape).to_event(1), obs=x
        )


class Other(PyroModule):
    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(3))

    def forward(self, x, index=None, size=None):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("other", dist.Normal(self.loc, 1.0).to_event(1))


def unaware(x, index=None, size=None):
    """A model that knows nothing of missing values."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        scale = dist.Normal(x.new_zeros(5) + z[..., :1], 1.0, validate_args=False)
        pyro.sample("x", scale.to_event(1), obs=x)


NAN_ROW = torch.zeros(4, 5)
NAN_ROW[2, 1] = float("nan")


@pytest.mark.parametrize(
    ("data", "options", "error", "sentence"),
    [
        (torch.zeros(0, 5), {}, ValueError, "is empty"),
        (NAN_ROW, {"model": unaware}, ValueError, "site 'x'.*NaN|not a number"),
        (torch.full((3, 5), math.inf), {}, ValueError, "infinite values in 3 of 3 rows .*row 0"),
        (torch.zeros(4, 6), {}, ValueError, "6 features, the model was made for 5"),
        (
            torch.zeros(4, 5),
            {"validation": np.full((2, 5), 1e300), "guide": Amortized(5, 2)},
            ValueError,
            "validation data has infinite values in 2 of 2 rows",
        ),
        (torch.zeros(4), {}, ValueError, "shape"),
        (torch.zeros(4, 5), {"epochs": 0}, ValueError, "epochs must be"),
        (torch.zeros(4, 5), {"batch_size": 1.5}, ValueError, "batch_size must be"),
        (torch.zeros(4, 5), {"patience": 2}, TypeError, "needs rows to validate on"),
        (torch.zeros(4, 5), {"seed": 1.5}, TypeError, "seed"),
        (torch.zeros(4, 5), {"objective": ELBO}, TypeError, "instance of pyro.infer.ELBO"),
        (
            torch.zeros(4, 5),
            {"optim": pyro.optim.Adam({}), "scheduler": print},
            TypeError,
            "scheduler",
        ),
        (torch.zeros(4, 5), {"guide": Other()}, ValueError, "misses the latent site"),
        (
            torch.zeros(4, 5),
            {"guide": Amortized(5, 3)},
            ValueError,
            "latent=3, the model has latent=2",
        ),
        (Digits(), {"validation": torch.zeros(4, 5)}, TypeError, "validation rows of its own"),
    ],
)
def test_mistakes_are_named_before_the_first_step(data, options, error, sentence):
    model = pca(torch.float32)
    before = state_of(model)
    options = {"guide": ExactPosterior(model), "data": data, "epochs": 2, **options}
    program = options.pop("model", model)
    with pytest.raises(error, match=sentence):
        quietly(program, **options)
    assert all(torch.equal(a, b) for a, b in zip(before, state_of(model), strict=True))


def test_a_guide_with_an_index_needs_a_model_with_one():
    with pytest.raises(TypeError, match="guide takes index="):
        quietly(takes_no_index, PerDatapoint(4, 2), torch.zeros(4, 5), epochs=1)


def test_values_that_are_not_binary_are_refused_for_a_bernoulli_decoder():
    model = VAE(64, latent=2, likelihood="bernoulli")
    with pytest.raises(ValueError, match="other than 0 and 1"):
        quietly(model, Amortized(64, 2), Digits(), epochs=1)


def test_the_parameters_of_a_fit_can_be_saved_and_put_back(tmp_path):
    model, guide = pca(), ExactPosterior(pca())
    quietly(model, ExactPosterior(model), rows(20), epochs=1)
    checkpoint.save(tmp_path / "p.safetensors", checkpoint.parameters(model=model), {})
    other = pca()
    checkpoint.restore(checkpoint.load(tmp_path / "p.safetensors")[0], model=other)
    assert torch.equal(model.weight, other.weight)
    assert guide is not None


def test_rows_have_a_learning_rate_of_their_own_and_no_decay():
    x = rows(40)
    makers = []

    def make(parameters):
        makers.append(torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1))
        return makers[-1]

    model, guide = pca(), PerDatapoint(40, 2).double()
    fit(model, guide, x, optim=make, row_lr=0.05, epochs=1, batch_size=20, progress=False)
    shared, tables = makers[0].param_groups
    assert (shared["lr"], shared["weight_decay"]) == (1e-3, 0.1)
    assert (tables["lr"], tables["weight_decay"]) == (0.05, 0.0)
    assert [p is guide.table for p in tables["params"]] == [True]
    assert {id(p) for p in shared["params"]} == {id(p) for p in model.parameters()}
    # Adam's first step is as long as its learning rate, whatever the gradient.
    torch.testing.assert_close(
        guide.table.abs().max(), torch.tensor(0.05).double(), rtol=1e-4, atol=0
    )


def test_products_in_bfloat16_are_an_option_and_validation_is_not_taken_in_it(monkeypatch):
    monkeypatch.setattr("pyrovae.step.precision.LARGE", 1)
    found = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        model, guide = VAE(64, latent=2, hidden=(32,)), Amortized(64, 2, hidden=(32,))
        history = quietly(model, guide, Digits(), optim=STILL, epochs=1, precision=precision)
        found[precision] = history
    here, there = found["float32"], found["bfloat16"]
    assert here.train_bound != pytest.approx(there.train_bound, rel=1e-7)
    assert here.train_bound == pytest.approx(there.train_bound, rel=1e-2)
    assert np.array_equal(here.validation_bound, there.validation_bound)


def test_rows_can_be_taken_as_they_come():
    class Noting(ProbabilisticPCA):
        def forward(self, x, **where):
            seen.append(x[:, 0].tolist())
            return super().forward(x, **where)

    x = torch.arange(10.0).expand(5, 10).mT
    taken = {}
    for shuffle in (True, False):
        seen = []
        model = Noting(5, latent=2)
        guide = Amortized(5, 2)
        quietly(model, guide, x, epochs=2, batch_size=4, shuffle=shuffle, level="eager")
        taken[shuffle] = seen[-6:]
    assert taken[False] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] * 2
    assert [sorted(sum(taken[True][i : i + 3], [])) for i in (0, 3)] == [list(range(10))] * 2
    assert taken[True] != taken[False]


def test_whether_to_shuffle_is_yes_or_no():
    with pytest.raises(ValueError, match="shuffle must be True or False; got 'no'"):
        quietly(pca(), ExactPosterior(pca()), rows(10), shuffle="no")


def test_an_unknown_precision_names_the_known_ones():
    with pytest.raises(ValueError, match="'half': the known ones are float32, bfloat16"):
        quietly(VAE(5, latent=2), Amortized(5, 2), rows(20).float(), precision="half")


@pytest.mark.parametrize(
    ("guide", "options", "error", "sentence"),
    [
        (
            Amortized(5, 2),
            {"row_lr": 0.1},
            TypeError,
            "row_lr is for programs with parameters for every row",
        ),
        (
            PerDatapoint(40, 2),
            {"row_lr": 0.0},
            ValueError,
            "row_lr must be above 0 and finite; got 0.0",
        ),
        (
            PerDatapoint(40, 2),
            {"row_lr": 0.1, "optim": pyro.optim.Adam({})},
            TypeError,
            "row_lr goes with a function",
        ),
    ],
)
def test_a_learning_rate_of_rows_needs_rows(guide, options, error, sentence):
    with pytest.raises(error, match=sentence):
        fit(
            pca(torch.float32),
            guide,
            rows(40, dtype=torch.float32),
            epochs=1,
            progress=False,
            **options,
        )


@pytest.mark.parametrize("guide_class", [AutoNormal, AutoMultivariateNormal])
@pytest.mark.parametrize("optim", [None, pyro.optim.Adam({"lr": 1e-2})])
def test_pyros_own_guides_fit_a_model_that_takes_its_data_alone(guide_class, optim):
    def model(x):
        loc = pyro.sample("loc", dist.Normal(torch.zeros(5), 1.0).to_event(1))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    history = quietly(model, guide_class(model), rows(40).float(), epochs=3, optim=optim)
    assert np.isfinite(history.train_bound).all()


def table(kind):
    """Five rows in the forms in which people have them; one value is 999 where it may be masked."""
    x = np.arange(10.0).reshape(5, 2)
    return {
        "frame": lambda: pd.DataFrame(x),
        "named columns": lambda: pd.DataFrame(x, columns=["a", "b"]),
        "whole numbers of pandas": lambda: pd.DataFrame(x).astype("Int64"),
        "other order of bytes": lambda: x.astype(">f4"),
        "backwards": lambda: x[::-1].copy()[::-1],
        "list of tensors": lambda: list(torch.tensor(x)),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        "frame",
        "named columns",
        "whole numbers of pandas",
        "other order of bytes",
        "backwards",
        "list of tensors",
    ],
)
def test_rows_come_in_many_forms(kind):
    model = pca(features=2)
    x = np.arange(10.0).reshape(5, 2)
    want, had = (
        quietly(model, ExactPosterior(model), data, epochs=1, optim=STILL).train_bound
        for data in (x, table(kind))
    )
    assert want == had


def test_what_is_masked_is_missing():
    model, x = pca(features=2), np.arange(10.0).reshape(5, 2)
    absent = np.where(x == 3, np.nan, x)
    masked = np.ma.masked_equal(np.where(x == 3, 999, x).astype(int), 999)
    want, had = (
        quietly(model, ExactPosterior(model), data, epochs=1, optim=STILL).train_bound
        for data in (absent, masked)
    )
    assert want == had


def test_complex_numbers_are_refused():
    model = pca(features=2)
    with pytest.raises(TypeError, match="must be real numbers; got torch.complex128"):
        quietly(model, ExactPosterior(model), np.full((5, 2), 1 + 1j), epochs=1)


class Uncounted(ProbabilisticPCA):
    def forward(self, x, index=None, size=None):
        return super().forward(x)


class ItsPosterior(ExactPosterior):
    def forward(self, x, index=None, size=None):
        return super().forward(x)


def test_a_model_that_takes_the_number_of_rows_must_count_them():
    """Its loss counts the batch, and would be divided by N / B once more: a bound above the evidence."""
    model, x = Uncounted(5, latent=2).double(), rows(40)
    guide = ItsPosterior(model)
    with pytest.raises(ValueError, match="takes size=, the number of rows, and does not use it"):
        quietly(model, guide, x, batch_size=10, epochs=1, optim=STILL)
    found = quietly(model, guide, x, batch_size=40, epochs=1, optim=STILL).train_bound
    assert found == pytest.approx(model.exact_log_evidence(x).mean().item(), rel=1e-10)


def test_gradients_that_someone_left_are_no_part_of_a_fit():
    def fitted(leave):
        model = pca()
        leave(model)
        data, still = rows(20), {"epochs": 3, "optim": functools.partial(torch.optim.SGD, lr=0.1)}
        quietly(model, ExactPosterior(model), data, on_epoch=lambda at: leave(model), **still)
        return state_of(model)

    def leave(model):
        sum(p.sum() for p in model.parameters()).backward()

    for one, other in zip(fitted(leave), fitted(lambda model: None), strict=True):
        assert torch.equal(one, other)
