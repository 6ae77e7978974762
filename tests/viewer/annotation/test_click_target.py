"""Which image a click is meant for."""

from types import SimpleNamespace

import numpy as np
from napari.components import LayerList
from napari.layers import Image, Points

from napari_spa.viewer.annotation.click_target import click_target


def test_the_image_that_is_worked_on_goes_before_the_topmost():
    below, above, hidden = (Image(np.zeros((4, 4)), name=name) for name in "abc")
    points = Points([[1, 1]])
    hidden.visible = False
    layers = LayerList([below, above, hidden, points])
    layers.selection.active = points
    work = SimpleNamespace(image=below, at_hand=None)
    assert click_target(layers, None) is above
    assert click_target(layers, work) is below  # annotated last
    layers.selection.active = above
    assert click_target(layers, work) is above  # chosen
    work.at_hand = object()
    assert click_target(layers, work) is below  # in the middle of an object
    work.at_hand = None
    layers.remove(below)
    layers.selection.active = None
    assert click_target(layers, work) is above
    assert click_target(LayerList(), None) is None


def test_a_click_goes_to_an_image_that_can_be_seen():
    raw, seen = (Image(np.zeros((4, 4)), name=name) for name in ("raw", "denoised"))
    layers = LayerList([raw, seen])
    raw.visible = False
    layers.selection.active = raw
    assert click_target(layers, None) is seen
    assert click_target(layers, SimpleNamespace(image=raw, at_hand=None)) is seen
    assert click_target(layers, SimpleNamespace(image=raw, at_hand=object())) is raw
    seen.visible = False
    assert click_target(layers, None) is None
