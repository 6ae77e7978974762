"""What a profile learns from accepted objects, and what several make together."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit
from tiny_model import make_model

from napari_spa.core.types import MixtureParameters, Proposal, Region
from napari_spa.errors import InputError, ProfileError, SessionError
from napari_spa.io.profiles import CORRECTED_COUNTS, AcceptedSize, PreferenceProfile
from napari_spa.refine.engine.round import Round
from napari_spa.refine.engine.samples import Samples
from napari_spa.refine.engine.view import FieldOfView
from napari_spa.refine.preference import (
    MOST_OF_IMAGE,
    MOST_SHIFT,
    PRIOR_PICKS,
    REACH,
    SIZES_KEPT,
    SIZES_OF_IMAGE,
    Lesson,
    boundary_shift,
    expected_size,
    merge_profiles,
    start_from,
)
from napari_spa.refine.preference import learn as learn_from
from napari_spa.refine.session.session import RefinementSession
from napari_spa.refine.session.state import known_of

MODEL = make_model().identity


def mixture(mean):
    return MixtureParameters(np.array([0.4, 0.6]), np.full((2, 3), float(mean)), np.ones((2, 3)))


def learn(profile, state, model, **more):
    return learn_from(profile, Lesson(state, model, **more))


def state(mean, picks):
    return SimpleNamespace(
        initial=mixture(0), mixture=mixture(mean), picks=picks, informative_picks=picks
    )


def test_one_odd_object_does_not_wreck_a_profile_of_a_hundred_picks():
    profile = None
    for _ in range(25):
        profile = learn(profile, state(1.0, 4), MODEL)
    np.testing.assert_allclose(profile.mixture.means, 1.0)
    assert (profile.picks, profile.images) == (100, 25)
    odd = learn(profile, state(-9.0, 60), MODEL)
    assert odd.picks == 106  # those that counted
    expected = 100 / (100 + PRIOR_PICKS)
    np.testing.assert_allclose(odd.mixture.means, 1.0 - (1.0 - expected + REACH) * 6 / 106)


def test_one_odd_image_of_many_objects_does_not_either():
    profile = None
    for _ in range(25):
        profile = learn(profile, state(1.0, 4), MODEL)
    for _ in range(20):
        profile = learn(profile, state(-1.0, 5), MODEL, image="odd")
    assert (profile.picks, profile.images) == (112, 26)
    moved = (1.0 - profile.mixture.means.mean()) / 2
    assert 0 < moved <= 12 / 112 + 1e-12


def test_the_only_image_of_a_profile_counts_in_full():
    profile = learn(None, state(0.5, 6), MODEL, image="only")
    for _ in range(9):
        profile = learn(profile, state(-0.25, 6), MODEL, image="only")
    assert (profile.images, profile.taught) == (1, {"only": 60})
    np.testing.assert_allclose(profile.mixture.means, -0.175)


def test_what_is_known_of_a_reopened_object_is_not_learnt_twice():
    once = learn(None, state(0.5, 3), MODEL, log_area_ratio=0.1)
    again = learn(once, state(1.0, 5), MODEL, known=3)
    assert (again.picks, again.images, again.objects) == (5, 1, 1)
    np.testing.assert_allclose(again.mixture.means, 0.5 + 0.5 * 2 / 5)


def test_without_picks_nothing_is_learnt_but_the_size():
    profile = learn(None, state(1.0, 4), MODEL, log_area_ratio=math.log(2), image="one")
    kept = learn(profile, state(5.0, 0), MODEL, log_area_ratio=math.log(0.5), image="one")
    np.testing.assert_array_equal(kept.mixture.means, profile.mixture.means)
    assert (kept.images, kept.objects, kept.log_growth) == (1, 2, pytest.approx(0))
    initial = mixture(0)
    assert start_from(initial, replace(profile, picks=0)) is initial


@pytest.mark.parametrize("odd", [2.0, -2.0])
def test_what_does_not_teach_is_no_evidence(odd):
    """Or a profile would be followed further after picks that it did not learn from."""
    profile = learn(None, state(0.8, 1), MODEL, image="a")
    before = start_from(mixture(0), profile).means
    elsewhere = SimpleNamespace(**{**vars(state(odd, 3)), "informative_picks": 0})
    after = learn(profile, elsewhere, MODEL, image="b")
    assert (after.picks, after.evidence, after.images) == (1, 1, 2)
    np.testing.assert_array_equal(start_from(mixture(0), after).means, before)
    for _ in range(12):
        after = learn(after, state(-0.5, 4), MODEL, image="b")
        after = learn(after, state(-0.5, 0), MODEL, image="b", corrected=True)
    full = start_from(mixture(0), after).means
    assert after.evidence == sum(after.taught.values()) == 1 + MOST_OF_IMAGE
    after = learn(after, state(odd, 4), MODEL, image="b")
    after = learn(after, state(odd, 0), MODEL, image="b", corrected=True)
    np.testing.assert_array_equal(start_from(mixture(0), after).means, full)


def test_an_empty_profile_takes_the_first_object_as_it_is():
    profile = learn(PreferenceProfile.empty(MODEL, name="mine"), state(0.9, 1), MODEL)
    np.testing.assert_array_equal(profile.mixture.means, mixture(0.9).means)
    assert (profile.name, profile.picks) == ("mine", 1)


def test_an_object_moves_what_was_expected_no_further_than_its_reach():
    first = learn(None, state(-40.0, 5), MODEL)
    np.testing.assert_allclose(first.mixture.means, -REACH)
    expected = start_from(mixture(0), first).means
    second = learn(first, state(-40.0, 5), MODEL)
    np.testing.assert_allclose(second.mixture.means, (first.mixture.means + expected - REACH) / 2)
    near = learn(first, state(-0.5, 5), MODEL)
    np.testing.assert_allclose(near.mixture.means, -0.5 * (REACH + 0.5))


def test_profiles_merge_by_their_picks_in_any_order():
    parts = [
        PreferenceProfile(MODEL, mixture(mean), picks, 2, objects=3, log_growth=0.3)
        for mean, picks in ((0, 10), (4, 30), (9, 0))
    ]
    for order in (parts, parts[::-1]):
        merged = merge_profiles(order, name="both", task="cup")
        np.testing.assert_allclose(merged.mixture.means, 3.0)
        assert (merged.picks, merged.images, merged.objects) == (40, 6, 9)
        assert merged.log_growth == pytest.approx(0.9)
        assert (merged.name, merged.task) == ("both", "cup")
    other = replace(parts[0], model=replace(MODEL, sha256="f" * 64))
    with pytest.raises(ProfileError, match="cannot be used"):
        merge_profiles([*parts, other])
    with pytest.raises(ProfileError, match="no profile"):
        merge_profiles([])


def test_a_profile_whose_mixture_is_not_the_models_is_one_sentence():
    model, image = make_model(), np.random.default_rng(0).random((64, 64))
    other = PreferenceProfile(MODEL, mixture(0), picks=3, images=1)  # as a file may hold it
    session = RefinementSession(model, other)
    session.set_image(image)
    with pytest.raises(ProfileError, match="not of one model"):
        session.start([(30, 30)])
    session = RefinementSession(model)
    session.set_image(image)
    session.start([(30, 30)])
    session.pick(0)
    with pytest.raises(ProfileError, match="not of one model"):
        merge_profiles([session.accept().profile, other])


def test_an_image_is_bounded_over_sessions_and_files():
    """Opening an image again does not make it another one."""
    model = make_model()
    image = np.random.default_rng(0).random((64, 64))
    session = RefinementSession(model)
    session.set_image(image.T.copy())
    session.start([(30, 30)])
    session.click((20, 20))
    profile = session.accept().profile
    for _ in range(3):
        profile = PreferenceProfile.from_json(profile.to_json())
        session = RefinementSession(model, profile)
        session.set_image(image)
        session.start([(30, 30)])
        session.pick(0)
        profile = session.accept().profile
    assert (profile.picks, profile.images) == (3, 2)
    assert sorted(profile.taught.values()) == [0, 3]


def test_slices_of_a_stack_are_one_image():
    session = RefinementSession(make_model())
    for plane in np.random.default_rng(0).random((3, 64, 64)):
        session.set_image(plane, source="the stack")
        session.start([(30, 30)])
        session.pick(0)
        profile = session.accept().profile
    assert (profile.picks, profile.images, profile.taught) == (3, 1, {"the stack": 3})


def test_merged_profiles_count_a_shared_image_once():
    ours = learn(learn(None, state(1.0, 4), MODEL, image="a"), state(1.0, 2), MODEL, image="b")
    theirs = learn(None, state(1.0, 3), MODEL, image="b")
    merged = merge_profiles([ours, theirs])
    assert (merged.images, dict(merged.taught)) == (2, {"a": 4, "b": 5})


def test_a_session_teaches_growth_and_counts_images_once():
    session = RefinementSession(make_model())
    image = np.random.default_rng(0).random((64, 64))
    session.set_image(image)
    first = session.start([(30, 30)])
    last = session.pick(len(first.candidates) - 1) if first.candidates else first
    session.accept()
    session.start([(10, 50)])
    session.accept()
    session.set_image(image.T.copy())
    session.start([(30, 30)])
    profile = session.accept().profile
    assert profile.images == 2
    assert session.profile_update()(None).images == 1
    assert profile.objects <= 3
    if first.area and last.area:
        assert profile.log_growth == pytest.approx(math.log(last.area / first.area))


CONFIG = make_model(head="both").spa.config
ROWS, COLUMNS = np.ogrid[:64, :64]


def shown(radius, *, centre=32):
    """A round mask as it is accepted."""
    probability = (np.hypot(ROWS - 32, COLUMNS - centre) < radius).astype(np.float32)
    return Proposal(probability, Region(0, 0, 64, 64), (64, 64), 0.5, 0.1, 1, ())


def first_round(*radii, slope=0.5, unit=1.0):
    """Round 1 of samples that are discs, with logits that fall by a slope from their edges."""
    distance = np.hypot(ROWS - 32, COLUMNS - 32)
    logits = np.stack([(radius - distance) * slope for radius in radii]).astype(np.float32)
    count, view = len(radii), FieldOfView(0, 0, 64, 64)
    each = np.full(count, unit, dtype=np.float32)
    shares = np.full(count, 1 / count)
    samples = Samples(view, logits, expit(logits), shares, each, each)
    mean, threshold = samples.mean(CONFIG)
    proposal = Proposal(mean, Region(0, 0, 64, 64), (64, 64), threshold, 0.1, 1, ())
    return Round(proposal, (), samples.reach, samples=samples)


@pytest.mark.parametrize("unit", [1.0, 2.0])
@pytest.mark.parametrize("accepted", [12, 14, 15])
def test_what_was_accepted_says_how_far_out_the_boundary_is(accepted, unit):
    by = boundary_shift(first_round(14, unit=unit), shown(accepted), CONFIG)
    assert by == pytest.approx((accepted - 14) * 0.5 / unit, abs=0.1 / unit)


@pytest.mark.parametrize("accepted", [9, 11, 16, 18])
@pytest.mark.parametrize("radii", [(14,), (8, 14, 20), (9, 9, 9, 21, 21)])
def test_a_boundary_offset_brings_back_the_area_that_taught_it(radii, accepted):
    """However far the samples lie apart; the level of their mean alone says too little."""
    opening, wanted = first_round(*radii, slope=1.5, unit=6.0), shown(accepted)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("napari_spa.refine.preference.SAME_OBJECT", 0.0)
        by = boundary_shift(opening, wanted, CONFIG)
    mean, threshold = opening.samples.grown(by).mean(CONFIG)
    assert (mean > threshold).sum() == pytest.approx(wanted.area, rel=0.03)


@pytest.mark.parametrize("add", [False, True])
def test_a_part_that_is_cut_off_or_added_says_nothing_of_the_boundary(add):
    accepted = shown(14)
    part = (COLUMNS >= 38) if not add else (abs(ROWS - 32) < 5) & (COLUMNS >= 32) & (COLUMNS < 58)
    mask = accepted.local_probability
    mask[np.broadcast_to(part, mask.shape)] = float(add)
    assert abs(math.log(accepted.area / first_round(14).proposal.area)) > 0.15
    assert boundary_shift(first_round(14), accepted, CONFIG) == pytest.approx(0.0, abs=0.13)


def test_the_boundary_of_another_object_says_nothing():
    assert boundary_shift(first_round(10), shown(10, centre=50), CONFIG) is None
    assert boundary_shift(first_round(10), shown(0), CONFIG) is None
    same = first_round(10)
    assert boundary_shift(same, same.proposal, CONFIG) == 0.0
    for first, accepted, most in ((10, 14, MOST_SHIFT), (14, 10, -MOST_SHIFT)):
        by = boundary_shift(first_round(first, unit=0.5), shown(accepted), CONFIG)
        assert by == pytest.approx(most, abs=0.3)


@pytest.mark.parametrize("size", [-0.5, 0.0, 0.5])
def test_a_profile_takes_the_boundary_from_what_was_accepted(monkeypatch, size):
    def place(mixture):
        return mixture.weights @ mixture.means[:, -1]

    monkeypatch.setattr("napari_spa.refine.preference.SAME_OBJECT", 0.0)
    monkeypatch.setattr("napari_spa.refine.preference.REACH", math.inf)
    session = RefinementSession(make_model(head="both"))
    session.set_image(np.random.default_rng(0).random((64, 64)))
    session.start([(30, 30)])
    start = place(session.mixture)
    session.pick(0)
    accepted = session.resize(size)
    by = boundary_shift(session._first, accepted, CONFIG)
    assert place(session.accept().profile.mixture) == pytest.approx(start + by, abs=0.02)


@pytest.mark.parametrize("act", ["click", "stroke", "resize"])
def test_what_is_corrected_without_a_pick_teaches_the_boundary_too(monkeypatch, act):
    monkeypatch.setattr("napari_spa.refine.preference.SAME_OBJECT", 0.0)
    acts = {
        "click": lambda s: s.click((20, 20)),
        "stroke": lambda s: s.stroke([(20, 20), (22, 26)]),
        "resize": lambda s: s.resize(0.5),
    }
    session = RefinementSession(make_model(head="both"))
    session.set_image(np.random.default_rng(0).random((64, 64)))
    session.start([(30, 30)])
    start = session.mixture
    by = boundary_shift(session._first, acts[act](session), CONFIG)
    profile = session.accept().profile
    assert (profile.picks, profile.corrected, profile.evidence) == (0, 1, CORRECTED_COUNTS)
    assert list(profile.taught.values()) == [CORRECTED_COUNTS]
    learnt = profile.mixture.weights @ profile.mixture.means
    expected = start.weights @ start.means
    assert learnt[-1] == pytest.approx(expected[-1] + by, abs=0.02)
    np.testing.assert_allclose(learnt[:-1], expected[:-1])


def test_what_says_nothing_of_the_models_boundary_does_not_teach_it(monkeypatch):
    model, image = make_model(head="both"), np.random.default_rng(0).random((64, 64))

    def accepted(*, adapt=True, act=lambda session: session.click((20, 20)), **start):
        session = RefinementSession(model, adapt=adapt)
        session.set_image(image)
        session.start(**(start or {"points": [(30, 30)]}))
        act(session)
        return session.accept().profile

    with monkeypatch.context() as patched:
        patched.setattr("napari_spa.refine.preference.SAME_OBJECT", 1.01)
        assert accepted().evidence == 0  # the click was for another object
    monkeypatch.setattr("napari_spa.refine.preference.SAME_OBJECT", 0.0)
    assert accepted().evidence == CORRECTED_COUNTS
    assert accepted(adapt=False).evidence == 0
    assert accepted(act=lambda session: None).evidence == 0  # it was accepted as it was
    mask = np.zeros((64, 64), dtype=bool)
    mask[20:40, 20:40] = True
    given = accepted(mask=mask, exact=True)  # round 1 showed the user's own
    assert (given.evidence, given.objects, len(given.sizes)) == (0, 0, 1)


def test_a_corrected_object_teaches_once_however_often_it_is_reopened(monkeypatch):
    monkeypatch.setattr("napari_spa.refine.preference.SAME_OBJECT", 0.0)
    session = RefinementSession(make_model(head="both"))
    session.set_image(np.random.default_rng(0).random((64, 64)))
    session.start([(30, 30)])
    session.click((20, 20))
    before = session.accept()
    session.restore(before.decisions, learnt=known_of(before.decisions))
    session.click((24, 24))
    after = session.accept().profile
    assert (after.corrected, after.objects) == (1, 1)
    np.testing.assert_array_equal(after.mixture.means, before.profile.mixture.means)


def test_corrected_objects_count_as_much_as_some_picks():
    profile = learn(None, state(0.5, 0), MODEL, image="a", corrected=True)
    share = CORRECTED_COUNTS / (CORRECTED_COUNTS + PRIOR_PICKS)
    np.testing.assert_allclose(start_from(mixture(0), profile).means, 0.5 * share)
    profile = learn(profile, state(-0.2, 4), MODEL, image="b")
    np.testing.assert_allclose(
        profile.mixture.means, 0.5 + (-0.2 - 0.5) * 4 / (4 + CORRECTED_COUNTS)
    )
    for _ in range(50):
        profile = learn(profile, state(-1.0, 0), MODEL, image="odd", corrected=True)
    assert profile.mixture.means.mean() > -1.0  # one image is bounded, however it taught
    assert (profile.picks, profile.corrected, profile.taught["odd"]) == (4, 7, 12)
    merged = merge_profiles([profile, learn(None, state(1.0, 2), MODEL, image="c")])
    assert (merged.picks, merged.corrected) == (6, 7)
    assert merged.evidence == profile.evidence + 2


def test_accepting_decodes_nothing_also_after_recovery(monkeypatch):
    session = RefinementSession(make_model())
    session.set_image(np.random.default_rng(0).random((64, 64)))
    session.start([(30, 30)])
    session.click((34, 34))
    decisions = session.accept().decisions
    grown = session.profile.log_growth
    again = RefinementSession(session.model)
    again.set_image(np.random.default_rng(0).random((64, 64)))
    again.restore(decisions)

    def refuse(*_, **__):
        raise AssertionError("accept() decodes")

    monkeypatch.setattr(again._predictor, "propose", refuse)
    assert again.accept().profile.log_growth == grown
    with pytest.raises(SessionError, match="nothing was accepted"):
        RefinementSession(session.model).profile_update()


def test_a_reopened_object_teaches_its_size_once():
    session = RefinementSession(make_model())
    session.set_image(np.random.default_rng(0).random((64, 64)))
    session.start([(30, 30)])
    session.pick(0)
    before = session.accept()
    session.restore(before.decisions, learnt=1)
    after = session.accept().profile
    assert (after.picks, after.images) == (1, 1)
    assert (after.objects, after.log_growth) == (
        before.profile.objects,
        before.profile.log_growth,
    )


def taught(*sizes):
    profile = None
    for size in sizes:
        profile = learn(profile, state(0.0, 0), MODEL, size=size)
    return profile


def test_the_oldest_sizes_are_forgotten_and_no_image_crowds_out_the_others():
    early = [AcceptedSize(f"e{k}", "early", 100.0) for k in range(5)]
    crowd = [AcceptedSize(f"c{k}", "crowd", 900.0 + k) for k in range(100)]
    profile = taught(*early, *crowd)
    assert [s.image for s in profile.sizes] == ["early"] * 5 + ["crowd"] * SIZES_OF_IMAGE
    assert profile.sizes[-1].area == 999.0
    assert len(taught(*(AcceptedSize(f"{k}", f"{k}", 9.0) for k in range(99))).sizes) == SIZES_KEPT


def test_a_reopened_object_is_remembered_once_as_it_was_accepted_last():
    profile = taught(AcceptedSize("a", "one", 100.0), AcceptedSize("b", "one", 110.0))
    again = taught(*profile.sizes, AcceptedSize("a", "one", 400.0))
    assert sorted(size.area for size in again.sizes) == [110.0, 400.0]


def test_objects_of_the_same_image_count_more_than_others():
    profile = taught(
        *(AcceptedSize(f"o{k}", "other", 100.0, 0.5) for k in range(3)),
        *(AcceptedSize(f"h{k}", "here", 900.0, 0.5) for k in range(3)),
    )
    assert expected_size(None, "here") is None
    assert math.exp(expected_size(profile, "here").log_area) == pytest.approx(900)
    assert math.exp(expected_size(profile, "other").log_area) == pytest.approx(100)
    new = expected_size(profile, "new")
    assert new.deviation > expected_size(profile, "here").deviation
    assert new.objects < expected_size(profile, "here").objects


def test_one_object_of_another_image_hardly_says_how_large_the_first_of_this_one_is():
    sizes = [AcceptedSize(f"o{k}", f"image {k // 4}", 400.0, 0.5) for k in range(24)]
    doubts = [expected_size(taught(*sizes[:n]), "new").doubt for n in (1, 4, 24)]
    assert doubts == pytest.approx([0.8, 0.5, 1 / 7])
    assert expected_size(taught(sizes[0]), "new").likelihood(1e6, doubt=0.02) == pytest.approx(0.8)
    assert expected_size(taught(sizes[0]), "image 0").doubt == 0


def test_objects_are_as_large_on_an_image_of_another_magnification():
    profile = taught(*(AcceptedSize(f"{k}", "x20", 400.0, 0.5) for k in range(3)))
    assert math.exp(expected_size(profile, "x40", 0.25).log_area) == pytest.approx(1600)
    assert math.exp(expected_size(profile, "unknown").log_area) == pytest.approx(400)
    for there, here in ((1e-200, 0.5), (0.5, 1e-200), (0.5, 5e-324)):  # damaged, and still finite
        profile = taught(AcceptedSize("a", "x20", 400.0, there))
        assert math.isfinite(expected_size(profile, "x40", here).log_area)


def test_merged_profiles_remember_the_latest_of_each_and_a_shared_object_once():
    shared = AcceptedSize("s", "one", 50.0)
    mine = taught(shared, *(AcceptedSize(f"m{k}", f"m{k}", 100.0) for k in range(40)))
    other = taught(shared, *(AcceptedSize(f"o{k}", f"o{k}", 100.0) for k in range(40)))
    merged = merge_profiles([mine, other])
    names = [size.object for size in merged.sizes]
    assert len(names) == len(set(names)) == SIZES_KEPT
    assert {"m39", "o39"} <= set(names)


def test_a_session_expects_what_was_accepted_and_a_reopened_object_counts_once():
    session = RefinementSession(make_model())
    image = np.random.default_rng(0).random((64, 64))
    session.set_image(image, pixel_size=0.5)
    assert session.expected is None
    session.start([(30, 30)])
    first = session.accept()
    areas = [first.proposal.area]
    assert math.exp(session.expected.log_area) == pytest.approx(areas[0])
    session.start([(10, 50)])
    areas.append(session.accept().proposal.area)
    before = session.profile
    reopened = session.restore(first.decisions)
    np.testing.assert_array_equal(reopened.mask, first.mask)  # whatever is remembered by now
    session.accept()
    assert sorted(size.area for size in session.profile.sizes) == sorted(areas)
    assert len(before.sizes) == 2  # what an undo goes back to is as it was
    session.set_image(image.T.copy(), pixel_size=0.25)
    expected = np.median(np.log(np.array(areas) * 4.0))
    assert session.expected.log_area == pytest.approx(expected)
    for wrong in (0, -1, math.nan, math.inf, "1", True):
        with pytest.raises(InputError, match="pixel"):
            session.set_image(image, pixel_size=wrong)


def test_sizes_teach_without_a_pick_and_start_the_next_session(monkeypatch):
    model = make_model()
    image = np.random.default_rng(0).random((64, 64))
    session = RefinementSession(model)
    session.set_image(image)
    session.start([(30, 30)])
    profile = PreferenceProfile.from_json(session.accept().profile.to_json())
    assert profile.picks == 0
    following = RefinementSession(model, profile)
    following.set_image(image)
    asked = []
    frame = following._predictor.frame

    def spy(prompts, progress, expected=None):
        asked.append(expected)
        return frame(prompts, progress, expected)

    monkeypatch.setattr(following._predictor, "frame", spy)
    following.start([(10, 50)])
    assert asked == [expected_size(profile, following.sampler.fingerprint)]
