"""Unit tests of windows: where pixels come from and where masks go back to."""

import numpy as np
import pytest

from napari_spa.refine.engine.proposal import resize_to_region
from napari_spa.refine.engine.view import Canvas, FieldOfView


def ramp(height, width):
    rows, columns = np.indices((height, width))
    return (rows / height + 10 * columns / width).astype(np.float32)


@pytest.mark.parametrize("view", [FieldOfView(3.2, 5.7, 40.0, 40.0), FieldOfView(-10, -4, 90, 60)])
def test_positions_go_to_the_model_and_back(view):
    x, y = view.to_model(12.3, 7.8, 64)
    assert view.to_image(x, y, 64) == pytest.approx((12.3, 7.8))


@pytest.mark.parametrize("side", [16.0, 40.0, 100.0, 700.0])
def test_reading_samples_the_image_where_the_view_says(side):
    """On a linear image every way of reading must give the linear value, at any zoom."""
    image = ramp(800, 900)
    canvas = Canvas(image)
    view = FieldOfView(30.3, 41.9, side, side)
    read = canvas.read(view, 32)[..., 0]
    low, high = canvas.intensity.low, canvas.intensity.high
    for i, j in [(5, 5), (16, 20), (26, 9)]:
        row, column = view.to_image(j, i, 32)
        expected = (row / 800 + 10 * column / 900 - low) / (high - low)
        assert read[i, j] == pytest.approx(expected, abs=2e-3)


def test_outside_the_image_the_edge_is_repeated():
    canvas = Canvas(np.full((10, 10), 51, np.uint8))
    np.testing.assert_allclose(canvas.read(FieldOfView(-20, -20, 50, 50), 16), 0.2, atol=1e-6)


def test_inside_shifts_or_centres():
    assert FieldOfView(-5, 50, 20, 20).inside((100, 60)) == FieldOfView(0, 40, 20, 20)
    wide = FieldOfView(0, 0, 200, 200).inside((100, 60))
    assert (wide.row, wide.column) == (-50, -70)


def test_masks_come_back_to_the_pixels_they_were_read_from():
    image = np.zeros((60, 80), np.uint8)
    image[20:40, 30:55] = 255
    canvas = Canvas(image)
    view = FieldOfView(10.4, 15.2, 48.0, 48.0)
    region = view.region(canvas.shape)
    read = canvas.read(view, 96)[..., 0]
    back = resize_to_region(read[None], view, canvas.shape)[0]
    assert back.shape == (region.height, region.width)
    np.testing.assert_array_equal(back > 0.5, image[region.slices] > 0)


def test_a_view_over_the_edge_has_a_region_inside():
    region = FieldOfView(-7.5, 50.5, 40, 40).region((30, 60))
    assert (region.row, region.column, region.height, region.width) == (0, 50, 30, 10)
