"""Clicks that are moved or taken back: as if they had been made so, in one act that is undone."""

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.errors import InputError
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.log.serialization import decision_from_record, decision_to_record
from napari_spa.refine.session.session import RefinementSession

SHAPE = (70, 90)
MODEL = make_model()


def begun():
    session = RefinementSession(MODEL, config=EngineConfig(samples=8))
    session.set_image(np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8))
    session.start(points=[(30, 40)])
    return session


def said(session):
    evidence = session.timeline.state.evidence
    pairs = zip(evidence.places.tolist(), evidence.labels.tolist(), strict=True)
    return {tuple(place): label for place, label in pairs}


def places(session):
    return [(click.row, click.column) for click in session.timeline.state.own_clicks]


def test_a_click_that_is_taken_back_was_never_made():
    session = begun()
    before = session.proposal.mask
    session.click((31, 45), 0)
    session.pick(0)
    shown = session.edit({1: None})
    assert shown.round == 4
    assert said(session) == {(30, 40): True}
    assert places(session) == [(30, 40)]
    assert session.undo().round == 3
    assert said(session) == {(30, 40): True, (31, 45): False}
    session.undo()
    session.undo()
    np.testing.assert_array_equal(session.proposal.mask, before)


def test_a_click_that_is_moved_holds_where_it_is_now():
    session = begun()
    session.click((31, 45), 0)
    shown = session.edit({0: (33, 38)})
    assert places(session) == [(31, 45), (33, 38)]
    assert said(session) == {(33, 38): True, (31, 45): False}
    assert shown.mask[33, 38]
    assert not shown.mask[31, 45]
    moved_again = session.edit({1: (31, 45)})  # onto the other: the later one holds
    assert moved_again.mask[31, 45]


def test_a_stroke_goes_with_its_clicks():
    session = begun()
    session.stroke([(20, 30), (20, 60)], 0)
    assert len(said(session)) == 32
    of_stroke = len(places(session)) - 1
    session.edit({of_stroke: None})
    assert said(session) == {(30, 40): True}
    assert not session.prompts.strokes


def test_something_is_left_to_start_from():
    session = begun()
    session.click((31, 45), 0)
    with pytest.raises(InputError, match="a click on it or a box"):
        session.edit({0: None})
    for wrong in ({}, {2: None}, {-1: (3, 4)}, {0: (99, 3)}):
        with pytest.raises(InputError):
            session.edit(wrong)
    assert session.proposal.round == 2


def test_edits_are_replayed_bit_for_bit():
    session = begun()
    session.click((31, 45), 0)
    session.stroke([(20, 30), (20, 60)], 0)
    session.edit({1: (40, 50), 2: None})
    shown = session.click((35, 42))
    records = [decision_to_record(d) for d in session.timeline.state.decisions]
    again = begun().restore([decision_from_record(record) for record in records])
    np.testing.assert_array_equal(again.mask, shown.mask)
    np.testing.assert_array_equal(again.local_probability, shown.local_probability)


def test_a_lasso_is_filled():
    session = begun()
    shown = session.stroke([(20, 30), (20, 50), (40, 50), (40, 30)], filled=True)
    assert shown.mask[20:41, 30:51].all()
    assert all(20 < row < 40 and 30 < column < 50 for row, column in places(session)[1:])
    shown = session.stroke([(25, 35), (25, 40), (30, 40), (30, 35)], 0, filled=True)
    assert not shown.mask[25:31, 35:41].any()
