"""What is expected of the next object's size after others were accepted."""

import math

import numpy as np
import pytest

from napari_spa.core.mixture import fit_size_prior


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
