"""Prompts at the edges of views, images and what a frame holds are obeyed wherever they are."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.core.quality import Calibration
from napari_spa.core.types import Click, LocalMask, Prompts, Region, Stroke
from napari_spa.errors import DataError, InputError
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.round import Stay
from napari_spa.refine.engine.view import FieldOfView, holding, widen
from napari_spa.refine.log.serialization import decision_from_record, decision_to_record
from napari_spa.refine.session.acts import stroke_pixels
from napari_spa.refine.session.prompt_validation import check_click, start_of_stroke
from napari_spa.refine.session.session import RefinementSession

MODEL = make_model()
NOISE = np.random.default_rng(0).integers(0, 255, (60, 70), np.uint8)


def session_on(image=NOISE, model=MODEL):
    session = RefinementSession(model, config=EngineConfig(samples=6))
    session.set_image(image)
    return session


def test_a_view_holds_all_clicks_of_a_start_where_it_shows_nothing_at_them():
    session = session_on(np.full((28, 34), 7, np.int16))
    shown = session.start([(27, 33), (27, 0), (27, 12)], [1, 0, 1])
    assert [bool(shown.mask[27, column]) for column in (33, 0, 12)] == [True, False, True]


@pytest.mark.parametrize("view", [FieldOfView(40, 40, 16, 16), FieldOfView(-99, -99, 20, 20)])
def test_a_view_that_is_given_is_moved_into_the_image_and_holds_the_prompts(view):
    session = session_on()
    assert session.start([(5, 5)], view=view).mask[5, 5]
    assert session.view.inside(session.sampler.shape) == session.view


def test_a_view_in_the_image_that_holds_the_prompts_is_taken_as_it_is():
    session = session_on()
    view = FieldOfView(1 / 3, 2 / 7, 31.1, 31.1)
    session.start([(5, 5)], view=view)
    assert session.view == view


def test_a_crop_of_a_large_image_holds_what_is_said_later():
    image = np.zeros((4100, 4100), np.uint8)
    image[100:200, 100:200] = 200
    session = session_on(image, make_model("logit", convention="sam"))
    session.start([(150, 150)])
    assert session.click((3000, 3000), 1).mask[3000, 3000]
    boxed = session.start(box=(100, 100, 3000, 3000)).mask
    rows = np.flatnonzero(boxed.any(axis=1))
    assert rows[0] <= 400
    assert rows[-1] >= 2700


def test_a_brush_stroke_that_starts_an_object_is_obeyed_and_taken_back_whole():
    session = session_on()
    path = [(20.0, 20.0 + step) for step in range(25)] + [(20.0 + step, 44.0) for step in range(9)]
    prompts = start_of_stroke(path, NOISE.shape)
    shown = session.start_with(prompts)
    under = stroke_pixels(prompts.strokes[0])
    assert shown.mask[tuple(under.T)].all()
    assert all(c.mask[tuple(under.T)].all() for c in shown.candidates)
    with pytest.raises(InputError, match="needs a click"):
        session.edit({0: None})
    session.click((50, 10), 1)
    session.edit({1: None})
    assert (session.prompts.clicks, session.prompts.strokes) == ((Click(50, 10),), ())
    assert session.timeline.state.evidence.places.tolist() == [[50, 10]]


def test_a_stroke_moves_the_view_that_is_chosen_for_its_clicks():
    clicks = (Click(10, 10), Click(12, 12))
    view = FieldOfView(5, 5, 20, 20)
    drawn = Prompts(clicks, strokes=(Stroke(((10, 10), (40, 40))),))
    assert widen(view, Prompts(clicks), NOISE.shape) == view
    assert widen(view, drawn, NOISE.shape).contains(40, 40)


def test_no_click_leaves_a_view_as_it_is():
    view = FieldOfView(3, 4, 20, 20)
    assert holding(view, Prompts()) == view


def test_a_click_between_two_pixels_at_the_end_of_the_view_is_obeyed():
    session = session_on()
    session.start([(6, 6)], view=FieldOfView(0, 0, 16, 16))
    assert session.click((15.5, 6.0), 1).mask[16, 6]


def test_the_edge_of_the_image_is_its_last_pixel_and_the_later_click_counts_there():
    assert check_click((59.5, 69.5), 1, NOISE.shape).pixel == (59, 69)
    session = session_on()
    session.start([(30, 30)])
    session.click((59.5, 40), 0)
    assert session.click((59, 40), 1).mask[59, 40]


def test_of_equal_clicks_the_one_that_was_named_is_taken_back():
    for taken, left in ((3, False), (1, True)):
        session = session_on()
        session.start([(30, 30)])
        for label in (1, 0, 1):
            session.click((32, 32), label)
        session.edit({taken: None})
        assert session.proposal.mask[32, 32] == left
        played = session_on().restore(
            [
                decision_from_record(decision_to_record(decision))
                for decision in session.timeline.state.decisions
            ]
        )
        np.testing.assert_array_equal(played.mask, session.proposal.mask)


def test_a_click_that_agrees_never_replaces_the_mask():
    image = np.random.default_rng(3).normal(0, 1, (12, 80))
    session = session_on(image, replace(MODEL, calibration=Calibration(3.0, {})))
    session.start([(0, 72)])
    session.resize(-1.0)
    session.pick(min(3, len(session.proposal.candidates) - 1))
    before = session.proposal.mask
    row, column = np.argwhere(~before)[-1]
    np.testing.assert_array_equal(session.click((row, column), 0).mask, before)


@pytest.mark.parametrize("shape", [(28, 34), (1, 1)])
def test_a_mask_that_fills_its_image_does_not_shrink_when_it_grows(shape):
    full = LocalMask.crop(np.ones(shape, bool))
    none = np.zeros((0, 2), np.int64)
    assert Stay(full, none, firm=True).grown(1.5, shape).mask.area == full.area
    session = session_on(np.zeros(shape, np.uint8))
    session.start(mask=np.ones(shape, bool), exact=True)
    assert session.resize(1.0).area == full.area


@pytest.mark.parametrize("corner", [(50, 60), (-5, 0)])
def test_a_mask_that_reaches_out_of_the_image_is_refused(corner):
    mask = LocalMask(Region(*corner, 30, 30), np.ones((30, 30), bool))
    session = session_on()
    with pytest.raises(InputError, match="reaches out of the image of 60 rows"):
        session.start(mask=mask, exact=True)
    assert session.phase == "ready"


@pytest.mark.parametrize(
    "view", [[0, 0, 0, 0], [0, 0, -5, -5], [float("nan"), 0, 5, 5], [1e300, 0, 5, 5]]
)
def test_a_view_that_cannot_be_is_a_damaged_log(view):
    session = session_on()
    session.start([(5, 5)])
    record = decision_to_record(session.timeline.state.decisions[0])
    with pytest.raises(DataError, match="damaged"):
        decision_from_record(record | {"view": view})


def test_decisions_of_another_image_are_refused_where_they_show_nothing_of_it():
    session = session_on()
    session.start([(55, 65)], view=FieldOfView(44, 54, 16, 16))
    with pytest.raises(InputError, match="another one"):
        session_on(NOISE[:30, :30]).restore(session.timeline.state.decisions)


def test_strange_numbers_of_clicks_are_a_sentence():
    session = session_on()
    session.start([(5, 5)])
    for strange in ({"a": None}, {0.5: (3, 3)}, {}, {0.0: None}, [0]):
        with pytest.raises(InputError, match="name those to change"):
            session.edit(strange)


def test_a_stroke_may_come_as_an_iterator():
    session = session_on()
    session.start([(5, 5)])
    assert session.stroke(zip([8, 9], [8, 12], strict=True)).mask[8:10, 8:13].any(axis=0).all()
