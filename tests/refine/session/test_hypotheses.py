"""Objects of other views are on offer; picking one moves the view, and undo moves it back."""

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.core.types import Click, Prompts
from napari_spa.io.profiles import CORRECTED_COUNTS
from napari_spa.refine.engine.alternatives import (
    Framed,
    dice_across,
    distinct,
    framed_from_arrays,
    framed_to_arrays,
    hypothesis,
)
from napari_spa.refine.engine.config import EngineConfig, FramingConfig
from napari_spa.refine.engine.view import FieldOfView
from napari_spa.refine.log.serialization import decision_from_record, decision_to_record
from napari_spa.refine.session.session import RefinementSession
from napari_spa.refine.session.state import known_of

IMAGE = np.random.default_rng(0).integers(0, 255, (120, 140), np.uint8)
CONFIG = EngineConfig(samples=12)
VIEW, WIDE = FieldOfView(20, 30, 20, 20), FieldOfView(0, 0, 120, 120)


def disc(view, row, column, radius, quality=0.9, size=32):
    steps = (np.arange(size) + 0.5) / size
    rows = view.row + steps * view.height
    columns = view.column + steps * view.width
    inside = np.hypot(rows[:, None] - row, columns - column) < radius
    return hypothesis(view, np.where(inside, 0.9, 0.1).astype(np.float32), inside, quality)


WHOLE = disc(WIDE, 50, 60, 40)


@pytest.fixture
def session(monkeypatch):
    session = RefinementSession(make_model(), seed=3, config=CONFIG)
    session.set_image(IMAGE)
    framed = Framed(VIEW, None, (WHOLE,))
    monkeypatch.setattr(
        session._predictor, "frame", lambda prompts, progress, expected=None: framed
    )
    return session


def offered(proposal):
    """Index of the candidate that is the object of the other view."""
    full = np.zeros(IMAGE.shape, bool)
    rows, columns = np.ogrid[: IMAGE.shape[0], : IMAGE.shape[1]]
    full = np.hypot(rows + 0.5 - 50, columns + 0.5 - 60) < 40
    likeness = [
        2 * (c.mask & full).sum() / (c.mask.sum() + full.sum()) for c in proposal.candidates
    ]
    index = int(np.argmax(likeness))
    assert likeness[index] > 0.95
    return index


def test_an_object_larger_than_the_view_is_on_offer(session):
    proposal = session.start(points=[(30, 40)])
    candidate = proposal.candidates[offered(proposal)]
    np.testing.assert_array_equal(candidate.added, candidate.mask & ~proposal.mask)
    np.testing.assert_array_equal(candidate.removed, proposal.mask & ~candidate.mask)
    assert sum(c.weight for c in proposal.candidates) == pytest.approx(1)


def test_picking_it_moves_the_view_and_undo_moves_it_back(session):
    first = session.start(points=[(30, 40)])
    second = session.pick(offered(first))
    view = session.view
    assert view.contains(15, 60)
    assert view.contains(85, 60)
    assert view.height > 80
    assert session.timeline.state.informative_picks == 0  # nothing about an outline was learnt
    assert session.timeline.state.hypotheses == ()
    back = session.undo()
    assert session.view == VIEW
    np.testing.assert_array_equal(back.mask, first.mask)
    again = session.redo()
    assert session.view == view
    np.testing.assert_array_equal(again.mask, second.mask)


def test_what_is_accepted_after_picks_of_other_objects_teaches_the_boundary(session, monkeypatch):
    """They say nothing of an outline; where the user wanted it in the end says the mask."""
    monkeypatch.setattr("napari_spa.refine.preference.SAME_OBJECT", 0.0)
    first = session.start(points=[(30, 40)])
    session.pick(offered(first))
    result = session.accept()
    assert known_of(result.decisions) == 1
    profile = result.profile
    assert (profile.picks, profile.corrected, profile.evidence) == (0, 1, CORRECTED_COUNTS)
    session.start(points=[(30, 40)])
    session.restore(result.decisions, learnt=known_of(result.decisions))
    assert session.accept().profile.evidence == CORRECTED_COUNTS


def test_it_is_restored_from_the_log_to_the_last_bit(session):
    first = session.start(points=[(30, 40)])
    session.pick(offered(first))
    second = session.click((50, 60), 1)
    records = [decision_to_record(d) for d in session.timeline.state.decisions]
    other = RefinementSession(make_model(), seed=9, config=CONFIG)
    other.set_image(IMAGE)
    restored = other.restore([decision_from_record(record) for record in records])
    np.testing.assert_array_equal(restored.probability, second.probability)
    assert other.view == session.view
    np.testing.assert_array_equal(other.undo().probability, session.undo().probability)
    np.testing.assert_array_equal(other.undo().probability, first.probability)
    assert len(other.proposal.candidates) == len(first.candidates)


def test_a_log_from_before_has_none():
    session = RefinementSession(make_model(), config=CONFIG)
    session.set_image(IMAGE)
    session.start(points=[(30, 40)])
    record = decision_to_record(session.timeline.state.decisions[0])
    del record["hypotheses"]
    assert decision_from_record(record).hypotheses is None
    session.restore([decision_from_record(record)])
    assert session.timeline.state.hypotheses == ()


def test_a_click_that_rules_it_out_takes_it_from_the_offer(session):
    session.start(points=[(30, 40)])
    shown = session.click((70, 60), 0)
    assert not any(c.mask[70, 60] for c in shown.candidates)


def test_only_what_differs_is_kept_the_best_first():
    good, same = disc(WIDE, 50, 60, 40, 0.9), disc(FieldOfView(5, 5, 110, 110), 50, 60, 39, 0.8)
    part, empty = disc(VIEW, 30, 40, 6, 0.7), disc(WIDE, 500, 500, 3, 1.0)
    assert distinct([part, same, empty, good], 4, 0.7) == (good, part)
    assert distinct([part, same, empty, good], 1, 0.7) == (good,)


def test_masks_of_two_views_are_compared_in_image_pixels():
    small, large = disc(VIEW, 30, 40, 6), disc(WIDE, 30, 40, 6, size=128)
    alike = dice_across(small.mask[None], VIEW, large.mask[None], WIDE)
    assert alike[0, 0] > 0.9
    np.testing.assert_allclose(alike, dice_across(large.mask[None], WIDE, small.mask[None], VIEW))
    apart = disc(WIDE, 90, 100, 6)
    assert dice_across(small.mask[None], VIEW, apart.mask[None], WIDE)[0, 0] == 0


def test_a_choice_comes_back_from_a_cache_as_it_was():
    framed = Framed(VIEW, Click(3.5, 4.25), (WHOLE, disc(VIEW, 30, 40, 6)))
    back = framed_from_arrays(framed_to_arrays(framed))
    assert (back.view, back.anchor) == (framed.view, framed.anchor)
    for one, other in zip(back.hypotheses, framed.hypotheses, strict=True):
        assert (one.view, one.quality) == (other.view, other.quality)
        np.testing.assert_array_equal(one.levels, other.levels)


def test_the_search_keeps_what_other_windows_saw():
    session = RefinementSession(make_model(), config=CONFIG)
    session.set_image(IMAGE)
    framed = session._predictor.frame(Prompts((Click(30, 40),)))
    assert len(framed.hypotheses) <= FramingConfig().hypotheses
    merits = [other.quality * other.area**0.05 for other in framed.hypotheses]
    assert merits == sorted(merits, reverse=True)
    assert all(other.mask.any() for other in framed.hypotheses)
