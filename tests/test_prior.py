"""Class priors: the density they claim to have, the stream they claim to follow, and what they refuse."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from mnist_vae.model import VAE
from mnist_vae.prior import TRIES, ClassPrior, fit_prior, log_joint, sample_standard_normal, to_normal


def made(K=3, D=2, seed=0, threshold=-torch.inf):
    g = torch.Generator().manual_seed(seed)
    weights = torch.rand(10, K, generator=g) + 0.1
    factors = 0.3 * torch.randn(10, K, D, D, generator=g).tril(-1) + torch.diag_embed(
        0.5 + torch.rand(10, K, D, generator=g)
    )
    return ClassPrior(
        weights / weights.sum(1, keepdim=True),
        2 * torch.randn(10, K, D, generator=g),
        factors,
        torch.full((10,), threshold),
    )


def mixture(prior, digit):
    "The same by `torch.distributions`, in double precision."
    w, m, L = (t[digit].double() for t in (prior.weights, prior.means, prior.scale_tril))
    return MixtureSameFamily(Categorical(w), MultivariateNormal(m, scale_tril=L))


ROUNDING = dict(atol=2e-7, rtol=1e-7)  # float32 weights sum to 1 up to 6e-8, and torch.distributions divides by the sum


def stream(seed=5):
    return torch.Generator().manual_seed(seed)


def draws_by_definition(prior, labels, seed):
    "What `sample` promises, written the slow way: one image after the other."
    D, out = prior.means.shape[2], []
    u = torch.rand(len(labels), TRIES, 1 + D, generator=stream(seed), dtype=torch.float64)
    for y, tries in zip(labels.tolist(), u):
        best = None
        for v in tries:
            cdf = prior.weights[y].double().cumsum(0)
            k = int((cdf / cdf[-1] <= v[0]).sum())
            z = prior.means[y, k].double() + prior.scale_tril[y, k].double() @ torch.special.ndtri(
                v[1:].clamp(min=2**-54)
            )
            log_p = mixture(prior, y).log_prob(z)
            if best is None or log_p > best[0]:
                best = log_p, z
            if log_p >= prior.threshold[y]:
                break
        out.append(z if log_p >= prior.threshold[y] else best[1])
    return torch.stack(out)


LABELS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 0] * 4)


@pytest.mark.parametrize('leave_out', [0, 0.3, 0.9])
def test_samples_are_the_first_dense_enough_of_four(leave_out):
    prior = made().truncated(leave_out)
    torch.testing.assert_close(
        prior.sample(LABELS, stream()), draws_by_definition(prior, LABELS, 5), atol=1e-12, rtol=1e-12
    )


def test_first_samples_do_not_depend_on_how_many_follow():
    prior = made().truncated(0.4)
    many = prior.sample(LABELS, stream())
    assert many.dtype == torch.float64 and many.shape == (64, 2)
    for n in (1, 7):
        assert torch.equal(many[:n], prior.sample(LABELS[:n], stream()))
    other = torch.cat([9 - LABELS[:9], LABELS[9:]])
    assert torch.equal(many[9:], prior.sample(other, stream())[9:])
    g = stream()
    prior.sample(LABELS, g)
    after = torch.rand(1, generator=g, dtype=torch.float64)
    assert after == torch.rand(len(LABELS) * TRIES * 3 + 1, generator=stream(), dtype=torch.float64)[-1]


def test_no_labels_no_samples():
    assert made().sample(torch.empty(0, dtype=torch.int64), stream()).shape == (0, 2)


@pytest.mark.parametrize('digit', [0, 4, 9])
def test_density_is_that_of_the_mixture(digit):
    prior, z = made(K=4, D=3), 3 * torch.randn(50, 3, generator=stream(), dtype=torch.float64)
    y = torch.full((50,), digit)
    torch.testing.assert_close(prior.log_prob(z, y), mixture(prior, digit).log_prob(z), **ROUNDING)
    assert prior.log_prob(z.float(), y).dtype == torch.float32
    mixed = torch.arange(50) % 10
    torch.testing.assert_close(
        prior.log_prob(z, mixed),
        torch.stack([mixture(prior, d).log_prob(x) for x, d in zip(z, mixed.tolist())]),
        **ROUNDING,
    )


def test_density_of_more_than_one_slice():
    prior, z = made(), torch.randn(9000, 2, generator=stream(), dtype=torch.float64)
    torch.testing.assert_close(prior.log_prob(z, torch.full((9000,), 6)), mixture(prior, 6).log_prob(z), **ROUNDING)


def test_class_means():
    prior = made()
    for d in range(10):
        torch.testing.assert_close(prior.class_means()[d].double(), mixture(prior, d).mean, atol=1e-6, rtol=1e-6)


def test_each_digit_has_its_own_Gaussians_at_the_ends_of_the_stream(monkeypatch):
    "The smallest and the largest number that the stream can have lead to the first and the last Gaussian of the digit."
    means = torch.arange(20.0).view(10, 2, 1) * 100
    prior = ClassPrior(torch.full((10, 2), 0.5), means, torch.full((10, 2, 1, 1), 0.01), torch.full((10,), -torch.inf))
    for u, k in ((0.0, 0), (0.5, 1), (0.5 - 2**-40, 0), (1 - 2**-53, 1)):
        monkeypatch.setattr(torch, 'rand', lambda *size, u=u, **_: torch.full(size, u, dtype=torch.float64))
        found = prior.sample(torch.arange(10), stream())
        assert (found - means[:, k]).abs().max() < 1, u
        assert found.isfinite().all()


def test_Gaussian_without_weight_is_never_drawn():
    prior = made(K=2)
    prior = replace(
        prior, weights=torch.tensor([[0.0, 1.0]]).repeat(10, 1), means=prior.means + torch.tensor([1e4, 0.0]).view(2, 1)
    )
    assert (
        prior.sample(LABELS, stream()).abs().max() < 100
        and prior.log_prob(torch.zeros(3, 2), torch.arange(3)).isfinite().all()
    )


def test_normal_numbers():
    u = torch.tensor([0.0, 2**-54, 0.5, 0.975, 1 - 2**-53], dtype=torch.float64)
    z = to_normal(u)
    assert z.isfinite().all() and z[0] == z[1] and z[2] == 0
    torch.testing.assert_close(z[3], torch.tensor(1.959963984540054, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(torch.special.ndtr(z[1:]), u[1:])


def test_truncation_leaves_out_the_share():
    prior, labels = made(), torch.arange(10).repeat_interleave(4000)
    whole = prior.sample(labels, stream())
    for share in (0.1, 0.5):
        cut = prior.truncated(share)
        assert cut.threshold.dtype == torch.float32 and cut.threshold.isfinite().all()
        below = (prior.log_prob(whole, labels) < cut.threshold[labels]).float().view(10, -1).mean(1)
        assert (below - share).abs().max() < 0.03
        for name in ('weights', 'means', 'scale_tril'):
            assert getattr(cut, name) is getattr(prior, name)
    assert torch.equal(
        cut.truncated(0.1).threshold, prior.truncated(0.1).threshold
    )  # of the whole mixture, not of what was left
    assert torch.equal(cut.truncated(0).threshold, torch.full((10,), -torch.inf))
    assert torch.equal(prior.truncated(.1, seed=0).threshold, prior.truncated(.1).threshold)
    assert not torch.equal(prior.truncated(0.1, seed=1).threshold, prior.truncated(0.1).threshold)
    for bad in (1, 1.5, -0.1, math.nan):
        with pytest.raises(ValueError, match='leave_out must be a share from 0 to below 1, not '):
            prior.truncated(bad)


# --- what is no prior ---


def poked(name, value, *index):
    t = getattr(made(), name).clone()
    t[index] = value
    return {name: t}


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(weights=[1.0]), 'weights must be a dense tensor'),
        (dict(means=np.zeros((10, 3, 2))), 'means must be a dense tensor'),
        (dict(threshold=None), 'threshold must be a dense'),
        (dict(means=torch.zeros(10, 3, 2).half()), 'means must be a dense tensor of float32 or float64'),
        (dict(weights=torch.ones(10, 3).long()), 'weights must be a dense'),
        (dict(scale_tril=torch.zeros(10, 3, 2, 2, device='meta')), 'scale_tril must be a dense'),
        (dict(means=torch.zeros(10, 3, 2).to_sparse()), 'means must be a dense'),
        (dict(means=torch.zeros(10, 3)), 'shapes'),
        (dict(means=torch.zeros(10, 4, 2)), 'shapes'),
        (dict(weights=torch.ones(9, 3) / 3), 'shapes'),
        (dict(scale_tril=torch.eye(3).repeat(10, 3, 1, 1)), 'shapes'),
        (dict(threshold=torch.zeros(11)), 'shapes'),
        (dict(threshold=torch.zeros(10, 1)), 'shapes'),
        (dict(weights=torch.ones(10, 0), means=torch.ones(10, 0, 2), scale_tril=torch.ones(10, 0, 2, 2)), 'shapes'),
        (dict(means=torch.ones(10, 3, 0), scale_tril=torch.ones(10, 3, 0, 0)), 'shapes'),
        (poked('weights', math.nan, 9, 2), 'weights must not hold NaN'),
        (poked('means', math.inf, 0, 0, 0), 'means must not hold NaN or infinity'),
        (poked('means', -math.inf, 9, 2, 1), 'means must not hold NaN or infinity'),
        (poked('scale_tril', math.nan, 5, 1, 1, 0), 'scale_tril must not hold'),
        (poked('threshold', math.nan, 9), 'threshold must be'),
        (poked('threshold', math.inf, 0), 'threshold must be'),
        (dict(weights=torch.tensor([[-1e-6, 0.5, 0.5 + 1e-6]]).repeat(10, 1)), 'weights must not be negative'),
        (poked('weights', 0.9, 9, 0), 'each row of weights must sum to 1'),
        (dict(weights=torch.full((10, 3), 1.0001 / 3)), 'sum to 1'),
        (dict(weights=torch.full((10, 3), 0.9999 / 3)), 'sum to 1'),
        (poked('scale_tril', 1e-30, 9, 2, 0, 1), 'lower triangular'),
        (poked('scale_tril', 0.0, 9, 2, 1, 1), 'positive diagonal'),
        (poked('scale_tril', -0.5, 0, 0, 0, 0), 'positive diagonal'),
    ],
)
def test_what_cannot_be_a_prior_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        ClassPrior(**asdict(made()) | change)


def test_what_can_be_a_prior():
    ClassPrior(**{name: t.double() for name, t in asdict(made(threshold=-3.0)).items()})
    ClassPrior(**asdict(made()) | dict(weights=torch.full((10, 3), (1 + 5e-6) / 3)))  # rounding
    ClassPrior(**asdict(made(K=1, D=1)))
    ClassPrior(**asdict(made()) | poked('scale_tril', 1e-30, 9, 2, 1, 1))


# --- fitting, and the two functions that need a model ---


def clouds(n=40, D=2):
    "Latents of ten digits: two clouds for each, at places of their own."
    g = torch.Generator().manual_seed(1)
    labels = torch.arange(10).repeat_interleave(n)
    side = torch.arange(10 * n) % 2
    return torch.stack([10.0 * labels, 100.0 * side], 1) + torch.randn(10 * n, D, generator=g), labels


def test_fit_finds_the_clouds():
    z, labels = clouds(200)
    prior = fit_prior(z, labels, n_components=2, progress=False)
    assert all(t.dtype == torch.float32 for t in asdict(prior).values()) and prior.threshold.eq(-torch.inf).all()
    for d in range(10):
        order = prior.means[d, :, 1].argsort()
        torch.testing.assert_close(
            prior.means[d, order], torch.tensor([[10.0 * d, 0], [10.0 * d, 100]]), atol=0.4, rtol=0
        )
        torch.testing.assert_close(prior.weights[d], torch.tensor([0.5, 0.5]), atol=0.01, rtol=0)
        covariances = prior.scale_tril[d] @ prior.scale_tril[d].mT
        torch.testing.assert_close(covariances, torch.eye(2).expand(2, 2, 2), atol=0.5, rtol=0)
    cut = fit_prior(z, labels, n_components=2, leave_out=0.25, progress=False)
    assert torch.equal(cut.threshold, prior.truncated(0.25).threshold) and torch.equal(cut.means, prior.means)
    assert torch.equal(
        fit_prior(z, labels, n_components=3, seed=3, progress=False).means,
        fit_prior(z, labels, n_components=3, seed=3, progress=False).means,
    )
    assert not torch.equal(
        fit_prior(z, labels, n_components=3, seed=3, progress=False).means,
        fit_prior(z, labels, n_components=3, progress=False).means,
    )


def test_fit_needs_enough_latents():
    z, labels = clouds(5)
    fit_prior(z, labels, n_components=3, progress=False)  # 3 Gaussians in 2 dimensions: five are enough
    with pytest.raises(ValueError, match='digit 0 has 5 latents, 4 Gaussians need at least 6'):
        fit_prior(z, labels, n_components=4, progress=False)
    with pytest.raises(ValueError, match='digit 9 has 4 latents'):
        fit_prior(z[:-1], labels[:-1], n_components=3, progress=False)
    for bad in (dict(n_components=0), dict(n_components=2.0), dict(seed=-1), dict(seed=2**32), dict(leave_out=1)):
        with pytest.raises(ValueError, match=next(iter(bad))):
            fit_prior(z, labels, **dict(n_components=1, progress=False) | bad)
    with pytest.raises(ValueError, match='labels'):
        fit_prior(z, labels[:-1], progress=False)


def test_joint_density_by_its_definition():
    torch.manual_seed(0)
    model, prior, x = VAE(2).eval(), made(), torch.rand(5, 784)
    joint = log_joint(model, prior, x)
    assert joint.shape == (5, 10) and not joint.requires_grad
    with torch.no_grad():
        mu = model.encode(x)[0]
        for d in range(10):
            y = torch.full((5,), d)
            bce = torch.nn.functional.binary_cross_entropy(model.decode(mu, y), x, reduction='none').sum(1)
            torch.testing.assert_close(joint[:, d], prior.log_prob(mu, y) - bce, atol=1e-3, rtol=1e-5)


def test_samples_of_the_textbook():
    torch.manual_seed(0)
    model, labels = VAE(2).eval(), torch.arange(10).repeat(3)
    images = sample_standard_normal(model, labels, seed=4)
    z = torch.randn(30, 2, generator=stream(4))
    assert torch.equal(images, model.decode(z, labels).view(30, 28, 28).detach()) and not images.requires_grad
    assert torch.equal(sample_standard_normal(model, labels), sample_standard_normal(model, labels, seed=0))
    assert not torch.equal(images, sample_standard_normal(model, labels))


def test_global_state_changes_nothing():
    prior = made().truncated(0.3)
    expected = prior.sample(LABELS, stream()), prior.truncated(0.3).threshold
    torch.set_default_dtype(torch.float64)
    torch.set_default_device('meta')
    try:
        found = made_again(prior).sample(LABELS, stream()), made_again(prior).truncated(0.3).threshold
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    for a, b in zip(found, expected):
        assert torch.equal(a, b)


def made_again(prior):
    return ClassPrior(**{name: getattr(prior, name) for name in ('weights', 'means', 'scale_tril', 'threshold')})
