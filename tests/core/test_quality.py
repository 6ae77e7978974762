"""Signs of a round, and the Dice that they let expect."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_spa.core.quality import (
    DIRECTIONS,
    Calibration,
    Term,
    fit_calibration,
    quality_in_words,
    read_signs,
)

ADVICE = {0.99: "likely right", 0.7: "check it", 0.1: "often wrong"}
INSIDE = np.array([True, True, True, True])


def disc(radius, size=64, row=32, column=32):
    y, x = np.mgrid[:size, :size]
    return ((y - row) ** 2 + (x - column) ** 2 < radius**2).astype(np.float32)


def signs(mean, samples=None, inner=INSIDE):
    maps = np.stack([mean]) if samples is None else np.stack(samples)
    return read_signs(maps, np.full(len(maps), 1 / len(maps)), mean, 0.5, inner)


def test_signs_of_a_sharp_round_object_speak_for_it():
    found = signs(disc(15))
    assert found["agreement"] == found["sharpness"] == found["whole"] == 1.0
    assert found["smooth"] == pytest.approx(1.0, abs=0.05)
    assert found["edge"] == found["small"] == found["large"] == 0.0


def test_each_sign_sees_its_fault():
    sharp, soft = disc(15), 0.4 + 0.2 * disc(15)
    assert signs(soft)["sharpness"] < 0.7
    torn = np.maximum(disc(8, column=15), disc(10, column=45))
    assert signs(torn)["whole"] == pytest.approx(100 / 164, abs=0.03)
    comb = sharp * (np.arange(64) % 2)
    assert signs(comb)["smooth"] < 0.3
    assert signs(disc(15, row=2))["edge"] > 0.3
    assert signs(disc(15, row=2), inner=~INSIDE)["edge"] == 0.0  # the image ends there
    assert signs(disc(3))["small"] > 0.2
    assert signs(disc(31))["large"] > 0.2
    assert signs(sharp, [disc(15), disc(10)])["agreement"] < 0.85


def test_an_empty_recommendation_has_signs_too():
    found = signs(np.zeros((8, 8), np.float32))
    assert all(np.isfinite(value) for value in found.values())


def test_words_promise_a_dice_only_where_it_was_measured():
    for quality, advice in ADVICE.items():
        said = quality_in_words(quality, True)
        assert f"about {quality:.2f} expected" in said
        assert advice in said
        assert quality_in_words(quality, False) == f"samples agree to {quality:.2f}"


def rounds(count, rng):
    table = rng.random((count, len(DIRECTIONS)))
    return [dict(zip(DIRECTIONS, row.tolist(), strict=True)) for row in table]


def test_fitting_finds_what_the_dice_follows():
    rng = np.random.default_rng(0)
    played = rounds(600, rng)
    real = np.array([0.2 + 0.7 * one["agreement"] for one in played])
    found = fit_calibration(played, real, ridge=1e-4)
    expected = np.array([found.expect(one) for one in played])
    assert np.abs(expected - real).mean() < 0.03
    assert max(found.terms, key=lambda name: abs(found.terms[name].weight)) == "agreement"


def test_no_sign_counts_against_its_direction():
    rng = np.random.default_rng(1)
    played = rounds(300, rng)
    real = np.array([0.9 - 0.5 * one["agreement"] + 0.05 * one["edge"] for one in played])
    found = fit_calibration(played, real, ridge=1e-4)
    assert all(term.weight * DIRECTIONS[name] >= 0 for name, term in found.terms.items())
    assert "agreement" not in found.terms


def test_a_round_counts_as_its_weight_says():
    played = [dict.fromkeys(DIRECTIONS, 0.5)] * 4
    real = np.array([0.9, 0.1, 0.1, 0.1])
    found = fit_calibration(played, real, weights=np.array([9.0, 1.0, 1.0, 1.0]), ridge=0.1)
    assert 0.8 < found.expect(played[0]) < 0.9
    assert not found.terms  # nothing differs
    assert 0.1 < fit_calibration(played, real, ridge=0.1).expect(played[0]) < 0.2


def test_what_is_expected_lies_near_what_most_of_such_rounds_had():
    played = [dict.fromkeys(DIRECTIONS, 0.5)] * 5
    real = np.array([0.9, 0.9, 0.9, 0.9, 0.0])
    found = fit_calibration(played, real, ridge=0.1).expect(played[0])
    assert np.abs(found - real).mean() < np.abs(real.mean() - real).mean()


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-5, 5))
def test_what_is_expected_is_a_share(value, weight):
    one = Calibration(0.3, {"agreement": Term(0.8, 0.1, weight)})
    assert 0.0 <= one.expect({"agreement": value}) <= 1.0
