"""The size of a recommendation: an axis one moves along, without a new sample."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.errors import DataError, InputError, SessionError
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.log.serialization import decision_from_record, decision_to_record
from napari_spa.refine.session.session import RefinementSession

IMAGE = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
IMAGE[20:50, 30:60] //= 2
MODELS = {
    "both": make_model(),
    "logit": make_model("logit", convention="medsam"),
    "latent": make_model("latent", convention="sam"),
}
MIXED = ["both", "logit"]  # whose mixture holds the size


@pytest.fixture(params=MODELS)
def session(request):
    return begun(MODELS[request.param])


def begun(model, **points):
    session = RefinementSession(model, seed=3, config=EngineConfig(samples=12))
    session.set_image(IMAGE)
    session.start(**(points or {"points": [(30, 40)]}))
    return session


def same(one, other):
    masks = [[c.mask for c in shown.candidates] for shown in (one, other)]
    return (one.probability == other.probability).all() and all(
        (a == b).all() for a, b in zip(*masks, strict=True)
    )


def test_the_size_it_has_is_the_size_it_keeps(session):
    first = session.proposal
    assert -1 < first.size < 1
    again = session.at_size(first.size)
    assert (again.mask == first.mask).all()
    assert again.size == pytest.approx(first.size)


def test_a_size_is_where_it_was_asked_for(session):
    for size in (-1, -0.3, 0.0, 0.62, 1):
        shown = session.resize(size)
        assert shown.size == pytest.approx(size, abs=1e-6)
        assert session.proposal is shown


def test_larger_is_larger_by_every_pixel(session):
    """Of what was said nothing but a click in the middle is in the way of it."""
    masks = [session.at_size(size).mask for size in np.linspace(-1, 1, 9)]
    areas = [int(mask.sum()) for mask in masks]
    assert areas == sorted(areas)
    assert areas[-1] > 1.2 * areas[0]
    assert all(not (a & ~b).any() for a, b in pairwise(masks))


def test_nothing_is_decoded_again(session, monkeypatch):
    def never(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr(session._predictor.head, "decode", never)
    session.at_size(0.4)
    session.resize(-0.2)
    session.undo()
    session.resize(0.5)
    session.resize(0.6)


def test_looking_at_a_size_does_nothing(session):
    before, timeline = session.proposal, session.timeline
    assert session.at_size(0.7).area != before.area
    assert session.timeline is timeline
    assert session.proposal is before
    assert same(session.at_size(0.7), session.resize(0.7))


def test_it_is_undone_and_done_again(session):
    first = session.proposal
    grown = session.resize(0.5)
    assert grown.round == 2
    shrunk = session.resize(-0.5)
    assert session.undo().size == grown.size
    assert session.undo() is first
    session.redo()
    assert same(session.redo(), shrunk)


@pytest.mark.parametrize("kind", MODELS)
def test_it_is_restored_to_the_last_bit(kind):
    session = begun(MODELS[kind])
    session.resize(0.4)
    session.click((25, 35), 0)
    session.pick(0)
    session.resize(-0.3)
    shown = session.click((40, 50), 1)
    records = [json.loads(json.dumps(decision_to_record(d))) for d in session.timeline.latest]
    assert [record["act"] for record in records].count("resize") == 2
    other = RefinementSession(MODELS[kind], seed=9, config=EngineConfig(samples=12))
    other.set_image(IMAGE)
    again = other.restore([decision_from_record(record) for record in records], undone=1)
    assert again.size == pytest.approx(-0.3)
    assert same(other.redo(), shown)
    assert other.proposal.size == shown.size


@pytest.mark.parametrize("kind", MODELS)
def test_a_click_keeps_it_and_so_does_a_box(kind):
    session = begun(MODELS[kind])
    session.resize(0.5)
    assert session.click((28, 44), 1).size == pytest.approx(0.5)
    assert session.box((10, 20, 60, 70)).size == pytest.approx(0.5)


@pytest.mark.parametrize("kind", MIXED)
def test_a_pick_moves_on_from_it(kind):
    """The mixture holds it from then on: further picks move it as ever."""
    session = begun(MODELS[kind])
    plain = begun(MODELS[kind])
    session.resize(0.8)
    before = session.timeline.state.mixture
    session.pick(0)
    assert session.timeline.state.size is None
    channel = session._predictor.head.size_channel
    centre = [m.weights @ m.means[:, channel] for m in (before, session.mixture)]
    plain.pick(0)
    assert centre[1] > plain.mixture.weights @ plain.mixture.means[:, channel]
    assert session.proposal.size > plain.proposal.size


def test_where_the_mixture_has_no_size_a_pick_leaves_it():
    session = begun(MODELS["latent"])
    session.resize(0.5)
    assert session.pick(0).size == pytest.approx(0.5)


@pytest.mark.parametrize("kind", MIXED)
def test_what_was_accepted_at_a_size_teaches_it(kind):
    profiles = []
    for size in (-0.8, 0.8):
        session = begun(MODELS[kind])
        session.pick(0)
        session.resize(size)
        profiles.append(session.accept().profile)
    channel = session._predictor.head.size_channel
    small, large = (p.mixture.weights @ p.mixture.means[:, channel] for p in profiles)
    assert small < large
    assert profiles[0].picks == profiles[1].picks == 1


@pytest.mark.parametrize("size", [1.01, -2, float("nan"), float("inf"), "0.5", None, [0.1], True])
def test_what_is_no_size_is_one_sentence(session, size):
    for act in (session.resize, session.at_size):
        with pytest.raises(InputError, match="size"):
            act(size)
    assert not session.can_undo


def test_there_is_nothing_to_resize_before_a_start():
    session = RefinementSession(MODELS["both"])
    for act in (session.resize, session.at_size):
        with pytest.raises(SessionError, match="cannot resize yet"):
            act(0.1)


def test_a_log_that_is_damaged_there_is_one_sentence(session):
    session.resize(0.5)
    start, resized = session.timeline.latest
    record = decision_to_record(resized)
    for size in (2.0, "x", None):
        with pytest.raises(DataError):
            decision_from_record(record | {"size": size})
    with pytest.raises(InputError, match="damaged"):
        session.restore([start, replace(resized, size=None)])


def test_older_logs_say_nothing_about_size(session):
    record = decision_to_record(session.timeline.latest[0])
    del record["size"]
    assert decision_from_record(record).size is None
