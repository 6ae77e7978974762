"""An object goes on while the image is seen with other channels or contrast."""

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.core.types import LocalMask
from napari_spa.refine.engine.config import EngineConfig, FramingConfig
from napari_spa.refine.session.session import RefinementSession

IMAGE = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
OTHER = IMAGE[..., 1].copy()
# Without other objects on offer: a pick of one says nothing of outlines.
CONFIG = EngineConfig(samples=12, framing=FramingConfig(hypotheses=0))


@pytest.fixture
def session():
    session = RefinementSession(make_model(), config=CONFIG)
    session.set_image(IMAGE)
    session.start(points=[(30, 40)])
    return session


def look_at(session, image):
    """See another image, and go on with the object there; return the mask before."""
    shown, state = session.proposal, session.timeline.state
    mask = LocalMask.crop(shown.local_mask, shown.region)
    session.set_image(image)
    session.look_again(state, mask)
    return mask, state


def bits(session):
    proposal = session.proposal
    masks = [c.local_mask.tobytes() for c in proposal.candidates]
    return proposal.local_probability.tobytes(), masks, proposal.region, proposal.round


def test_what_was_picked_leads_on_as_one_more_round(session):
    session.click((35, 42))
    session.pick(0)
    mask, before = look_at(session, OTHER)
    after = session.timeline.state
    assert after.decisions[:-1] == before.decisions
    assert (after.decisions[-1].act, after.number) == ("look", before.number + 1)
    assert after.prompts.mask is mask
    assert (after.prompts.clicks, after.view) == (before.prompts.clicks, before.view)
    np.testing.assert_array_equal(after.mixture.means, before.mixture.means)
    assert after.own_clicks == before.own_clicks
    assert not session.can_undo  # on this image
    session.accept()
    assert session.profile.picks == 1


def test_what_was_only_clicked_is_looked_for_anew(session):
    session.click((35, 42))
    look_at(session, OTHER)
    assert session.prompts.mask is None
    assert len(session.prompts.clicks) == 2
    assert session.proposal.round == 3


def test_a_field_of_view_that_was_chosen_by_hand_stays(session):
    wider = type(session.view).around(35, 45, 1.5 * session.view.height)
    session.set_view(wider)
    view = session.view
    look_at(session, OTHER)
    assert session.view == view
    assert session.prompts.mask is None


def test_pixels_that_are_refined_are_recommended_exactly(session):
    mask = np.zeros(IMAGE.shape[:2], bool)
    mask[20:40, 30:50] = True
    session.start(mask=mask, exact=True)
    look_at(session, OTHER)
    np.testing.assert_array_equal(session.proposal.mask, mask)


def test_each_stretch_is_played_again_on_the_image_that_it_was_seen_on(session):
    session.pick(0)
    first = bits(session)
    look_at(session, OTHER)
    looked = bits(session)
    session.pick(0)
    decisions, picked = session.timeline.state.decisions, bits(session)
    assert [decision.act for decision in decisions] == ["start", "pick", "look", "pick"]
    session.set_image(OTHER)
    session.restore(decisions)
    assert bits(session) == picked
    session.undo()
    assert bits(session) == looked
    assert not session.can_undo
    session.restore(decisions, undone=1)
    assert bits(session) == looked
    session.redo()
    assert bits(session) == picked
    session.set_image(IMAGE)
    session.restore(decisions, undone=2)
    assert bits(session) == first
    assert not session.can_redo  # what comes then was seen on another image
    session.undo()
    assert session.proposal.round == 1
