"""Unit tests of the choice of a field of view, with glimpses made by hand."""

import numpy as np
import pytest

from napari_spa.core.size_prior import fit_size_prior
from napari_spa.core.types import Box, Click, LocalMask, Prompts
from napari_spa.io.models.load import load_model
from napari_spa.refine.engine.config import FramingConfig
from napari_spa.refine.engine.framing import Glimpse, frame_prompts, score, widen, window_sides
from napari_spa.refine.engine.view import Canvas, FieldOfView


def glimpse(side, diameter, quality=0.9, size=64):
    """Look at a disc of some diameter through a window of some side around its centre."""
    r = np.hypot(*(np.indices((size, size)) - (size - 1) / 2)) * side / size
    return Glimpse(FieldOfView.around(100, 100, side), r < diameter / 2, quality)


def test_windows_reach_from_small_to_the_whole_image():
    sides = window_sides(1411.0, FramingConfig())
    assert sides[0] == 16
    assert sides[-1] == 1411
    assert window_sides(5.0, FramingConfig()) == [8.0]


CLICK = Click(99.5, 99.5)


def scores(glimpses, centred=None):
    return score(glimpses, centred or glimpses, CLICK, FramingConfig())


def test_prefers_the_window_that_holds_the_object_whole_and_large():
    glimpses = [glimpse(side, 40) for side in (24, 36, 54, 81, 121, 182, 273, 410)]
    best = glimpses[int(np.argmax(scores(glimpses)))]
    assert 54 <= best.view.height <= 182


def test_does_not_trust_what_the_quality_head_does_not():
    glimpses = [glimpse(60, 30, quality=0.2), glimpse(90, 30, quality=0.9)]
    low, high = scores(glimpses)
    assert high > low


def test_an_object_is_found_again_from_its_own_middle():
    glimpses = [glimpse(60, 30), glimpse(60, 30)]
    texture, thing = scores(glimpses, [glimpse(60, 30, quality=0.3), glimpse(60, 30)])
    assert thing > 2 * texture


def test_what_does_not_hold_the_click_hardly_counts():
    elsewhere = Click(150.0, 150.0)
    held = score([glimpse(60, 30)], [glimpse(60, 30)], CLICK, FramingConfig())
    missed = score([glimpse(60, 30)], [glimpse(60, 30)], elsewhere, FramingConfig())
    assert held[0] > 3 * missed[0] > 0


def test_nothing_seen_scores_nothing():
    assert scores([glimpse(60, 0)]) == [0.0]


def test_object_view_is_centred_on_the_object():
    view = glimpse(100, 30).object_view(2.0)
    assert view.row + view.height / 2 == pytest.approx(100, abs=1)
    assert view.height == pytest.approx(60, rel=0.1)


def test_box_and_mask_set_the_view_without_looking():
    canvas = Canvas(np.zeros((200, 300), np.uint8))
    framed = frame_prompts(None, canvas, Prompts(box=Box(50, 60, 90, 120)), FramingConfig())
    box, anchor = framed.view, framed.anchor
    assert anchor is None
    assert box.contains(50, 60)
    assert box.contains(89, 119)
    mask = np.zeros((200, 300), bool)
    mask[50:90, 60:120] = True
    assert (
        frame_prompts(None, canvas, Prompts(mask=LocalMask.crop(mask)), FramingConfig()).view == box
    )


@pytest.mark.parametrize("far", [(180, 20), (52, 290)])
def test_a_box_with_a_far_click_gets_a_view_that_holds_both(far):
    canvas = Canvas(np.zeros((200, 300), np.uint8))
    prompts = Prompts((Click(*far),), box=Box(50, 60, 90, 120))
    view = frame_prompts(None, canvas, prompts, FramingConfig()).view
    assert view.contains(*far)
    assert all(view.contains(*corner) for corner in prompts.box.corners)


def test_a_box_around_the_whole_image_is_in_a_view_of_it():
    whole = FieldOfView(0, 0, 200, 200)
    assert widen(whole, Prompts(box=Box(0, 0, 200, 200)), (200, 200)) is whole


def test_widen_keeps_a_view_that_holds_the_prompts_and_grows_one_that_does_not():
    view = FieldOfView(50, 50, 40, 40)
    inside = Prompts((Click(60, 60),))
    assert widen(view, inside, (500, 500)) is view
    outside = Prompts((Click(60, 60), Click(200, 70)))
    grown = widen(view, outside, (500, 500))
    assert grown.contains(200, 70)
    assert grown.contains(50, 50)


def nucleus_in_cell(size=256):
    """Draw a bright nucleus of radius 14 in a grey cell of radius 60, on noise."""
    distance = np.hypot(*(np.indices((size, size)) - 128.0))
    grey = 40.0 + 70 * (distance < 60) + 90 * (distance < 14)
    noise = np.random.default_rng(0).normal(0, 6, (size, size))
    return np.clip(grey + noise, 0, 255).astype(np.uint8)


def test_expecting_a_size_turns_the_view_to_what_is_so_large():
    spa = load_model("spa-tiny", device="cpu").spa
    canvas, prompts = Canvas(nucleus_in_cell()), Prompts((Click(128.0, 128.0),))
    sides = {}
    for radius in (14, 60):
        expected = fit_size_prior([np.pi * radius**2] * 3, [1.0] * 3)
        framed = frame_prompts(spa, canvas, prompts, FramingConfig(), expected=expected)
        sides[radius] = framed.view.height
        if radius == 14:  # the cell stays on offer
            assert any(other.area > 4000 for other in framed.hypotheses)
    assert sides[14] < 100 < sides[60]
