"""A correction changes the mask near it: what was right before, or the user's own, stays."""

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.core.types import LocalMask, Region
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.predictor import SpaPredictor
from napari_spa.refine.engine.round import Stay, _staying
from napari_spa.refine.session.session import RefinementSession

MODEL = make_model(head="both")
IMAGE = np.random.default_rng(0).random((96, 96))
ROWS, COLUMNS = np.ogrid[:96, :96]
OWN = np.hypot(ROWS - 48, COLUMNS - 48) < 20


def session_of(**config):
    session = RefinementSession(MODEL, config=EngineConfig(samples=8, **config))
    session.set_image(IMAGE)
    return session


def far_from(place, mask):
    """Pixels farther from a place than six tenths of the extent of a mask."""
    box = Region.bounding(mask)
    away = np.hypot(ROWS - place[0], COLUMNS - place[1])
    return away > 0.6 * max(box.height, box.width)


@pytest.fixture
def trusting(monkeypatch):
    """A model without a calibration says nothing of how right it is; here it is right."""
    monkeypatch.setattr(SpaPredictor, "trusts", lambda predictor, shown: True)


def test_what_was_painted_stays_but_near_a_correction():
    session = session_of()
    session.start(mask=OWN, exact=True)
    np.testing.assert_array_equal(session.click((90, 48), label=0).mask, OWN)
    np.testing.assert_array_equal(session.stroke([(40, 40), (50, 50)]).mask, OWN)
    place = (48, 72)
    after = session.click(place).mask
    assert after[place]
    union = after | OWN
    np.testing.assert_array_equal((after != OWN) & far_from(place, union), False)
    place = (32, 48)
    before, after = after, session.click(place, label=0).mask
    assert not after[place]
    np.testing.assert_array_equal((after != before) & far_from(place, after | before), False)


def test_a_mask_that_is_expected_to_be_right_is_changed_near_a_correction(trusting):
    session = session_of()
    first = session.start(points=[(48, 48)]).mask
    on, off = np.argwhere(first), np.argwhere(~first)
    inside = tuple(on[len(on) // 2])
    np.testing.assert_array_equal(session.click(inside).mask, first)
    place = tuple(off[0])
    after = session.click(place).mask
    assert after[place]
    if LocalMask.crop(first).iou(LocalMask.crop(after)) > 0.2:
        changed = (after != first) & far_from(place, after | first)
        np.testing.assert_array_equal(changed, False)


def test_where_nothing_is_trusted_all_may_change():
    masks = []
    for trusted in (0.7, 2.0):
        session = session_of(trusted=trusted)
        session.start(points=[(48, 48)])
        masks.append(session.click((20, 20)).mask)
    np.testing.assert_array_equal(*masks)


def test_it_is_the_same_after_undo_and_from_the_log(trusting):
    session = session_of()
    session.start(mask=OWN, exact=True)
    shown = [session.click((48, 72)).mask, session.click((30, 40), label=0).mask]
    session.undo()
    np.testing.assert_array_equal(session.proposal.mask, shown[0])
    session.redo()
    np.testing.assert_array_equal(session.proposal.mask, shown[1])
    again = session_of()
    again.restore(session.timeline.state.decisions)
    np.testing.assert_array_equal(again.proposal.mask, shown[1])
    again.undo()
    np.testing.assert_array_equal(again.proposal.mask, shown[0])


@pytest.mark.parametrize(("firm", "kept"), [(False, False), (True, True)])
def test_another_object_takes_the_place_of_a_mask_that_is_not_ones_own(firm, kept):
    maps = np.zeros((1, 40, 40), np.float32)
    maps[0, 2:10, 2:10] = 0.9
    before = np.zeros((40, 40), dtype=bool)
    before[25:35, 25:35] = True
    stay = Stay(LocalMask.crop(before), np.array([[5, 5]]), firm)
    shown, region = _staying(stay, maps, Region(0, 0, 40, 40), 0.5)
    assert region == Region(0, 0, 40, 40)
    assert shown[0, 5, 5] > 0.5
    assert (shown[0, 30, 30] > 0.5) == kept


def test_what_stays_grows_and_shrinks_as_the_samples_do(trusting):
    session = session_of()
    session.start(mask=OWN, exact=True)
    session.click((48, 72))
    shown = session.click((30, 40), label=0)
    np.testing.assert_array_equal(session.at_size(shown.size).mask, shown.mask)
    masks = [session.at_size(size).mask for size in (-0.8, -0.3, shown.size, 0.5, 0.9)]
    areas = [int(mask.sum()) for mask in masks]
    assert areas == sorted(areas)
    assert areas[-1] > 1.1 * areas[0]
    for mask in masks:
        assert mask[48, 72]
        assert not mask[30, 40]
    np.testing.assert_array_equal(session.resize(0.5).mask, masks[3])
    again = session_of()
    again.restore(session.timeline.state.decisions)
    np.testing.assert_array_equal(again.proposal.mask, masks[3])


def test_ones_own_mask_comes_back_where_a_click_is_taken_back():
    session = session_of()
    session.start(mask=OWN, exact=True)
    session.click((48, 72))
    session.click((30, 40), label=0)
    np.testing.assert_array_equal(session.edit({1: None, 2: None}).mask, OWN)
    moved = session.undo()
    np.testing.assert_array_equal(session.set_view(session.view).mask, moved.mask)


def test_no_size_costs_the_mask_that_stays():
    session = session_of()
    session.start(mask=OWN, exact=True)
    shown = session.click((90, 90), label=0)
    for size in (-1.0, 1.0):
        session.resize(size)
    np.testing.assert_array_equal(session.resize(shown.size).mask, shown.mask)


def test_ones_own_mask_stays_where_the_image_is_seen_otherwise():
    session = session_of()
    session.start(mask=OWN, exact=True)
    shown = session.click((48, 72))
    state = session.timeline.state
    session.set_image(1.0 - IMAGE)
    again = session.look_again(state, LocalMask.crop(shown.local_mask, shown.region))
    np.testing.assert_array_equal(again.mask, shown.mask)
    np.testing.assert_array_equal(session.click((90, 48), label=0).mask, shown.mask)


def test_a_mask_of_the_only_pixel_has_every_size():
    session = RefinementSession(MODEL, config=EngineConfig(samples=8))
    session.set_image(np.ones((1, 1)))
    session.start(mask=[[1]], exact=True)
    for size in (-1.0, 1.0):
        assert session.resize(size).mask.all()
