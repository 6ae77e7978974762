"""Unit tests of what happens to pixels of any type."""

import numpy as np
import pytest

from napari_spa.core.transforms import (
    IntensityRange,
    fit_intensity,
    standardise,
    stretch,
    to_unit_rgb,
)
from napari_spa.errors import InputError


@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.uint16, np.int16, np.int64, np.float16, float]
)
def test_any_real_type_becomes_three_channels_in_range(dtype):
    image = (np.arange(600).reshape(20, 30) % 200).astype(dtype)
    unit = to_unit_rgb(image)
    assert unit.shape == (20, 30, 3)
    assert unit.dtype == np.float32
    assert unit.min() >= 0
    assert unit.max() <= 1
    assert unit.std() > 0


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16])
def test_each_value_looks_the_same_in_a_large_picture_and_alone(dtype):
    values = np.arange(2 if dtype == np.bool_ else 200).astype(dtype)
    many = np.resize(values, (300, 300))
    for intensity in (fit_intensity(many), IntensityRange(0.0, 150.0), IntensityRange(3.0, 3.0)):
        alone = intensity.scale(values[:, None])[:, 0]
        assert np.array_equal(
            intensity.scale(many), alone[np.resize(np.arange(len(values)), (300, 300))]
        )


def test_bytes_keep_their_scale_and_hounsfield_is_stretched():
    np.testing.assert_allclose(to_unit_rgb(np.full((2, 2), 51, np.uint8)), 0.2, rtol=1e-6)
    hounsfield = np.linspace(-1000, 3000, 10_000).reshape(100, 100).astype(np.int16)
    unit = to_unit_rgb(hounsfield)
    assert unit.min() == 0
    assert unit.max() == 1


def test_pixels_that_are_not_finite_do_not_spread():
    image = np.linspace(0, 1, 400).reshape(20, 20)
    dirty = image.copy()
    dirty[3, 3], dirty[4, 4], dirty[5, 5] = np.nan, np.inf, -np.inf
    clean = to_unit_rgb(image)
    unit = to_unit_rgb(dirty)
    assert np.isfinite(unit).all()
    assert unit[4, 4, 0] == 1
    assert unit[5, 5, 0] == 0
    keep = np.isfinite(dirty)
    np.testing.assert_allclose(unit[keep], clean[keep], atol=0.01)


@pytest.mark.parametrize(
    ("shape", "expected"), [((4, 4, 1), 0.2), ((4, 4, 2), 0.0), ((4, 4, 4), 0.2), ((4, 4, 9), 0.2)]
)
def test_channels(shape, expected):
    unit = to_unit_rgb(np.full(shape, 51, np.uint8))
    assert unit.shape == (4, 4, 3)
    assert unit[0, 0, 2] == pytest.approx(expected)


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 3)), np.zeros(5), np.zeros((2, 2, 2, 2)), np.full((3, 3), np.nan),
     np.zeros((3, 3), complex), np.array([["a"]])],
)  # fmt: skip
def test_refuses_in_one_sentence(image):
    with pytest.raises(InputError) as error:
        fit_intensity(image)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")


def test_standardise():
    rng = np.random.default_rng(0)
    out = standardise(rng.normal(3, 2, (16, 16, 3)).astype(np.float32))
    assert out.mean() == pytest.approx(0, abs=1e-4)
    assert out.std() == pytest.approx(1, abs=1e-2)
    assert not standardise(np.full((4, 4, 3), 0.3, np.float32)).any()


def test_a_view_is_stretched_by_its_own_values():
    rng = np.random.default_rng(0)
    view = np.stack([rng.normal(5, 1, (64, 64)), rng.normal(-3, 9, (64, 64)), np.ones((64, 64))])
    view = np.moveaxis(view, 0, -1).astype(np.float32)
    joint, each = stretch(view), stretch(view, each=True)
    assert (joint.min(), joint.max()) == (each.min(), each.max()) == (0.0, 1.0)
    assert np.ptp(joint[..., 0]) < 0.3 < np.ptp(each[..., 0])
    assert not each[..., 2].any(), "what does not vary is black"
    one = np.zeros((64, 64, 3), np.float32)
    one[3, 4] = 7.0
    assert stretch(one).max() == 1.0, "a lone bright pixel on nothing stays"
    assert not stretch(np.full((4, 4, 3), 7.0, np.float32)).any()
