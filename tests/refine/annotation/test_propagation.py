"""Tests of following an object: where it starts, where it ends, what it leaves alone."""

import numpy as np
import pytest
from scipy import ndimage
from tiny_model import make_model

from napari_spa import load_model
from napari_spa.core.measures import dice
from napari_spa.core.types import LocalMask
from napari_spa.errors import Cancelled, InputError
from napari_spa.refine.annotation.propagation import (
    Appearance,
    Patch,
    PropagationConfig,
    changes,
    deep_points,
    expected_dice,
    moved,
    propagate,
    propagate_one,
)
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.view import ImageSampler
from napari_spa.refine.session.session import RefinementSession


def ball(slices=14, size=96, last=9):
    """A bright ball that drifts through noise and ends after a slice; image and truth."""
    rng = np.random.default_rng(0)
    truth = np.zeros((slices, size, size), bool)
    rows, columns = np.indices((size, size))
    for z in range(min(last + 1, slices)):
        radius = 16 * np.sqrt(max(0.15, 1 - ((z - 4) / 6) ** 2))
        truth[z] = np.hypot(rows - 44 - z, columns - 50 + z) < radius
    image = 60 + 70 * ndimage.gaussian_filter(truth.astype(float), (0, 1, 1))
    image += 8 * ndimage.gaussian_filter(rng.standard_normal(truth.shape), (0, 1, 1)) * 3
    return image.clip(0, 255).astype(np.uint8), truth


def begun(image, truth, at):
    """A session, and the mask of one click in the middle of the object on a slice."""
    session = RefinementSession(load_model("spa-tiny"))
    session.set_image(image[at])
    shown = session.start([ndimage.center_of_mass(truth[at])])
    return session, LocalMask.crop(shown.local_mask, shown.region)


def disc(shape=(40, 50), centre=(20, 24), radius=9):
    rows, columns = np.indices(shape)
    return LocalMask.crop(np.hypot(rows - centre[0], columns - centre[1]) < radius)


@pytest.fixture(scope="module")
def tiny():
    return RefinementSession(make_model(), config=EngineConfig(samples=12))


@pytest.mark.parametrize(("convention", "side"), [("sam", 96), ("medsam", 80)])
def test_models_that_see_whole_images_carry_with_the_whole_slice(convention, side):
    session = RefinementSession(make_model(convention=convention), config=EngineConfig(samples=12))
    image = ball(slices=1)[0][0, :80]
    propagate_one(session, image, disc())
    session_view = session.view
    assert (session_view.row, session_view.column) == (0, 0)
    assert (session_view.height, session_view.width) == (side, 96)
    session.start([(20, 24)])
    assert session.view == session_view  # what a click would get


def play(walk):
    found = []
    while True:
        try:
            found.append(next(walk))
        except StopIteration as stop:
            return found, stop.value


def test_spa_tiny_follows_a_drifting_ball_to_its_end():
    image, truth = ball()
    session, mask = begun(image, truth, 4)
    found, ending = play(propagate(session, image.__getitem__, range(5, len(image)), mask, start=4))
    assert [f.position for f in found] == [5, 6, 7, 8, 9]
    assert ending.position == 10
    assert ending.sentence().startswith("Ended at slice 10")
    assert ending.sentence("frame").startswith("Ended at frame 10")


def test_an_object_begun_near_its_end_grows_and_is_followed_to_the_other():
    image, truth = ball()
    session, mask = begun(image, truth, 0)
    config = PropagationConfig(spacing=4.0)
    walk = propagate(session, image.__getitem__, range(1, len(image)), mask, start=0, config=config)
    found, ending = play(walk)
    assert [f.position for f in found] == list(range(1, 10))
    assert not any(f.doubtful for f in found[:6])
    assert ending.position == 10
    scores = [dice(f.proposal.mask, truth[f.position]) for f in found]
    assert np.mean(scores) > 0.85
    assert session.profile is None  # nothing was accepted


def test_the_same_slices_give_the_same_masks(tiny):
    image, _ = ball(slices=6)
    runs = [
        play(propagate(tiny, image.__getitem__, [3, 4], disc((96, 96), (47, 47), 14), start=2))[0]
        for _ in range(2)
    ]
    assert len(runs[0]) == len(runs[1])
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first.proposal.mask, second.proposal.mask)
        assert len(first.decisions) == 1


def test_a_slice_can_be_had_again_from_its_decisions(tiny):
    image, _ = ball(slices=6)
    shown = propagate_one(tiny, image[3], disc((96, 96), (47, 47), 14))
    decisions = tiny.timeline.state.decisions
    tiny.set_image(image[3])
    np.testing.assert_array_equal(tiny.restore(decisions).mask, shown.mask)


def test_a_limit_and_an_edge_end_it(tiny):
    image, _ = ball(slices=6)
    anything = PropagationConfig(uncertainty=1.0, overlap=0.0, max_area_ratio=1e9)
    mask = disc((96, 96), (47, 47), 14)
    found, ending = play(
        propagate(tiny, image.__getitem__, range(1, 6), mask, start=0, config=anything)
    )
    if ending.reason == "edge":
        assert ending.position == found[-1].position == 5
    few = PropagationConfig(limit=1, uncertainty=1.0, overlap=0.0, max_area_ratio=1e9)
    found, ending = play(propagate(tiny, image.__getitem__, range(1, 6), mask, start=0, config=few))
    assert len(found) <= 1
    assert ending.reason in ("limit", "empty")


def test_what_was_found_before_a_cancel_stays(tiny):
    image, _ = ball(slices=6)
    steps = []

    def stop_at_the_second(share, message):
        steps.append(share)
        if len(steps) > 1:
            raise Cancelled("stopped")

    anything = PropagationConfig(uncertainty=1.0, overlap=0.0, max_area_ratio=1e9)
    mask = disc((96, 96), (47, 47), 14)
    walk = propagate(
        tiny,
        image.__getitem__,
        [1, 2, 3],
        mask,
        start=0,
        config=anything,
        progress=stop_at_the_second,
    )
    first = next(walk)
    with pytest.raises(Cancelled):
        next(walk)
    assert first.position == 1


FIRST = Appearance(value=0.5, spread=0.05, around=0.2)
AS_BEFORE = {"value": 0.0, "fade": 0.0, "outside": 0.0, "regrown": 0.0, "depth": 0.0}


def test_what_looks_as_before_is_expected_to_fit():
    assert changes(FIRST, FIRST) == {"value": 0, "fade": 0}
    assert expected_dice(AS_BEFORE) > 0.9


@pytest.mark.parametrize("sign", AS_BEFORE)
def test_each_sign_of_an_end_lowers_what_is_expected(sign):
    assert expected_dice(AS_BEFORE | {sign: 0.6}) < expected_dice(AS_BEFORE) - 0.02


def test_an_object_that_fades_ends():
    gone = changes(FIRST, Appearance(value=0.25, spread=0.05, around=0.2))
    limit = PropagationConfig().uncertainty
    assert 1 - expected_dice(AS_BEFORE | gone | {"outside": 0.5, "depth": 0.5}) > limit


def test_what_is_another_grey_value_ends_although_its_contrast_is_the_same():
    other = changes(FIRST, Appearance(value=0.9, spread=0.05, around=0.6))
    assert other["fade"] == pytest.approx(0, abs=1e-6)
    assert other["value"] > 0.5


@pytest.mark.parametrize("brighter", [0.8, 1.1])
def test_a_slice_that_is_brighter_as_a_whole_is_no_end(brighter):
    now = Appearance(0.5 * brighter, 0.05 * brighter, 0.2 * brighter)
    assert changes(FIRST, now)["value"] == pytest.approx(0, abs=1e-6)


def test_an_object_without_contrast_is_told_by_the_rest():
    flat = Appearance(value=0.5, spread=0.01, around=0.5)
    assert changes(flat, flat) == {"value": 0, "fade": 0}
    assert not flat.blank
    assert Appearance(value=0.5, spread=0.0, around=0.5).blank


def movie(frames=8, drift=(2, 3), shape=(96, 128), centre=(30, 34), radii=(13, 17)):
    """A speckled oval that goes down and right by whole pixels, among others; image and truth."""
    rng = np.random.default_rng(3)
    rows, columns = np.indices((160, 200))

    def oval(row, column, a, b):
        return ((rows - row) / a) ** 2 + ((columns - column) / b) ** 2 < 1

    place = (centre[0] + 40, centre[1] + 40)
    mine = oval(*place, *radii)
    others = oval(place[0] + 42, place[1] + 10, 14, 14) | oval(place[0] + 4, place[1] + 52, 15, 15)
    field = (
        60
        + 80 * (mine | others)
        + 15 * ndimage.gaussian_filter(rng.standard_normal(rows.shape), 2) * 4
    )
    steps = [(40 - drift[0] * t, 40 - drift[1] * t) for t in range(frames)]
    frame = [(slice(r, r + shape[0]), slice(c, c + shape[1])) for r, c in steps]
    noisy = [field[f] + 3 * rng.standard_normal(shape) for f in frame]
    return np.stack(noisy).clip(0, 255).astype(np.uint8), np.stack([mine[f] for f in frame])


def relocated(mask, before, after):
    return moved(mask, *Patch.of(before, mask).find(after), after.shape)


@pytest.mark.parametrize("drift", [(0, 0), (2, 3), (-4, 1), (0, -6)])
def test_an_object_is_found_where_it_moved_to(drift):
    image, truth = movie(frames=2, drift=drift)
    before, after = (ImageSampler(frame) for frame in image)
    found = relocated(LocalMask.crop(truth[0]), before, after)
    np.testing.assert_array_equal(found.region.paste(found.pixels, truth[1].shape), truth[1])


def test_a_large_object_is_found_to_a_hundredth_of_its_size():
    image, truth = (np.kron(part, np.ones((1, 12, 12), part.dtype)) for part in movie(frames=2))
    before, after = (ImageSampler(frame) for frame in image)
    found = relocated(LocalMask.crop(truth[0]), before, after)
    assert dice(found.region.paste(found.pixels, truth[1].shape), truth[1]) > 0.97


def test_what_leaves_the_image_is_cut_and_nothing_to_compare_moves_nothing():
    image, truth = movie(frames=2, drift=(-6, 0), centre=(14, 50))
    mask = LocalMask.crop(truth[0])
    before, after = (ImageSampler(frame) for frame in image)
    found = relocated(mask, before, after)
    np.testing.assert_array_equal(found.region.paste(found.pixels, truth[1].shape), truth[1])
    blank = ImageSampler(np.full(truth[0].shape, 7, np.uint8))
    assert Patch.of(blank, mask).find(after) == (0, 0)
    assert Patch.of(before, mask).find(blank) == (0, 0)
    assert moved(mask, 900, 0, truth[0].shape) is mask


def test_a_moving_object_keeps_its_place_and_size():
    image, truth = movie()
    session = RefinementSession(load_model("spa-tiny"))
    mask = LocalMask.crop(truth[0])
    found, ending = play(propagate(session, image.__getitem__, range(1, 8), mask, start=0))
    assert ending.reason == "edge"
    assert len(found) == 7
    assert min(dice(f.proposal.mask, truth[f.position]) for f in found) > 0.9
    assert [f.proposal.area for f in found] == pytest.approx([truth[0].sum()] * 7, rel=0.1)


def two_behind_each_other(dim=0.35):
    """A speckled oval on slices 0 to 4, another one in its place from 6 on, hardly any on 5."""
    rng = np.random.default_rng(8)
    rows, columns = np.indices((96, 96))
    mine = ((rows - 46) / 14) ** 2 + ((columns - 48) / 18) ** 2 < 1
    other = ((rows - 49) / 17) ** 2 + ((columns - 45) / 14) ** 2 < 1
    parts = [80.0 * mine] * 5 + [80 * dim * (mine & other)] + [80.0 * other] * 8
    speckle = 60 * ndimage.gaussian_filter(rng.standard_normal((2, 96, 96)), (0, 2, 2))
    noise = 3 * rng.standard_normal((len(parts), 96, 96))
    field = [60 + part + speckle[int(z > 5)] for z, part in enumerate(parts)]
    smooth = ndimage.gaussian_filter(np.stack(field), (0, 1, 1))
    return (smooth + noise).clip(0, 255).astype(np.uint8), mine


def test_it_ends_where_most_of_it_is_other_objects():
    image, truth = ball()
    session, mask = begun(image, truth, 4)
    left = {5: 1.0, 6: 0.6, 7: 0.4}

    def free(position, found):
        pixels = found.pixels.copy()
        pixels[round(left[position] * len(pixels)) :] = False
        return LocalMask.crop(pixels, found.region)

    config = PropagationConfig(free=free)
    walk = propagate(session, image.__getitem__, range(5, 10), mask, start=4, config=config)
    found, ending = play(walk)
    assert [f.position for f in found] == [5, 6]
    assert (ending.position, ending.reason) == (7, "moved")


def test_an_object_that_is_not_there_any_more_ends():
    image, mine = two_behind_each_other()
    session = RefinementSession(load_model("spa-tiny"))
    mask = LocalMask.crop(mine)
    positions = range(1, len(image))
    found, ending = play(propagate(session, image.__getitem__, positions, mask, start=0))
    assert [f.position for f in found if not f.doubtful][:2] == [1, 2]
    assert all(f.doubtful for f in found if f.position > 5)
    assert ending.reason in ("uncertain", "moved")
    assert ending.position <= 11
    on = PropagationConfig(uncertainty=1.0, overlap=0.0)
    found, ending = play(propagate(session, image.__getitem__, positions, mask, start=0, config=on))
    assert ending.reason == "edge"
    assert all(f.doubtful for f in found if f.position > 5)


def test_how_far_slices_lie_apart_says_how_soon_an_end_is_to_be_expected():
    """The same frames again and again: for ever in a movie, not in a stack of thick slices."""
    frames, truth = movie(frames=1)
    image, mask = np.repeat(frames, 5, axis=0), LocalMask.crop(truth[0])
    session = RefinementSession(load_model("spa-tiny"))

    def unsure(spacing):
        config = PropagationConfig(uncertainty=1.0, spacing=spacing)
        walk = propagate(session, image.__getitem__, range(1, 5), mask, start=0, config=config)
        return play(walk)[0][-1].proposal.uncertainty

    assert unsure(0.0) < unsure(1.0) < unsure(9.0) - 0.1
    assert unsure(1.0) < unsure(None) < unsure(9.0)


@pytest.mark.parametrize("last", [0, 7])
def test_without_a_limit_it_still_ends_where_nothing_is_or_the_stack_ends(last):
    image, truth = movie()
    blank = image.copy()
    blank[5:] = 7
    session = RefinementSession(load_model("spa-tiny"))
    config = PropagationConfig(uncertainty=1.0)
    mask = LocalMask.crop(truth[0])
    stack = image if last else blank
    found, ending = play(
        propagate(session, stack.__getitem__, range(1, 8), mask, start=0, config=config)
    )
    assert ending.reason == ("edge" if last else "empty")
    assert ending.position == (last or 5)
    assert len(found) == ending.position - (0 if last else 1)


@pytest.mark.parametrize("convention", ["sam", "medsam"])
def test_a_model_without_a_known_calibration_is_told_by_looks_alone(convention):
    image, truth = movie(frames=3)
    session = RefinementSession(make_model(convention=convention), config=EngineConfig(samples=12))
    config = PropagationConfig(uncertainty=1.0, overlap=0.0, max_area_ratio=1e9)
    mask = LocalMask.crop(truth[0])
    found, ending = play(
        propagate(session, image.__getitem__, [1, 2], mask, start=0, config=config)
    )
    assert ending.reason in ("edge", "empty")
    for number, each in enumerate(found, start=1):
        assert each.signs.keys() == AS_BEFORE.keys()
        worst = min(expected_dice(one.signs) for one in found[:number])
        assert each.proposal.uncertainty == pytest.approx(1 - worst)


def test_deep_points_lie_deep_and_apart():
    mask = disc()
    points = deep_points(mask)
    assert len(points) == 4
    assert points[0] == pytest.approx((20, 24), abs=1)
    for row, column in points:
        assert np.hypot(row - 20, column - 24) <= 5.5
    assert len(deep_points(LocalMask.crop(np.eye(1, dtype=bool)))) == 1


def test_an_empty_mask_cannot_be_carried(tiny):
    with pytest.raises(InputError, match="empty"):
        propagate_one(tiny, np.zeros((20, 20), np.uint8), LocalMask.crop(np.zeros((20, 20), bool)))


def test_a_slice_without_a_finite_pixel_is_an_ending(tiny):
    volume = np.random.default_rng(0).random((3, 20, 24))
    volume[1] = np.nan
    mask = LocalMask.crop(np.ones((20, 24), dtype=bool))
    ways = propagate(tiny, lambda k: volume[k], [1, 2], mask, start=0)
    with pytest.raises(StopIteration) as stopped:
        next(ways)
    ending = stopped.value.value
    assert (ending.position, ending.reason) == (1, "empty")
