"""Unit tests of windows: where pixels come from and where masks go back to."""

import numpy as np
import pytest

from napari_spa.refine.engine.image_plane import ImagePlane
from napari_spa.refine.engine.round import resize_to_region
from napari_spa.refine.engine.view import FieldOfView, ImageSampler


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
    sampler = ImageSampler(ImagePlane(ImagePlane.of(image).levels, limits=((0.0, 11.0),)))
    view = FieldOfView(30.3, 41.9, side, side)
    read = sampler.read(view, 32)[..., 0]
    for i, j in [(5, 5), (16, 20), (26, 9)]:
        row, column = view.to_image(j, i, 32)
        expected = (row / 800 + 10 * column / 900) / 11
        assert read[i, j] == pytest.approx(expected, abs=2e-3)


def sparse(dtype, size=400):
    """Draw one small spot, far brighter than the noise around it: under 0.1 % of the pixels."""
    rng = np.random.default_rng(0)
    spot = np.hypot(*(np.indices((size, size)) - size / 2)) < 6
    return (200 + rng.normal(0, 8, (size, size)) + 4000 * spot).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_a_small_bright_object_looks_as_it_does_in_a_crop(dtype):
    image = sparse(dtype)
    sampler, crop = ImageSampler(image), ImageSampler(image[180:220, 180:220])
    whole = sampler.read(FieldOfView(188.0, 188.0, 24.0, 24.0), 32)
    alone = crop.read(FieldOfView(8.0, 8.0, 24.0, 24.0), 32)
    np.testing.assert_allclose(whole, alone, atol=1e-3)
    ground = whole[:4].mean()
    assert ground < 0.05, "the noise around it is not stretched to the same white"
    assert sampler.intensity.logged is None, "a log says nothing of limits, and replays the same"


def test_what_lies_elsewhere_changes_nothing():
    image = sparse(np.uint16)
    view = FieldOfView(188.0, 188.0, 24.0, 24.0)
    before = ImageSampler(image).read(view, 32)
    image[:40, :40] = 60_000
    np.testing.assert_allclose(ImageSampler(image).read(view, 32), before, atol=1e-3)


def test_limits_of_a_user_are_kept_in_every_view():
    image_plane = ImagePlane(ImagePlane.of(sparse(np.uint16)).levels, limits=((150.0, 250.0),))
    sampler = ImageSampler(image_plane)
    read = sampler.read(FieldOfView(188.0, 188.0, 24.0, 24.0), 32)
    assert np.mean(read == 1.0) > 0.12, "the spot is white"
    assert 0.4 < read[:4].mean() < 0.6, "the ground is grey"
    assert sampler.intensity.logged == ((150.0, 250.0),)


def test_a_hot_pixel_does_not_darken_its_view():
    image = sparse(np.uint16)
    view = FieldOfView(150.0, 150.0, 100.0, 100.0)
    before = ImageSampler(image).read(view, 128)
    image[160, 160] = 65_535
    after = ImageSampler(image).read(view, 128)
    away = np.ones((128, 128), bool)
    away[8:18, 8:18] = False
    np.testing.assert_allclose(after[away], before[away], atol=0.05)


def test_outside_the_image_the_edge_is_repeated():
    sampler = ImageSampler(np.full((10, 10), 51, np.uint8))
    np.testing.assert_allclose(sampler.read(FieldOfView(-20, -20, 50, 50), 16), 0.2, atol=1e-6)


def test_inside_shifts_or_centres():
    assert FieldOfView(-5, 50, 20, 20).inside((100, 60)) == FieldOfView(0, 40, 20, 20)
    wide = FieldOfView(0, 0, 200, 200).inside((100, 60))
    assert (wide.row, wide.column) == (-50, -70)


def test_masks_come_back_to_the_pixels_they_were_read_from():
    image = np.zeros((60, 80), np.uint8)
    image[20:40, 30:55] = 255
    sampler = ImageSampler(image)
    view = FieldOfView(10.4, 15.2, 48.0, 48.0)
    region = view.region(sampler.shape)
    read = sampler.read(view, 96)[..., 0]
    back = resize_to_region(read[None], view, sampler.shape)[0]
    assert back.shape == (region.height, region.width)
    np.testing.assert_array_equal(back > 0.5, image[region.slices] > 0)


def test_a_view_over_the_edge_has_a_region_inside():
    region = FieldOfView(-7.5, 50.5, 40, 40).region((30, 60))
    assert (region.row, region.column, region.height, region.width) == (0, 50, 30, 10)


def test_the_very_same_image_is_known_again():
    image = np.random.default_rng(5).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    sampler = ImageSampler(image)
    assert sampler.fingerprint
    levels = ImagePlane.of(image).levels
    assert sampler.shows(ImagePlane.of(image.copy()))
    assert not sampler.shows(ImagePlane.of(image[:, :49]))
    assert not sampler.shows(ImagePlane.of(image.astype(np.uint16)))
    assert not sampler.shows(ImagePlane(levels, limits=((0.0, 11.0),)))
    assert not sampler.shows(ImagePlane(levels, shown=(0.0, 11.0)))
    assert not sampler.shows(ImagePlane(levels, channels=(0, 1, 2)))
    assert not sampler.shows(ImagePlane((*levels, levels[0])))
    image[3, 4] += 1  # the sampler reads the very array
    assert not sampler.shows(ImagePlane.of(image))


def test_a_large_image_is_known_again_by_its_arrays():
    image = np.zeros((5000, 4000), np.uint8)
    sampler = ImageSampler(image)
    assert sampler.fingerprint
    assert not sampler.image_plane.small
    assert sampler.shows(ImagePlane.of(image))
    assert not sampler.shows(ImagePlane.of(image.copy()))
