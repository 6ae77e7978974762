"""Which image a click is meant for."""

from types import SimpleNamespace

import dask.array
import numpy as np
import pytest
from napari.components import LayerList, ViewerModel
from napari.layers import Image, Points

from napari_spa.core.plane import Plane
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import InputError
from napari_spa.viewer.annotation.click_target import (
    check_in_sight,
    click_target,
    clicked_image,
    is_elsewhere,
    stored_mask,
)
from napari_spa.viewer.annotation.prompts import box_between


def test_the_image_that_is_worked_on_goes_before_the_topmost():
    below, above, hidden = (Image(np.zeros((4, 4)), name=name) for name in "abc")
    points = Points([[1, 1]])
    hidden.visible = False
    layers = LayerList([below, above, hidden, points])
    layers.selection.active = points
    annotated = annotated_image(below)
    assert click_target(layers, None) is above
    assert click_target(layers, annotated) is below  # annotated last
    layers.selection.active = above
    assert click_target(layers, annotated) is above  # chosen
    annotated.active = object()
    assert click_target(layers, annotated) is below  # in the middle of an object
    annotated.active = None
    layers.remove(below)
    layers.selection.active = None
    assert click_target(layers, annotated) is above
    assert click_target(LayerList(), None) is None


def annotated_image(image, active=None, others=()):
    display = SimpleNamespace(channels=SimpleNamespace(others=others))
    return SimpleNamespace(image=image, active=active, display=display)


def test_a_layer_that_is_a_channel_means_the_annotated_one():
    nuc, cyto = (Image(np.zeros((4, 4)), name=name) for name in ("nuc", "cyto"))
    layers = LayerList([nuc, cyto])
    layers.selection.active = cyto
    assert click_target(layers, annotated_image(nuc, others=(cyto,))) is nuc
    assert click_target(layers, annotated_image(nuc)) is cyto


def test_a_click_goes_to_an_image_that_can_be_seen():
    raw, seen = (Image(np.zeros((4, 4)), name=name) for name in ("raw", "denoised"))
    layers = LayerList([raw, seen])
    raw.visible = False
    layers.selection.active = raw
    assert click_target(layers, None) is seen
    assert click_target(layers, annotated_image(raw)) is seen
    assert click_target(layers, annotated_image(raw, active=object())) is raw
    seen.visible = False
    assert click_target(layers, None) is None


@pytest.mark.parametrize(
    ("turned", "reach"), [(0, 5), (45, 5 * np.sqrt(2)), (90, 5), (30, 5 * (np.sqrt(3) + 1) / 2)]
)
def test_a_box_on_a_turned_image_holds_what_was_drawn(turned, reach):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((3, 60, 70)), rotate=turned, scale=(2, 0.5, 0.5))
    middle = np.array(image.data_to_world((1, 30, 35)))
    viewer.dims.set_point(0, middle[0])
    for first, second in (((-5, -5), (5, 5)), ((5, -5), (-5, 5))):
        corners = [tuple(middle + np.array([0, *corner]) / 2) for corner in (first, second)]
        box = box_between(viewer, image, *corners)
        found = (box.row0, box.column0, box.row1, box.column1)
        expected = (30.5 - reach, 35.5 - reach, 30.5 + reach, 35.5 + reach)
        assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    "kind", ["as the image", "elsewhere", "coarse", "in a volume", "transposed", "lazy"]
)
def test_the_label_that_is_seen_under_the_pointer_is_refined_where_it_is_seen(kind):
    viewer = ViewerModel()
    truth = np.zeros((40, 60), dtype=bool)
    truth[10:20, 30:50] = True
    truth[16:20, 30:40] = False
    image = viewer.add_image(np.zeros((5, 40, 60)), scale=(1, 0.5, 0.5))
    plane = Plane((1, 2), (3, 0, 0))
    labels = 7 * truth.astype(np.int32)
    if kind == "as the image":
        layer = viewer.add_labels(labels, scale=(0.5, 0.5))
    elif kind == "elsewhere":
        layer = viewer.add_labels(labels[8:, 24:], scale=(0.5, 0.5), translate=(4, 12))
    elif kind == "coarse":  # napari puts the middle of the first pixel at 0
        layer = viewer.add_labels(labels[::2, ::2], translate=(0.25, 0.25))
    elif kind == "in a volume":
        volume = np.zeros((5, 40, 60), dtype=np.int32)
        volume[3], volume[2] = labels, 9
        layer = viewer.add_labels(volume, scale=(1, 0.5, 0.5))
    elif kind == "lazy":
        layer = viewer.add_labels(dask.array.from_array(labels, chunks=16), scale=(0.5, 0.5))
    else:
        turned = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
        layer = viewer.add_labels(labels.T, affine=np.array(turned), scale=(0.5, 0.5))
    found = stored_mask(viewer, image, plane, (3, 6, 20))
    assert (found.layer, found.number) == (layer, 7)
    mask = found.read()
    np.testing.assert_array_equal(mask.region.paste(mask.pixels, truth.shape), truth)
    with pytest.raises(InputError, match="no label under the pointer"):
        stored_mask(viewer, image, plane, (3, 1, 1))


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_labels_that_lie_askew_are_refused():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((20, 20, 20)))
    layer = viewer.add_labels(np.ones((20, 20, 20), dtype=np.int32), name="tilted")
    layer.rotate = (10, 20, 0)
    with pytest.raises(InputError, match="tilted lies askew"):
        stored_mask(viewer, image, Plane((1, 2), (5, 0, 0)), (5, 8, 8))


def test_a_click_on_what_is_seen_does_not_go_to_what_is_hidden():
    coins, cell = (Image(np.zeros((4, 4)), name=name) for name in ("coins", "cell"))
    layers = LayerList([coins, cell])
    layers.selection.active = cell
    annotated = annotated_image(coins, active=SimpleNamespace(number=2))
    clicked_image(layers, annotated)
    coins.visible = False
    with pytest.raises(InputError, match="object 2 of coins is not accepted yet, and coins is hid"):
        clicked_image(layers, annotated)
    clicked_image(layers, annotated_image(coins))
    clicked_image(layers, annotated_image(coins, active=annotated.active, others=(cell,)))
    layers.selection.active = None
    clicked_image(layers, annotated)  # as while the image is hidden to see the mask alone


def test_a_click_on_what_is_seen_does_not_go_to_what_lies_under_it():
    viewer = ViewerModel()
    coins = viewer.add_image(np.zeros((8, 9)), name="coins")
    ours = viewer.add_labels(np.zeros((8, 9), np.int32))
    cell = viewer.add_image(np.zeros((5, 4, 4)), name="cell", blending="translucent_no_depth")
    annotated = annotated_image(coins, active=SimpleNamespace(number=2))
    annotated.owns = lambda layer: layer is ours
    with pytest.raises(InputError, match="not accepted yet, and cell lies over it; accept"):
        check_in_sight(viewer, annotated, (0, 2, 2))
    check_in_sight(viewer, annotated, (0, 6, 6))  # beside it
    cell.translate = (0, 6, 0)
    with pytest.raises(InputError, match="coins is not accepted yet; accept or discard it to go"):
        check_in_sight(viewer, annotated, (0, 9, 2))  # over no coins
    cell.translate = (0, 0, 0)
    annotated.display.channels.others = (cell,)
    check_in_sight(viewer, annotated, (0, 2, 2))
    annotated.display.channels.others = ()
    for name, value in (("opacity", 0.5), ("blending", "additive"), ("visible", False)):
        before = getattr(cell, name)
        setattr(cell, name, value)
        check_in_sight(viewer, annotated, (0, 2, 2))
        setattr(cell, name, before)
    viewer.layers.move(0, 3)  # our layers and the image above it
    viewer.layers.move(0, 3)
    viewer.layers.selection.active = cell
    check_in_sight(viewer, annotated, (0, 2, 2))
    annotated.active = None
    check_in_sight(viewer, annotated, (0, 2, 2))


def test_what_a_candidate_near_by_adds_is_no_other_object():
    def square(region, low, high):
        side = high - low
        whole = LocalMask(Region(low, low, side, side), np.ones((side, side), bool))
        return SimpleNamespace(region=region, local_mask=whole.within(region))

    view, wide = Region(0, 0, 100, 100), Region(10, 10, 80, 80)
    shown = square(view, 40, 60)
    shown.candidates = (square(wide, 25, 75),)  # as if seen through another field of view
    at = SimpleNamespace(proposal=shown)
    assert [is_elsewhere(at, [(50, column)]) for column in (61, 64, 70, 90)] == [
        False,  # within the margin
        False,  # what the candidate adds near by
        True,  # what it adds far away
        True,
    ]
    shown.candidates = ()
    assert is_elsewhere(at, [(50, 64)])
