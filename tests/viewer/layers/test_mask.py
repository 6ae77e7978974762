"""How the mask looks: outlines as wide on the screen at any zoom, colours that stand out."""

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.layers.labels._labels_utils import get_contours
from napari.utils.colormaps import CyclicLabelColormap
from scipy import ndimage
from skimage import data
from skimage.color import rgb2gray, rgb2lab

from napari_spa.core.plane import Plane
from napari_spa.core.types import Region
from napari_spa.viewer import compat
from napari_spa.viewer.compat import outlines, quick_contours
from napari_spa.viewer.layers.mask import MaskLayer, mask_colours


@pytest.mark.parametrize("side", [32, 256])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_outlines_are_those_of_napari(width, side, monkeypatch):
    monkeypatch.setattr(compat, "_TILE_SIDE", side)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(150, 140)), 4)
    labels = ndimage.label(noise > 0)[0]
    np.testing.assert_array_equal(outlines(labels, width), get_contours(labels, width, 0))
    assert not outlines(np.zeros_like(labels), width).any()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what memory is in use")
def test_where_no_label_is_no_memory_is_written_to():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    labels, before = np.zeros((8192, 8192), np.uint16), resident()
    found = outlines(labels, 1)
    assert resident() - before < found.nbytes / 2


def test_a_part_of_a_layer_has_the_outlines_of_the_whole():
    labels = np.zeros((40, 40), np.uint16)
    labels[5:35, 5:35] = 3
    ours, napari = Labels(labels.copy()), Labels(labels.copy())
    quick_contours(ours)
    for layer in (ours, napari):
        layer.contour = 2
        layer.data_setitem((np.array([20]), np.array([20])), 0)  # refreshes a part alone
    shown = ours._slice.image.view
    assert shown.any()
    np.testing.assert_array_equal(shown, napari._slice.image.view)


@pytest.fixture
def mask():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((50, 60), np.uint8), name="cell", scale=(0.5, 0.5))
    return MaskLayer(viewer, image, (0, 1))


def test_it_is_outlined_as_wide_at_any_zoom(mask):
    mask._viewer.scene.camera.zoom = 1.0
    layer = mask.layer
    assert layer.name == "cell: objects"
    assert layer.contour == 4  # two pixels of the screen, half a unit a pixel
    mask._viewer.scene.camera.zoom = 40.0
    mask.draw(filled=False)
    assert layer.contour == 1  # no less than a pixel
    mask.draw(filled=True)
    assert layer.contour == 0
    assert layer.opacity < 0.5
    mask.draw(filled=False)
    assert layer.opacity > 0.8


def test_an_opacity_that_a_user_chose_stays_when_zooming(mask):
    mask.layer.opacity = 0.3
    mask._viewer.scene.camera.zoom = 20.0
    mask.draw(filled=False)
    assert mask.layer.opacity == 0.3


@pytest.mark.parametrize("colormap", ["gray", "green", "magenta", "blue", "red", "yellow"])
def test_first_colours_stand_out_from_the_image(colormap):
    pixels = np.random.default_rng(0).integers(100, 255, (64, 64), np.uint8)
    image = Image(pixels, colormap=colormap, contrast_limits=(0, 255))
    seen = rgb2lab(image.thumbnail[..., :3].reshape(-1, 3) / 255)
    first = rgb2lab(mask_colours(image).map(np.array([1, 2, 3]))[:, :3])
    distance = np.linalg.norm(seen[:, None] - first[None], axis=-1)
    assert np.percentile(distance, 5, axis=0).min() > 30


@pytest.mark.parametrize("name", ["immunohistochemistry", "retina"])
def test_first_lines_are_seen_where_objects_end(name):
    """Dark violet stood out from stained tissue by CIELAB, and could not be seen on it."""
    pixels = getattr(data, name)()[::2, ::2]
    edges = ndimage.gaussian_gradient_magnitude(rgb2gray(pixels), 1.5)
    there = rgb2lab(pixels[edges > np.percentile(edges, 90)] / 255)
    lines = rgb2lab(mask_colours(Image(pixels, rgb=True)).map(np.array([1, 2, 3]))[:, :3])
    distance = np.linalg.norm((there[:, None] - lines) * [1.0, 0.5, 0.25], axis=-1)
    assert np.percentile(distance, 5, axis=0).min() > 32  # 18 by a plain distance


def test_every_line_is_seen_on_black():
    """With a contrast of three to one, as graphics should have."""
    colormap = mask_colours(Image(np.zeros((64, 64), np.uint8)))
    colormap = CyclicLabelColormap(**colormap.model_dump())  # as napari does on drawing
    colours = colormap.map(np.arange(1, 300))[:, :3]
    assert len(np.unique(colours, axis=0)) > 35  # and there are many to tell apart
    linear = np.where(colours > 0.04045, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92)
    assert (linear @ [0.2126, 0.7152, 0.0722] / 0.05 + 1).min() >= 3


def drawn_by(layer, act):
    """Return how many pixels each drawing had that an act led to."""
    pixels = []
    layer.events.labels_update.connect(lambda event: pixels.append(event.data.size))
    layer.events.set_data.connect(lambda: pixels.append(layer._slice.image.view.size))
    act()
    return pixels


def write(mask, plane, corner, number):
    region = Region(*corner, 30, 40)
    mask.write(plane, region, np.ones((30, 40), bool), np.full(1200, number, np.uint16))


def as_napari_would(layer):
    shown = layer._slice.image.view.copy()
    layer.refresh()
    np.testing.assert_array_equal(shown, layer._slice.image.view)


@pytest.mark.parametrize("line", [0, 1, 6])
@pytest.mark.parametrize("wide", [False, True])
def test_of_a_large_plane_only_what_was_written_is_drawn(line, wide):
    viewer = ViewerModel()
    mask = MaskLayer(viewer, viewer.add_image(np.zeros((2048, 2048), np.uint8)), (0, 1))
    if wide:
        mask.store.make_room(70_000)
    layer, plane = mask.layer, Plane((0, 1), (0, 0))
    layer.contour = line

    def act():
        write(mask, plane, (0, 0), 1)
        write(mask, plane, (2018, 2008), 2)
        write(mask, plane, (10, 20), 3)
        mask.refresh()

    assert sum(drawn_by(layer, act)) < 3 * 42 * 52
    assert layer._slice.image.view.any()
    as_napari_would(layer)
    layer.paint((1000, 1000), 4)
    assert sum(drawn_by(layer, mask.unpaint)) < 600
    assert not layer.data[1000, 1000]
    as_napari_would(layer)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2)])
def test_a_part_is_drawn_where_it_is_seen_from_any_side(order, monkeypatch):
    monkeypatch.setattr(compat, "_LEAST_PART", 1)
    viewer = ViewerModel()
    mask = MaskLayer(viewer, viewer.add_image(np.zeros((90, 100, 110), np.uint8)), (1, 2))
    layer = mask.layer
    viewer.dims.order = order
    viewer.dims.current_step = (4, 15, 25)
    layer.contour = 2

    def act():
        write(mask, Plane((1, 2), (4, 0, 0)), (10, 20), 1)
        write(mask, Plane((1, 2), (5, 0, 0)), (0, 0), 2)
        mask.refresh()

    assert 0 < sum(drawn_by(layer, act)) < 3000
    assert layer._slice.image.view.any()
    as_napari_would(layer)


def test_a_hidden_layer_is_drawn_when_it_is_shown():
    viewer = ViewerModel()
    mask = MaskLayer(viewer, viewer.add_image(np.zeros((2, 2048, 2048), np.uint8)), (1, 2))
    layer, plane = mask.layer, Plane((1, 2), (1, 0, 0))
    viewer.dims.set_current_step(0, 0)
    layer.visible = False
    viewer.dims.set_current_step(0, 1)
    write(mask, plane, (0, 0), 1)
    mask.refresh()
    layer.visible = True
    assert layer._slice.image.view.any()
    as_napari_would(layer)


def test_what_the_program_writes_is_not_taken_for_a_users(mask):
    whole = Region(0, 0, 2, 2)
    mask.write(Plane((0, 1), (0, 0)), whole, np.ones((2, 2), bool), np.ones(4, np.uint16))
    assert not mask.used
    mask.layer.paint((10, 10), 1)
    assert mask.used
