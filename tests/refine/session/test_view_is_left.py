"""A view that proves wrong is left in the same round, undone with it, and replayed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import make_model

from napari_spa.core.types import Box, Click, LocalMask, Prompts, Region
from napari_spa.io.models.load import load_model
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.predictions import WindowPrediction, cuts, standing
from napari_spa.refine.engine.samples import Reach
from napari_spa.refine.engine.view import FieldOfView, fits
from napari_spa.refine.session.session import RefinementSession

CONFIG = EngineConfig(samples=12)
SHAPE = (200, 260)


def discs():
    """Draw a small bright disc at (60, 60) and a large one at (130, 180), on noise."""
    rows, columns = np.indices(SHAPE)
    image = np.random.default_rng(1).normal(60, 8, SHAPE)
    image[np.hypot(rows - 60, columns - 60) < 12] += 90
    image[np.hypot(rows - 130, columns - 180) < 50] += 90
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def session():
    session = RefinementSession(load_model("spa-tiny", device="cpu"), seed=3, config=CONFIG)
    session.set_image(discs())
    return session


@pytest.fixture
def random_session():
    session = RefinementSession(make_model(), seed=3, config=CONFIG)
    session.set_image(discs())
    return session


def test_a_large_object_seen_through_a_small_view_is_found_by_one_click(session):
    trap = FieldOfView(120, 170, 20, 20)
    session.start(points=[(130, 180)], view=trap)
    proposal = session.click((100, 160))
    rows, columns = np.indices(SHAPE)
    target = np.hypot(rows - 130, columns - 180) < 50
    overlap = 2 * (proposal.mask & target).sum() / (proposal.mask.sum() + target.sum())
    assert session.view.height > 60
    assert overlap > 0.8


def test_the_view_goes_back_with_undo_and_comes_again_with_redo_and_replay(session):
    before = FieldOfView(120, 170, 20, 20)
    first = session.start(points=[(130, 180)], view=before)
    second = session.click((100, 160))
    after, decisions = session.view, session.timeline.state.decisions
    assert session.undo().mask.tobytes() == first.mask.tobytes()
    assert session.view == before
    assert session.redo().mask.tobytes() == second.mask.tobytes()
    assert session.view == after
    again = RefinementSession(session.model, seed=3, config=CONFIG)
    again.set_image(discs())
    assert again.restore(decisions).mask.tobytes() == second.mask.tobytes()
    assert again.view == after


def test_a_box_larger_than_the_view_and_one_that_is_a_speck_in_it_set_the_view(random_session):
    random_session.start(points=[(130, 180)], view=FieldOfView(120, 170, 20, 20))
    random_session.box((80, 130, 180, 230))
    wide = random_session.view
    assert wide.height == pytest.approx(200)
    assert all(wide.contains(*corner) for corner in Box(80, 130, 180, 230).corners)
    random_session.box((125, 175, 135, 185))
    assert random_session.view.height < 100
    assert random_session.view.contains(130, 180)


def test_a_click_that_the_samples_follow_leaves_the_view_alone(session):
    session.start(points=[(60, 60)])
    before = session.view
    session.click((60, 63))
    assert session.view == before


def test_only_a_mask_that_the_edge_cuts_calls_for_a_step_back(random_session):
    predictor, view = random_session._predictor, FieldOfView(40, 40, 50, 50)
    inner = LocalMask(Region(50, 50, 20, 20), np.ones((20, 20), dtype=bool))
    filling = LocalMask(Region(40, 40, 50, 50), np.ones((50, 50), dtype=bool))
    assert predictor.step_back(view, inner) is None
    wider = predictor.step_back(view, filling)
    assert wider.height == pytest.approx(100)
    assert not cuts(wider, filling, SHAPE)
    whole = LocalMask(Region(0, 0, *SHAPE), np.ones(SHAPE, dtype=bool))
    assert predictor.step_back(FieldOfView(-30, 0, 260, 260), whole) is None


def test_a_pick_that_steps_back_is_undone_with_it(random_session, monkeypatch):
    wide = FieldOfView(-30, 0, 260, 260)
    monkeypatch.setattr(random_session._predictor, "step_back", lambda view, mask: wide)
    random_session.start(points=[(130, 180)], view=FieldOfView(105, 155, 50, 50))
    random_session.pick(0)
    assert random_session.view == wide
    random_session.undo()
    assert random_session.view.height == 50


place = st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1))
corner = st.tuples(st.integers(0, SHAPE[0] - 8), st.integers(0, SHAPE[1] - 8))
SHARED = RefinementSession(make_model(), seed=3, config=CONFIG)
SHARED.set_image(discs())


@settings(max_examples=15, deadline=None)
@given(
    start=place, acts=st.lists(st.one_of(st.tuples(place, st.integers(0, 1)), corner), max_size=4)
)
def test_whatever_is_said_lies_in_the_view_and_undo_restores_it(start, acts):
    session = SHARED
    session.start(points=[start])
    views = [session.view]
    for act in acts:
        if isinstance(act[0], tuple):
            session.click(*act)
        else:
            row, column = act
            session.box((row, column, row + 8, column + 8))
        assert all(session.view.contains(c.row, c.column) for c in session.prompts.clicks)
        if session.prompts.box is not None:
            assert all(session.view.contains(*c) for c in session.prompts.box.corners)
        views.append(session.view)
    for view in views[-2::-1]:
        session.undo()
        assert session.view == view


@given(
    side=st.floats(20, 200),
    row=st.floats(0, 150),
    extent=st.floats(2, 180),
)
def test_a_box_fits_a_view_that_holds_it_with_room_and_not_as_a_speck(side, row, extent):
    view = FieldOfView.around(100, 100, side)
    box = Box(row, 95, row + extent, 105)
    if fits(view, box, (1000, 1000)):
        assert all(view.contains(*c) for c in box.corners)
        assert max(extent, 10) >= 0.1 * side
    around = FieldOfView.around(row + extent / 2, 100, 2 * max(extent, 10))
    assert fits(around, box, (1000, 1000))


def test_reach_is_what_some_sample_says():
    on = np.zeros((10, 10), dtype=bool)
    on[2, 2] = True
    reach = Reach(FieldOfView(0, 0, 100, 100), on, ~on)
    assert reach.allows(Click(25, 25))
    assert reach.allows(Click(34, 34))  # one pixel of the samples beside it
    assert not reach.allows(Click(75, 75))
    assert reach.allows(Click(75, 75, 0))
    assert not reach.allows(Click(500, 500))
    assert reach.allows(Click(500, 500, 0))


def test_a_view_stands_by_clicks_agreed_with_wholeness_and_trust():
    view, mask = FieldOfView(0, 0, 100, 100), np.zeros((50, 50), dtype=bool)
    mask[10:30, 10:30] = True
    clicks = Prompts((Click(40, 40), Click(90, 90, 0)))
    full = standing([WindowPrediction(view, mask, 0.8)], clicks, (300, 300))
    assert full == pytest.approx(0.8)
    wrong = Prompts((Click(40, 40), Click(90, 90)))
    assert standing([WindowPrediction(view, mask, 0.8)], wrong, (300, 300)) == pytest.approx(0.4)
    mask[10:30, 10:] = True  # cut on the right by two fifths of the side
    assert standing([WindowPrediction(view, mask, 0.8)], clicks, (300, 300)) == pytest.approx(0.48)
    assert standing([WindowPrediction(view, mask, 0.8)], clicks, (100, 100)) == pytest.approx(0.8)
