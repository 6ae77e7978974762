"""Tests of a session over time: strokes, other views, undo, restoring, and flat memory."""

import gc
import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.core.types import Candidate, Click, Proposal, Region
from napari_spa.errors import Cancelled, InputError, SessionError
from napari_spa.refine.engine.alternatives import Choice, Option
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.round import Feedback, Round
from napari_spa.refine.engine.samples import Reach
from napari_spa.refine.engine.view import FieldOfView
from napari_spa.refine.log.serialization import decision_from_record, decision_to_record
from napari_spa.refine.session import state as session_state
from napari_spa.refine.session.acts import Decision
from napari_spa.refine.session.session import RefinementSession
from napari_spa.refine.session.state import UNDO_DEPTH, RoundCache, SessionState, Timeline

IMAGE = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
IMAGE[20:50, 30:60] //= 2
CONFIG = EngineConfig(samples=12)
START = [(30, 40)]


@pytest.fixture(scope="module")
def model():
    return make_model()


def begun(model, seed=3, image=IMAGE):
    session = RefinementSession(model, seed=seed, config=CONFIG)
    session.set_image(image)
    return session


@pytest.fixture
def session(model):
    session = begun(model)
    session.start(points=START)
    return session


def bits(proposal):
    """All that a round shows, to the last bit."""
    maps = [proposal.local_probability, *(c.local_mask for c in proposal.candidates)]
    weights = [c.weight for c in proposal.candidates]
    return (
        [m.tobytes() for m in maps],
        weights,
        proposal.region,
        proposal.round,
        proposal.uncertainty,
    )


def told(decisions):
    return [decision_to_record(decision) for decision in decisions]


def play(session, rng, rounds=7):
    """Do anything that a user can do; the rounds that were shown."""
    height, width = session.sampler.shape
    for _ in range(rounds):
        place = (rng.uniform(0, height - 1), rng.uniform(0, width - 1))
        end = (rng.uniform(0, height - 1), rng.uniform(0, width - 1))
        offered = len(session.proposal.candidates)
        match rng.choice(["pick", "pick", "click", "stroke", "box", "look", "undo", "redo"]):
            case "pick" if offered:
                session.pick(int(rng.integers(offered)))
            case "click":
                session.click(place, int(rng.integers(2)))
            case "stroke":
                session.stroke([place, end], int(rng.integers(2)))
            case "box":
                session.box((10, 10, 30 + place[0] / 2, 40 + place[1] / 2))
            case "look":
                session.set_view(FieldOfView.around(*place, float(rng.uniform(20, 80))))
            case "undo" if session.can_undo:
                session.undo()
            case "redo" if session.can_redo:
                session.redo()


# ----------------------------------------------------------------------------------- strokes


def test_a_stroke_is_a_few_clicks_along_it(session):
    extent = session.view.height
    path = [(30.0, 20.0 + step) for step in range(31)]
    proposal = session.stroke(path, 0)
    assert proposal.round == 2
    assert session.timeline.state.decisions[-1].act == "stroke"
    drawn = session.prompts.clicks[1:]
    assert 1 <= len(drawn) == min(5, int(np.ceil(30 / (extent / 8)))) <= 5
    assert {(click.row, click.label) for click in drawn} == {(30.0, 0)}
    columns = [click.column for click in drawn]
    np.testing.assert_allclose(columns, 20 + (np.arange(len(drawn)) + 0.5) / len(drawn) * 30)
    assert session.undo().round == 1
    assert session.prompts.clicks == (Click(30.0, 40.0, 1),)


def test_a_dot_is_a_click(model, session):
    session.stroke([(25.0, 45.0)], 1)
    other = begun(model)
    other.start(points=START)
    assert bits(other.click((25.0, 45.0), 1)) == bits(session.proposal)


def test_a_stroke_that_leaves_the_view_widens_it(model):
    session = begun(model, image=np.zeros((400, 400), np.uint8))
    session.start(box=(10, 10, 40, 40))
    session.stroke([(30, 30), (300, 310)])
    clicks = session.prompts.clicks
    assert len(clicks) == 5
    assert all(session.view.contains(click.row, click.column) for click in clicks)


@pytest.mark.parametrize(
    ("path", "label"),
    [([], 1), ([(5, 5), (5, 500)], 1), ([(5, 5)], 2), ([(5, np.nan)], 0), (["ab"], 1)],
)
def test_a_stroke_that_cannot_be(session, path, label):
    before = session.proposal
    with pytest.raises(InputError) as caught:
        session.stroke(path, label)
    assert str(caught.value).endswith(".")
    assert session.proposal is before
    assert not session.can_undo


# -------------------------------------------------------------------------------- other views


def test_another_view_shows_the_same_object(session):
    view, mixture = session.view, session.mixture
    proposal = session.set_view(FieldOfView(10.0, 20.0, 40.0, 40.0))
    assert proposal.round == 2
    assert session.view == FieldOfView(10.0, 20.0, 40.0, 40.0)
    assert proposal.region == Region(10, 20, 40, 40)
    assert session.mixture is mixture
    assert session.timeline.state.decisions[-1].act == "view"
    session.undo()
    assert session.view == view
    assert session.redo() is not None
    assert session.view.height == 40.0


def test_a_view_holds_all_prompts_and_lies_in_the_image(session):
    session.set_view(FieldOfView(-500.0, -500.0, 12.0, 12.0))
    assert session.view.contains(30, 40)
    session.set_view(FieldOfView(50.0, 70.0, 30.0, 30.0))
    assert session.view.contains(30, 40)
    session.set_view(FieldOfView(0.0, 0.0, 1e6, 1e6))
    assert session.view.height <= 1.5 * 90
    session.set_view(FieldOfView(29.0, 39.0, 0.5, 0.5))
    assert session.view.height >= 8.0


@pytest.mark.parametrize("convention", ["medsam", "sam"])
def test_a_model_that_sees_whole_images_has_one_view(convention):
    session = begun(make_model(convention=convention))
    before = session.start(points=START)
    with pytest.raises(SessionError, match="whole image"):
        session.set_view(FieldOfView(10.0, 20.0, 40.0, 40.0))
    assert session.proposal is before


@pytest.mark.parametrize("act", ["stroke", "set_view"])
def test_nothing_without_an_object(model, act):
    session = RefinementSession(model, config=CONFIG)
    given = {"stroke": [(1, 1)], "set_view": FieldOfView(0, 0, 9, 9)}[act]
    with pytest.raises(SessionError, match="set_image"):
        getattr(session, act)(given)
    session.set_image(IMAGE)
    with pytest.raises(SessionError, match="start an object"):
        getattr(session, act)(given)


# ---------------------------------------------------------------------------------- restoring


@pytest.mark.parametrize("seed", range(4))
def test_restoring_is_the_original_to_the_last_bit(model, seed):
    rng = np.random.default_rng(seed)
    original = begun(model, seed)
    original.start(points=[(25, 45), (40, 50)])
    play(original, rng)
    timeline = original.timeline
    # Elsewhere, after other objects, from what a log on disk holds.
    lines = [json.dumps(record) for record in told(timeline.latest)]
    decisions = [decision_from_record(json.loads(line)) for line in lines]
    other = begun(model, seed + 100)
    other.start(points=[(5, 5)])
    restored = other.restore(decisions, undone=len(timeline.future))
    assert bits(restored) == bits(original.proposal)
    assert told(other.timeline.latest) == told(timeline.latest)
    # Then all rounds before and after it, and those to come.
    while original.can_undo:
        assert bits(other.undo()) == bits(original.undo())
    assert not other.can_undo
    while original.can_redo:
        assert bits(other.redo()) == bits(original.redo())
    assert not other.can_redo
    assert bits(other.click((33, 44), 1)) == bits(original.click((33, 44), 1))
    if original.proposal.candidates:
        assert bits(other.pick(0)) == bits(original.pick(0))
    ours, theirs = (s.timeline.state.decisions[-1] for s in (original, other))
    assert told([replace(ours, time=0.0)]) == told([replace(theirs, time=0.0)])


@pytest.mark.parametrize("head", ["latent", "logit"])
def test_restoring_with_each_head(head):
    model = make_model(head)
    original = begun(model)
    original.start(points=START)
    original.pick(0)
    expected = bits(original.stroke([(20, 35), (45, 55)], 0))
    decisions = original.accept().decisions
    assert bits(begun(model, 99).restore(decisions)) == expected


def test_a_restored_object_can_be_accepted_and_its_picks_count_once(model, session):
    session.pick(0)
    first = session.accept()
    assert (first.profile.picks, first.profile.images) == (1, 1)
    session.restore(first.decisions, learnt=1)
    session.pick(0)
    second = session.accept()
    assert (second.profile.picks, second.profile.images) == (2, 1)
    assert second.rounds == 3
    recovered = begun(model)
    recovered.restore(second.decisions)
    assert recovered.accept().profile.picks == 2
    np.testing.assert_array_equal(recovered.proposal.mask, second.mask)


def test_restoring_a_long_object_keeps_the_undo_depth(session, monkeypatch):
    quicken(session, monkeypatch)
    for step in range(UNDO_DEPTH + 20):
        session.click((30, 30 + step % 30))
    decisions = session.timeline.state.decisions
    assert session.restore(decisions, undone=3).round == len(decisions) - 3
    assert len(session.timeline.past) == UNDO_DEPTH - 3
    assert session.timeline.latest[-1].time == decisions[-1].time


def test_a_restore_that_fails_changes_nothing(model, session):
    shown = session.pick(0)
    timeline = session.timeline
    start, pick = timeline.state.decisions
    with pytest.raises(InputError, match="begin with its start"):
        session.restore([])
    with pytest.raises(InputError, match="begin with its start"):
        session.restore([pick])
    with pytest.raises(InputError, match="begin with its start"):
        session.restore([start, pick], undone=2)
    with pytest.raises(InputError, match="offers no candidate 9"):
        session.restore([start, replace(pick, pick=9)])
    with pytest.raises(InputError, match="offers no candidate None"):
        session.restore([start, replace(pick, pick=None)])

    def cancel(share, message):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        session.restore([replace(start, seed=5), pick], progress=cancel)
    assert session.timeline is timeline
    assert session.proposal is shown
    with pytest.raises(SessionError, match="set_image"):
        RefinementSession(model, config=CONFIG).restore([start])


def test_the_seeds_of_the_decisions_count(session):
    session.click((35, 45))
    expected = session.proposal
    start, click = session.timeline.state.decisions
    other = session.restore([start, replace(click, seed=5)])
    assert session.timeline.state.seed == 5
    assert bits(other) != bits(expected)
    assert bits(session.restore([start, click])) == bits(expected)


def test_a_frozen_session_restores_frozen(model):
    frozen = RefinementSession(model, adapt=False, config=CONFIG)
    frozen.set_image(IMAGE)
    frozen.start(points=START)
    expected = bits(frozen.pick(0))
    decisions = frozen.accept().decisions
    assert bits(frozen.restore(decisions)) == expected
    assert frozen.mixture is decisions[0].mixture


# ------------------------------------------------------------------------- undo, kept rounds


def states(count):
    """So many states; a timeline asks nothing of them but their decisions."""
    return [SimpleNamespace(decisions=tuple(range(n + 1))) for n in range(count)]


def test_a_timeline_goes_back_and_forth():
    first, second, third, other = states(4)
    timeline = Timeline(first).push(second).push(third)
    assert timeline.latest == (0, 1, 2)
    back = timeline.back().back()
    assert (back.state, back.past, back.future) == (first, (), (second, third))
    assert back.latest == (0, 1, 2)
    assert back.forward().state is second
    pushed = back.forward().push(other)
    assert (pushed.past, pushed.state, pushed.future) == ((first, second), other, ())


def test_a_timeline_forgets_what_is_old():
    timeline = Timeline(SimpleNamespace(decisions=()))
    for state in states(3 * UNDO_DEPTH):
        timeline = timeline.push(state)
    assert len(timeline.past) == UNDO_DEPTH
    for _ in range(UNDO_DEPTH):
        timeline = timeline.back()
    assert not timeline.past
    assert len(timeline.future) == UNDO_DEPTH


class Predictor:
    """Computes rounds of a known size, and counts them."""

    def __init__(self, megabytes):
        self.size, self.calls = megabytes * 2**20, []

    def propose(self, asked, progress):
        self.calls.append(asked.number)
        return round_of(asked.number, self.size)


def round_of(number, size, candidates=2):
    region = Region(0, 0, 4, 4)
    mask = np.zeros((4, 4), dtype=bool)
    offered = tuple(Candidate(mask, mask, region, (70, 90), 0.5) for _ in range(candidates))
    proposal = Proposal(np.zeros((4, 4), np.float32), region, (70, 90), 0.5, 0.1, number, offered)
    logits = np.zeros((size // candidates // 4,), dtype=np.float32)
    latents = np.full((3, 5), 0.1)
    shown = (Option(FieldOfView(0, 0, 70, 90), np.zeros((4, 4), np.float32)),) * candidates
    feedback = tuple(
        Feedback(latents, logits.copy(), Click(9.0, 9.0), Choice(shown, index))
        for index in range(candidates)
    )
    nothing = np.zeros((4, 4), dtype=bool)
    return Round(proposal, feedback, Reach(FieldOfView(0, 0, 70, 90), nothing, nothing))


def numbered(count):
    return [
        SimpleNamespace(view=None, prompts=None, mixture=None, number=n, seed=0)
        for n in range(count)
    ]


@pytest.fixture
def hashable_states():
    class State(SimpleNamespace):
        __hash__ = object.__hash__
        __eq__ = object.__eq__

    return [State(asked=state, **vars(state)) for state in numbered(60)]


def test_rounds_are_kept_up_to_a_size(hashable_states):
    predictor = Predictor(megabytes=2)
    rounds = RoundCache(predictor)
    for state in hashable_states:
        rounds.show(state)
    kept = [state.number for state in hashable_states if rounds.known(state) is not None]
    assert kept == list(range(60 - len(kept), 60))
    assert len(kept) * 2 * 2**20 <= session_state._KEPT_BYTES < (len(kept) + 2) * 2 * 2**20
    predictor.calls.clear()
    rounds.show(hashable_states[-1])
    rounds.show(hashable_states[kept[0]])  # now it is the latest
    assert not predictor.calls
    rounds.show(hashable_states[0])
    assert predictor.calls == [0]
    assert rounds.known(hashable_states[kept[0]]) is not None
    assert rounds.known(hashable_states[kept[1]]) is None
    rounds.forget()
    assert rounds.known(hashable_states[-1]) is None


def test_two_rounds_are_kept_of_any_size(hashable_states):
    rounds = RoundCache(Predictor(megabytes=100))
    for state in hashable_states[:5]:
        rounds.show(state)
    assert [n for n in range(5) if rounds.known(hashable_states[n]) is not None] == [3, 4]


def test_a_round_that_was_let_go_comes_back_the_same(model, monkeypatch):
    monkeypatch.setattr(session_state, "_KEPT_BYTES", 0)
    session = begun(model)
    shown = [bits(session.start(points=START))]
    for step in range(4):
        shown.append(bits(session.pick(0) if step % 2 else session.click((20 + step, 40), 1)))
    assert len(session._rounds._kept) == 2
    for expected in reversed(shown[:-1]):
        assert bits(session.undo()) == expected
    for expected in shown[1:]:
        assert bits(session.redo()) == expected


def quicken(session, monkeypatch, size=2**18):
    """Let a session run without its network, on rounds of a size."""
    predictor = session._predictor
    monkeypatch.setattr(
        predictor, "propose", lambda asked, _: round_of(asked.number, size), raising=True
    )
    monkeypatch.setattr(predictor, "refresh", lambda mixture, *_: mixture)
    monkeypatch.setattr(predictor, "reconsider", lambda *_: None)


def test_as_many_rounds_can_be_undone_as_promised(session, monkeypatch):
    quicken(session, monkeypatch)
    for step in range(UNDO_DEPTH + 30):
        session.click((30, 30 + step % 30))
    for step in range(UNDO_DEPTH):
        assert session.undo().round == UNDO_DEPTH + 30 - step
    assert not session.can_undo
    with pytest.raises(SessionError, match="nothing to undo"):
        session.undo()
    for _ in range(UNDO_DEPTH):
        session.redo()
    assert session.proposal.round == UNDO_DEPTH + 31
    assert len(session.timeline.state.decisions) == UNDO_DEPTH + 31


KINDS = (Round, SessionState, Feedback, Decision)


def alive():
    """All rounds, states, picks and decisions in memory, whoever has them."""
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) in KINDS]


def test_a_thousand_rounds_keep_memory_flat(session, monkeypatch):
    size = 2**19
    quicken(session, monkeypatch, size)
    monkeypatch.setattr(session._predictor, "update", lambda mixture, *_: mixture)
    before = alive()  # kept, so that what other tests left does not go away meanwhile
    for step in range(1000):
        if step % 2:
            session.pick(step % 4 // 2)
        else:
            session.click((30, 30 + step % 30))
        if step % 10 == 9:
            session.undo()
            session.redo()
    found = Counter(type(thing) for thing in alive())
    found.subtract(type(thing) for thing in before)
    rounds, states, picks, decisions = (found[kind] for kind in KINDS)
    assert session.proposal.round == 1001
    kept = session_state._KEPT_BYTES // size
    assert 0 < rounds <= kept
    # The history, and what rounds are kept of.
    assert UNDO_DEPTH <= states <= UNDO_DEPTH + kept
    # Each of those states has its last pick.
    assert 0 < picks <= 2 * kept + UNDO_DEPTH + kept
    assert len(session._predictor._embedder._latest) <= 4
    # What the user did is never forgotten.
    assert len(session.timeline.state.decisions) == 1001
    assert decisions <= 1000 + UNDO_DEPTH
    told = session.timeline.state.decisions
    assert [decision.round for decision in told] == list(range(1, 1002))
