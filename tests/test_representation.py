import pytest
import torch

from pyrovae.data import Digits
from pyrovae.guides import Amortized, ExactPosterior, Hierarchical
from pyrovae.models import VAE, GaussianMixture, HierarchicalVAE, ProbabilisticPCA
from pyrovae.representation import codes, manifold, probe_accuracy, traverse


def test_codes_are_the_means_of_the_guide():
    guide, x = Amortized(6, 2), torch.rand(4, 6)
    torch.testing.assert_close(codes(guide, x), guide.local_parameters(x)[:, :2].detach())
    model = HierarchicalVAE(6, latent=2, lower=3)
    assert codes(Hierarchical(6, model), x, site="z1").shape == (4, 3)
    mixture = GaussianMixture(6, components=2)
    with pytest.raises(ValueError, match=r"no continuous site 'z'; such sites of it: none"):
        codes(ExactPosterior(mixture), x)
    with pytest.raises(ValueError, match=r"mean of site 'z' is not known in closed form"):
        codes(Amortized(6, 2, family="flow"), x)


def test_a_probe_finds_what_is_there_and_no_more():
    data = Digits("grey")
    train, test = data.train.stored / 16, data.test.stored / 16
    pixels = probe_accuracy(train, data.train.labels, test, data.test.labels)
    assert pixels > 0.93
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(len(part), 16, generator=generator) for part in (train, test)]
    assert probe_accuracy(noise[0], data.train.labels, noise[1], data.test.labels) < 0.2
    model = ProbabilisticPCA(64, latent=16)
    model.maximise_likelihood(train)
    guide = ExactPosterior(model)
    pca = probe_accuracy(
        codes(guide, train), data.train.labels, codes(guide, test), data.test.labels
    )
    assert 0.8 < pca <= pixels + 0.02


def test_a_walk_moves_one_dimension_and_holds_the_others():
    model, z = VAE(16, latent=3), torch.randn(3)
    values = torch.linspace(-1, 1, 5)
    walk = traverse(model, z, values)
    moved = z.clone()
    moved[1] = values[3]
    torch.testing.assert_close(walk[1, 3], model.decode(moved).mean.detach())


def test_the_manifold_is_evenly_spaced_in_probability():
    model = VAE(16, latent=2)
    plane = manifold(model, side=3, reach=0.5)
    quartile = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(0.75))
    corner = model.decode(torch.stack([-quartile, quartile])).mean.detach()
    torch.testing.assert_close(plane[0, 0], corner)
    torch.testing.assert_close(plane[1, 1], model.decode(torch.zeros(2)).mean.detach())
    with pytest.raises(ValueError, match="3 latent dimensions: a plane has 2"):
        manifold(VAE(16, latent=3))
    with pytest.raises(ValueError, match="2 latent categories: a plane has 2"):
        manifold(GaussianMixture(16, components=2))


def test_pictures_are_made_in_the_precision_of_the_model():
    model = VAE(16, latent=2).double()
    assert manifold(model, side=3).dtype == torch.float64
    walk = traverse(model, torch.zeros(2, dtype=torch.float64), torch.linspace(-1, 1, 5))
    assert walk.dtype == torch.float64


def test_what_depends_on_the_draw_of_another_site_has_no_mean_of_its_own():
    """The mean given one draw of z1 was returned, another at every call."""
    model = HierarchicalVAE(6, latent=2, lower=3)
    with pytest.raises(ValueError, match="mean of site 'z2' depends on the draw of another"):
        codes(Hierarchical(6, model), torch.rand(4, 6), site="z2")


def test_a_probe_takes_pixels_as_stored_and_small_or_constant_columns():
    """Bytes were refused by torch, and a column of small numbers was hidden from the probe."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (60, 2), generator=generator).byte()
    labels = (pixels[:, 0] > 100).long()
    assert probe_accuracy(pixels, labels, pixels, labels) > 0.9
    small = 1e-9 * pixels.double()
    assert probe_accuracy(small, labels, small, labels) > 0.9
    constant = torch.full((60, 1), 0.1)
    share = float(labels.double().mean())
    found = probe_accuracy(constant, labels, constant + torch.rand(60, 1), labels)
    assert found == pytest.approx(max(share, 1 - share))


def test_a_probe_of_one_class_or_other_features_is_refused():
    x, y = torch.rand(4, 3), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"learn from 1 class\(es\)"):
        probe_accuracy(x[:1], y[:1], x, y)
    with pytest.raises(ValueError, match=r"shapes \(4, 3\) and \(4, 2\)"):
        probe_accuracy(x, y, x[:, :2], y)
