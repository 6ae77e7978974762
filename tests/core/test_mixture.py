"""Unit tests of the preference distribution, against independent references."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from napari_spa.core.mixture import (
    UpdateConfig,
    blend_mixtures,
    fit_size_prior,
    pixel_responsibilities,
    responsibilities,
    sample_mixture,
    sample_weighted_sum,
    update_mixture,
)
from napari_spa.core.types import MixtureParameters


def make_mixture(weights, means, deviation, dimension=3):
    means = np.repeat(np.asarray(means, float)[:, None], dimension, axis=1)
    return MixtureParameters(np.asarray(weights, float), means, np.full_like(means, deviation**2))


def test_components_receive_their_share_whatever_the_seed():
    mixture = make_mixture([0.5, 0.3, 0.2], [-1, 0, 1], 0.1)
    for seed in range(20):
        _, components = sample_mixture(mixture, 48, np.random.default_rng(seed))
        counts = np.bincount(components, minlength=3)
        assert np.all(np.abs(counts - 48 * mixture.weights) < 1 + 1e-9)


def test_samples_follow_the_paper_equation():
    mixture = make_mixture([0.25, 0.75], [-2.0, 3.0], 0.5)
    rng = np.random.default_rng(1)
    latents, components = sample_mixture(mixture, 200_000, rng)
    for m in (0, 1):
        drawn = latents[components == m]
        np.testing.assert_allclose(drawn.mean(0), mixture.means[m], atol=0.01)
        np.testing.assert_allclose(drawn.std(0), 0.5, atol=0.01)
    replay = np.random.default_rng(1)
    offset = replay.random()
    expected = np.searchsorted([0.25, 1.0], (np.arange(200_000) + offset) / 200_000, side="right")
    noise = replay.standard_normal((200_000, 3))
    np.testing.assert_array_equal(components, expected)
    np.testing.assert_allclose(latents, mixture.means[expected] + 0.5 * noise)


def test_weighted_sum_is_a_single_gaussian():
    mixture = make_mixture([0.3, 0.7], [-2.0, 1.0], 0.5)
    z = sample_weighted_sum(mixture, 200_000, np.random.default_rng(0))
    np.testing.assert_allclose(z.mean(0), 0.3 * -2 + 0.7 * 1, atol=0.01)
    np.testing.assert_allclose(z.std(0), 0.5, atol=0.01)  # sum of pi sigma, not a mixture's spread


def test_responsibilities_equal_bayes_rule_of_scipy():
    rng = np.random.default_rng(0)
    mixture = MixtureParameters(
        np.array([0.2, 0.5, 0.3]), rng.normal(size=(3, 4)), rng.uniform(0.2, 2, size=(3, 4))
    )
    z = rng.normal(size=(7, 4))
    joint = np.stack(
        [
            w * multivariate_normal(m, np.diag(v)).pdf(z)
            for w, m, v in zip(mixture.weights, mixture.means, mixture.variances, strict=True)
        ],
        axis=1,
    )
    expected = joint / joint.sum(1, keepdims=True)
    np.testing.assert_allclose(responsibilities(mixture, z), expected, rtol=1e-9)


def test_responsibilities_survive_latents_far_from_every_component():
    mixture = make_mixture([0.5, 0.5], [0.0, 1.0], 0.01)
    gamma = responsibilities(mixture, np.full((1, 3), 1e3))
    np.testing.assert_allclose(gamma, [[0.0, 1.0]], atol=1e-12)


def test_pixel_responsibilities_average_over_pixels():
    mixture = make_mixture([0.5, 0.5], [0.0, 1.0], 0.3, dimension=2)
    values = np.array([[0.0, 1.0], [1.0, 1.0]])
    density = np.stack([norm(0, 0.3).pdf(values.ravel()), norm(1, 0.3).pdf(values.ravel())], 1)
    expected = (density / density.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(pixel_responsibilities(mixture, values), expected, rtol=1e-6)


def test_picks_converge_to_the_user():
    """Repeated picks near one place move the whole mixture there (paper, section 7)."""
    initial = make_mixture(np.full(16, 1 / 16), np.linspace(-1.5, 1.5, 16), 0.7, dimension=4)
    user = np.array([1.0, -0.5, 0.3, 0.8])
    mixture, rng = initial, np.random.default_rng(0)
    distance = []
    for _ in range(6):
        z, _ = sample_mixture(mixture, 48, rng)
        distance.append(np.linalg.norm(z - user, axis=1).mean())
        nearest = np.argsort(np.linalg.norm(z - user, axis=1))[:12]
        mixture = update_mixture(mixture, z[nearest], initial)
    assert distance[-1] < 0.5 * distance[0]
    assert all(after < before + 0.05 for before, after in itertools.pairwise(distance))


def test_one_pick_cannot_collapse_the_spread():
    initial = make_mixture([0.5, 0.5], [-1.0, 1.0], 0.7)
    picked = np.full((12, 3), 1.0)  # no spread at all
    config = UpdateConfig()
    after = update_mixture(initial, picked, initial, config)
    assert np.all(after.variances >= 0.3 * initial.variances)
    for _ in range(100):
        after = update_mixture(after, picked, initial, config)
    assert np.all(after.variances >= config.variance_floor * initial.variances)
    assert after.weights.sum() == pytest.approx(1.0)
    assert np.all(after.weights > 0)


def test_blend_is_in_proportion():
    a, b = make_mixture([0.5, 0.5], [0, 1], 1.0), make_mixture([0.9, 0.1], [2, 3], 0.5)
    np.testing.assert_allclose(blend_mixtures(a, b, 0.0).means, a.means)
    np.testing.assert_allclose(blend_mixtures(a, b, 1.0).variances, b.variances)
    np.testing.assert_allclose(blend_mixtures(a, b, 0.25).weights, [0.6, 0.4])


def test_without_evidence_nothing_is_expected():
    assert fit_size_prior([], []) is None
    assert fit_size_prior([100.0], [0.0]) is None


def test_it_expects_the_middle_and_narrows_with_evidence_down_to_a_floor():
    areas = 400 * np.exp(np.random.default_rng(0).normal(0, 0.1, 1000))
    few, some, many = (fit_size_prior(areas[:n], [1.0] * n) for n in (1, 3, 1000))
    assert math.exp(many.log_area) == pytest.approx(400, rel=0.02)
    assert few.deviation > some.deviation > many.deviation == pytest.approx(0.35)


def test_sizes_that_vary_keep_it_wide():
    alike = fit_size_prior([400] * 12, [1.0] * 12)
    mixed = fit_size_prior([100, 1600] * 6, [1.0] * 12)
    assert mixed.deviation > 2 * alike.deviation
    assert math.exp(mixed.log_area) == pytest.approx(400)


def test_one_slip_among_four_does_not_move_it():
    assert math.exp(fit_size_prior([400, 400, 90000, 400], [1.0] * 4).log_area) == (
        pytest.approx(400)
    )


def test_other_images_count_for_less():
    assert fit_size_prior([100, 100, 900], [0.25, 0.25, 1.0]).log_area == math.log(900)


def test_any_size_stays_possible():
    prior = fit_size_prior([400] * 3, [1.0] * 3)
    assert prior.likelihood(400.0, doubt=0.1) == pytest.approx(1.0)
    assert prior.likelihood(4e7, doubt=0.1) == pytest.approx(0.1)
    assert prior.likelihood(0.0, doubt=0.1) == 0.1
    assert prior.likelihood(200.0) == pytest.approx(prior.likelihood(800.0))
