"""Tests of the session as a state machine, on a tiny random network."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.core.mixture import responsibilities
from napari_spa.errors import Cancelled, InputError, ProfileError, SessionError, SpaError
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.engine import image_plane
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.view import FieldOfView
from napari_spa.refine.log.serialization import decision_from_record, decision_to_record
from napari_spa.refine.preference import PRIOR_PICKS
from napari_spa.refine.session.prompt_validation import check_prompts
from napari_spa.refine.session.session import RefinementSession
from napari_spa.refine.session.state import Phase

IMAGE = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
CONFIG = EngineConfig(samples=12)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def session(model):
    session = RefinementSession(model, seed=3, config=CONFIG)
    session.set_image(IMAGE)
    return session


def test_what_a_session_returns_is_shown_in_a_line(session, model):
    session.start(points=[(30, 40)])
    proposal = session.pick(1)
    result = session.accept()
    for shown in (model, proposal, proposal.candidates[0], result, result.profile):
        assert "array(" not in repr(shown), "a notebook would print pixels"
        assert len(repr(shown)) < 4000
    assert "components=" in repr(result.profile.mixture)


def test_no_candidate_is_the_recommendation(model):
    session = RefinementSession(model, seed=2, config=CONFIG)
    session.set_image(np.random.default_rng(2).random((28, 34)))
    p = session.start(box=(15, 9, 19, 13))
    for _ in range(3):
        if not p.candidates:  # the model is certain
            break
        p = session.pick(0)
        assert all(c.added_area or c.removed_area for c in p.candidates)


def same(a, b):
    return (
        np.array_equal(a.local_probability, b.local_probability)
        and a.region == b.region
        and a.round == b.round
        and len(a.candidates) == len(b.candidates)
        and all(
            np.array_equal(x.local_mask, y.local_mask) and x.weight == y.weight
            for x, y in zip(a.candidates, b.candidates, strict=True)
        )
    )


@pytest.mark.parametrize("head", ["latent", "logit", "both"])
def test_a_proposal_is_what_the_contract_says(head):
    session = RefinementSession(make_model(head), config=CONFIG)
    session.set_image(IMAGE)
    p = session.start(points=[(30, 40)])
    assert p.mask.shape == (70, 90)
    assert p.mask.dtype == bool
    assert p.probability.dtype == np.float32
    assert 0 <= p.uncertainty <= 1
    assert p.round == 1
    assert 1 <= len(p.candidates) <= 4
    for c in p.candidates:
        np.testing.assert_array_equal(c.added, c.mask & ~p.mask)
        np.testing.assert_array_equal(c.removed, p.mask & ~c.mask)
    signed = [c.added_area - c.removed_area for c in p.candidates]
    assert signed == sorted(signed)
    assert sum(c.weight for c in p.candidates) == pytest.approx(1)
    masks = [c.mask.tobytes() for c in p.candidates]
    assert len(set(masks)) == len(masks)


def test_phases(model):
    session = RefinementSession(model, config=CONFIG)
    phases = [session.phase]
    session.set_image(IMAGE)
    phases.append(session.phase)
    session.start(points=[(30, 40)])
    phases.append(session.phase)
    session.accept()
    phases.append(session.phase)
    session.start(points=[(10, 10)])
    phases.append(session.phase)
    assert phases == [
        Phase.NO_IMAGE,
        Phase.READY,
        Phase.CHOOSING,
        Phase.ACCEPTED,
        Phase.CHOOSING,
    ]


def test_the_same_calls_give_the_same_masks(model):
    def play(seed):
        session = RefinementSession(model, seed=seed, config=CONFIG)
        session.set_image(IMAGE)
        session.start(points=[(30, 40)])
        session.pick(0)
        return session.click((20, 20), 0)

    assert same(play(1), play(1))
    assert not same(play(1), play(2))


def test_undo_and_redo_restore_the_whole_state(session):
    first = session.start(points=[(30, 40)])
    mixture = session.mixture
    second = session.pick(0)
    third = session.click((35, 45), 1)
    assert same(session.undo(), second)
    assert same(session.undo(), first)
    assert session.mixture is mixture
    assert len(session.prompts.clicks) == 1
    assert same(session.redo(), second)
    assert same(session.redo(), third)
    session.undo()
    session.undo()
    again = session.pick(0)
    assert same(again, second)  # the same pick leads to the same round
    assert not session.can_redo


def test_a_pick_moves_the_distribution_to_the_picked_samples(session):
    session.start(points=[(30, 40)])
    before = session.mixture
    offered = session._rounds.show(session.timeline.state).feedback
    index = next(k for k, feedback in enumerate(offered) if feedback.hypothesis is None)
    picked = offered[index].latents
    session.pick(index)
    after = session.mixture

    def log_likelihood(mixture):
        density = -0.5 * (
            (picked[:, None] - mixture.means) ** 2 / mixture.variances
            + np.log(2 * np.pi * mixture.variances)
        ).sum(2)
        return np.log((mixture.weights * np.exp(density)).sum(1)).mean()

    assert log_likelihood(after) > log_likelihood(before)
    assert np.isfinite(responsibilities(after, picked)).all()


def test_a_frozen_session_keeps_its_distribution(model):
    session = RefinementSession(model, adapt=False, config=CONFIG)
    session.set_image(IMAGE)
    session.start(points=[(30, 40)])
    mixture = session.mixture
    session.pick(0)
    assert session.mixture is mixture


def test_a_cancelled_call_changes_nothing(session):
    shown = session.start(points=[(30, 40)])

    def cancel(share, message):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        session.pick(0, progress=cancel)
    with pytest.raises(Cancelled):
        session.start(points=[(5, 5)], progress=cancel)
    assert session.proposal is shown
    assert not session.can_undo
    assert session.pick(0).round == 2


def test_progress_goes_up(session):
    shares = []
    session.start(points=[(30, 40)], progress=lambda share, message: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] <= 1


def test_wrong_order_is_one_sentence(model):
    session = RefinementSession(model, config=CONFIG)
    for call in (
        lambda: session.start(points=[(1, 1)]),
        lambda: session.pick(0),
        session.undo,
        session.redo,
        session.accept,
    ):
        with pytest.raises(SessionError, match="set_image") as error:
            call()
        assert str(error.value).count("\n") == 0
    session.set_image(IMAGE)
    with pytest.raises(SessionError, match="start"):
        session.pick(0)
    session.start(points=[(1, 1)])
    with pytest.raises(SessionError, match="nothing to undo"):
        session.undo()
    session.accept()
    with pytest.raises(SessionError, match="start an object"):
        session.pick(0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"points": [(-5, 3)]},
        {"points": [(3, 90)]},
        {"points": [(70, 3)]},
        {"points": [(np.nan, 3)]},
        {"points": [(1, 2, 3)]},
        {"points": ["ab"]},
        {"points": [(3, 3)], "labels": [1, 1]},
        {"points": [(3, 3)], "labels": [2]},
        {"points": [(3, 3)], "labels": [0]},
        {},
        {"box": (5, 5, 5, 9)},
        {"box": (1, 2, 3)},
        {"box": (-9, -9, -3, -3)},
        {"mask": np.zeros((70, 90))},
        {"mask": np.ones((70, 91))},
        {"mask": np.full((70, 90), np.nan)},
        {"mask": np.full((70, 90), "a")},
        {"mask": np.full((70, 90), None)},
    ],
)
def test_bad_prompts_are_one_sentence_and_leave_the_session_ready(session, arguments):
    with pytest.raises(InputError) as error:
        session.start(**arguments)
    assert str(error.value).endswith(".")
    assert session.phase is Phase.READY
    assert session.start(points=[(30, 40)]).round == 1


@pytest.mark.parametrize("index", [-1, 4, 99, True])
def test_a_candidate_that_is_not_there(session, index):
    session.start(points=[(30, 40)])
    with pytest.raises(InputError, match="no candidate"):
        session.pick(index)


def test_an_exact_mask_is_recommended_as_it_is_until_more_is_said(model):
    shape = (400, 500)  # the view is a part of it
    image = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    mask = np.random.default_rng(2).random(shape) > 0.6  # nothing that a network draws
    mask[:150, :330] = mask[:, 430:] = False

    def fresh():
        session = RefinementSession(model, seed=3, config=CONFIG)
        session.set_image(image)
        return session

    session = fresh()
    first = session.start(mask=mask, exact=True)
    np.testing.assert_array_equal(first.mask, mask)
    assert len(first.candidates) >= 2
    for c in first.candidates:
        np.testing.assert_array_equal(c.added, c.mask & ~mask)
        np.testing.assert_array_equal(c.removed, mask & ~c.mask)
    second = session.pick(0)
    assert not np.array_equal(second.mask, mask)
    decisions = [decision_from_record(decision_to_record(d)) for d in session.accept().decisions]
    again = fresh()
    assert same(again.restore(decisions), second)  # as a log has it
    assert same(again.undo(), first)
    assert not np.array_equal(session.start(mask=mask).mask, mask)  # rough
    with pytest.raises(InputError, match="no mask"):
        session.start(points=[(3, 3)], exact=True)


def test_box_and_mask_prompts(session):
    mask = np.zeros((70, 90), bool)
    mask[20:40, 30:60] = True
    p = session.start(mask=mask)
    assert p.region.row <= 20
    assert p.region.row + p.region.height >= 40
    assert session.prompts.clicks[0].label == 1
    assert session.start(box=(20, 30, 40, 60)).round == 1
    assert session.box((10, 10, 60, 80)).round == 2


def test_a_click_outside_the_view_widens_it(model):
    image = np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)
    session = RefinementSession(model, config=CONFIG)
    session.set_image(image)
    session.start(box=(10, 10, 40, 40))
    p = session.click((300, 320), 1)
    assert p.region.row + p.region.height > 300
    assert session.prompts.clicks[-1].row == 300


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1), np.uint8),
        np.zeros((3, 20000), np.uint16),
        np.full((40, 40), 7.0),
        np.random.default_rng(0).integers(-1000, 3000, (40, 50)).astype(np.int16),
        np.random.default_rng(0).normal(0, 1e30, (40, 50)),
        np.random.default_rng(0).random((40, 50)) > 0.5,
        np.random.default_rng(0).integers(0, 255, (40, 50, 4), np.uint8),
        np.where(np.random.default_rng(0).random((40, 50)) > 0.9, np.nan, 1.0),
    ],
    ids=["1x1", "3x20000", "constant", "hounsfield", "huge", "bool", "rgba", "nan"],
)
def test_odd_images_get_an_answer(model, image):
    session = RefinementSession(model, config=CONFIG)
    session.set_image(image)
    p = session.start(points=[(0, 0)])
    assert p.mask.shape == image.shape[:2]
    if p.candidates:
        assert session.pick(0).round == 2


def test_pixels_that_were_written_to_are_looked_at_again(model, monkeypatch):
    monkeypatch.setattr(image_plane, "_WHOLE", 100)  # as of an image of which a part is digested
    monkeypatch.setattr(image_plane, "_BLOCK", 2)
    monkeypatch.setattr(image_plane, "_BLOCKS", 2)
    image, fresh = IMAGE.copy(), RefinementSession(model, seed=3, config=CONFIG)
    session = RefinementSession(model, seed=3, config=CONFIG)
    session.set_image(image)
    session.start(points=[(30, 40)])
    image[10:60, 10:80] = 255 - image[10:60, 10:80]
    for one in (session, fresh):
        one.set_image(image)
    assert same(session.start(points=[(30, 40)]), fresh.start(points=[(30, 40)]))


@pytest.mark.parametrize("ask", ["can_undo", "can_redo"])
def test_what_can_be_undone_is_told_while_another_thread_takes_an_image(session, monkeypatch, ask):
    session.start(points=[(30, 40)])
    session.pick(0)
    session.pick(0)
    session.undo()
    looks = [None, session.timeline]  # a second look, after the first, finds no object
    there = property(lambda _: looks.pop())
    monkeypatch.setattr(RefinementSession, "_timeline", there, raising=False)
    assert getattr(session, ask)


def test_what_was_learnt_goes_into_the_profile_and_the_next_object(session, tmp_path):
    session.start(points=[(30, 40)])
    session.pick(0)
    session.pick(0)
    learnt = session.mixture
    result = session.accept()
    assert result.rounds == 3
    assert [d.act for d in result.decisions] == ["start", "pick", "pick"]
    assert result.profile.picks == 2
    np.testing.assert_array_equal(result.profile.mixture.means, learnt.means)
    path = tmp_path / "me.json"
    result.profile.save(path)
    again = PreferenceProfile.load(path)
    fresh = RefinementSession(session.model, profile=again, config=CONFIG)
    fresh.set_image(IMAGE)
    fresh.start(points=[(30, 40)])
    plain = RefinementSession(session.model, config=CONFIG)
    plain.set_image(IMAGE)
    plain.start(points=[(30, 40)])
    share = 2 / (2 + PRIOR_PICKS)
    np.testing.assert_allclose(
        fresh.mixture.means, (1 - share) * plain.mixture.means + share * learnt.means
    )


def test_a_profile_of_another_model_is_refused(session):
    session.start(points=[(30, 40)])
    session.pick(0)
    profile = session.accept().profile
    with pytest.raises(ProfileError):
        RefinementSession(make_model("latent"), profile=profile)


def test_accept_without_a_pick_keeps_an_old_profile_as_it_was(session):
    session.start(points=[(30, 40)])
    session.pick(0)
    first = session.accept().profile
    session.start(points=[(10, 12)])
    second = session.accept().profile
    np.testing.assert_allclose(second.mixture.means, first.mixture.means)
    assert (second.picks, second.images) == (1, 1)


ODD = [
    "x", 1.9, math.inf, math.nan, [0], None, 10**400, 10**5000, -1, {}, object(), b"1",
    np.array([0, 1]), np.float64("nan"), 1j, "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("index", ODD, ids=range(len(ODD)))
def test_an_odd_index_is_one_sentence_and_changes_nothing(session, index):
    session.start(points=[(30, 40)])
    with pytest.raises(InputError, match="no candidate") as caught:
        session.pick(index)
    assert len(str(caught.value)) < 200
    assert session.proposal.round == 1
    assert session.pick(np.int64(0)).round == 2


NO_NUMBERS = [o for o in ODD if type(o) is not np.ndarray and o not in (1.9, -1)]


@pytest.mark.parametrize("odd", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_odd_prompts_are_one_sentence_and_change_nothing(session, odd):
    session.start(points=[(30, 40)])
    calls = [
        lambda: session.click(odd, 1),
        lambda: session.click((odd, 3), 1),
        lambda: session.click((30, 40), odd),
        lambda: session.stroke(odd, 1),
        lambda: session.stroke([(30, 40), odd], 1),
        lambda: session.box(odd),
        lambda: session.box((1, 2, odd, 4)),
        lambda: session.set_view(odd),
        lambda: session.set_view(FieldOfView(1, 2, odd, 4)),
        lambda: session.start(points=odd),
        lambda: session.start(points=[(1, 2)], labels=[odd]),
        lambda: session.start(points=[(1, 2)], labels=odd if odd is not None else 3),
        lambda: session.start(mask=odd if odd is not None else [[1], [1, 2]]),
    ]
    for call in calls:
        with pytest.raises(SpaError) as caught:
            call()
        assert len(str(caught.value)) < 300
        assert session.proposal.round == 1


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "0", None, True, math.nan, 10**400])
def test_a_seed_that_is_none_is_refused(model, seed):
    with pytest.raises(InputError, match="seed"):
        RefinementSession(model, seed=seed)


def test_a_name_is_no_model_and_no_profile(model):
    with pytest.raises(InputError, match=r"load_model\('spa-tiny'\)"):
        RefinementSession("spa-tiny")
    with pytest.raises(InputError, match="not its name"):
        RefinementSession(model, "Ana")


def test_images_of_no_known_size_or_shape_are_refused(model):
    class Unknown:
        shape, dtype = (math.nan, 4), np.dtype(float)

        def __getitem__(self, index):
            raise AssertionError("not read")

    for image in (Unknown(), [[1, 2], [3]], [[{}]], "image"):
        with pytest.raises(InputError):
            RefinementSession(model).set_image(image)


@pytest.mark.parametrize("view", ["x", 3, FieldOfView(0, 0, 0, 5)])
def test_a_view_to_start_in_is_checked(session, view):
    with pytest.raises(InputError):
        session.start(points=[(30, 40)], view=view)
    assert session.timeline is None


def test_a_first_click_is_answered_by_the_network_itself_and_moved_by_what_was_learnt():
    def shown(seed, points=((30, 40),), box=None, mixture=None):
        session = RefinementSession(
            make_model(seed=3), seed=seed, config=EngineConfig(samples=12, answer=1.0)
        )
        session.set_image(IMAGE)
        prompts = check_prompts(points, None, box, None, session.sampler.shape)
        session.start_with(prompts, view=FieldOfView(0, 0, 64, 64), mixture=mixture)
        return session

    one, other = shown(0), shown(1)
    np.testing.assert_array_equal(one.proposal.probability, other.proposal.probability)
    before = one.timeline.state.mixture
    moved = replace(before, means=before.means + 1.0)
    assert np.abs(shown(0, mixture=moved).proposal.probability - one.proposal.probability).max() > 0
    for session in (one, other):
        session.pick(0)  # from here on the samples say what is recommended
    assert (one.proposal.probability != other.proposal.probability).any()
    boxes = [shown(seed, points=(), box=(10, 10, 50, 60)).proposal for seed in (0, 1)]
    assert (boxes[0].probability != boxes[1].probability).any()
