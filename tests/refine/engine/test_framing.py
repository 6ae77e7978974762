"""Unit tests of the choice of a field of view, with glimpses made by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from skimage import data

from napari_spa.core.mixture import fit_size_prior
from napari_spa.core.types import Box, Click, LocalMask, Prompts
from napari_spa.io.models.load import load_model
from napari_spa.refine.engine import framing
from napari_spa.refine.engine.alternatives import Option
from napari_spa.refine.engine.config import FramingConfig
from napari_spa.refine.engine.embedder import Windows, encode_all
from napari_spa.refine.engine.framing import Search, frame_prompts, look_around, window_sides
from napari_spa.refine.engine.predictions import (
    RankedPrediction,
    WindowPrediction,
    has_edge,
    rank_predictions,
    support,
)
from napari_spa.refine.engine.view import FieldOfView, ImageSampler, widen


def prediction(side, diameter, quality=0.9, size=64):
    """Look at a disc of some diameter through a window of some side around its centre."""
    r = np.hypot(*(np.indices((size, size)) - (size - 1) / 2)) * side / size
    return WindowPrediction(FieldOfView.around(100, 100, side), r < diameter / 2, quality)


def encode_windows(spa, sampler, views):
    encoded = encode_all(spa, [sampler.pixels(view, spa.config.image_size) for view in views])
    return Windows.of(dict(zip(views, encoded, strict=True)), views)


def search(spa, sampler, config=None, see=None):
    see = see or partial(encode_windows, spa, sampler)
    return Search(spa, sampler, see, config or FramingConfig())


def test_windows_reach_from_small_to_the_whole_image():
    sides = window_sides(1411.0, FramingConfig())
    assert sides[0] == 16
    assert sides[-1] == 1411
    assert window_sides(5.0, FramingConfig()) == [8.0]


CLICKS = (Click(99.5, 99.5),)


def merits(*levels):
    return [s.merit for s in rank_predictions([[level] for level in levels], FramingConfig())]


def test_prefers_the_window_that_holds_the_object_whole_and_large():
    levels = [[prediction(side, 40)] for side in (16, 32, 64, 128, 256, 512)]
    assert 64 <= rank_predictions(levels, FramingConfig())[0].prediction.view.height <= 128


def test_one_object_is_looked_at_again_once_and_two_are_both():
    one = [[prediction(side, 40)] for side in (64, 90, 128, 180)]
    assert len(rank_predictions(one, FramingConfig())) == 1
    both = [[prediction(64, 20), prediction(64, 40)], [prediction(128, 40)]]
    assert len(rank_predictions(both, FramingConfig())) == 2


def test_never_more_second_looks_than_asked_for():
    levels = [[prediction(200, size) for size in (20, 30, 45, 70, 100, 150)]]
    assert len(rank_predictions(levels, FramingConfig(looks=3))) == 3


def test_does_not_trust_what_the_quality_head_does_not():
    low, high = merits(prediction(60, 30, quality=0.2)), merits(prediction(60, 30, quality=0.9))
    assert high[0] > 4 * low[0]


def test_an_object_is_found_again_from_its_own_middle():
    seen = RankedPrediction(prediction(60, 30), 1.0)
    texture = seen.found_again(prediction(60, 30, quality=0.3), CLICKS)
    assert seen.found_again(prediction(60, 30), CLICKS) > 2 * texture


def test_what_a_click_denies_hardly_counts():
    seen, again = RankedPrediction(prediction(60, 30), 1.0), prediction(60, 30)
    held = seen.found_again(again, CLICKS)
    assert held > 3 * seen.found_again(again, (Click(150.0, 150.0),)) > 0
    assert held > 3 * seen.found_again(again, (*CLICKS, Click(99.5, 105.5, 0))) > 0


def test_nothing_seen_counts_nothing_but_is_still_looked_at():
    assert merits(prediction(60, 0)) == [0.0]


def test_a_mask_is_cut_where_the_image_goes_on_beyond_the_window():
    whole, part = prediction(100, 60), prediction(100, 160)
    assert whole.cut((400, 400)) == 0
    assert part.cut((400, 400)) > 0.9
    assert part.cut((150, 150)) > 0.9  # above and left of it there is more
    filling = WindowPrediction(FieldOfView(0, 0, 100, 100), part.mask, 0.9)
    assert filling.cut((100, 100)) == 0


def test_object_view_is_centred_on_the_object():
    view = prediction(100, 30).object_view(2.0)
    assert view.row + view.height / 2 == pytest.approx(100, abs=1)
    assert view.height == pytest.approx(60, rel=0.1)


def test_box_and_mask_set_the_view_without_looking():
    sampler = ImageSampler(np.zeros((200, 300), np.uint8))
    framed = frame_prompts(search(None, sampler), Prompts(box=Box(50, 60, 90, 120)))
    box, anchor = framed.view, framed.anchor
    assert anchor is None
    assert box.contains(50, 60)
    assert box.contains(89, 119)
    mask = np.zeros((200, 300), bool)
    mask[50:90, 60:120] = True
    assert frame_prompts(search(None, sampler), Prompts(mask=LocalMask.crop(mask))).view == box


@pytest.mark.parametrize("far", [(180, 20), (52, 290)])
def test_a_box_with_a_far_click_gets_a_view_that_holds_both(far):
    sampler = ImageSampler(np.zeros((200, 300), np.uint8))
    prompts = Prompts((Click(*far),), box=Box(50, 60, 90, 120))
    view = frame_prompts(search(None, sampler), prompts).view
    assert view.contains(*far)
    assert all(view.contains(*corner) for corner in prompts.box.corners)


def test_a_box_around_the_whole_image_is_in_a_view_of_it():
    whole = FieldOfView(0, 0, 200, 200)
    assert widen(whole, Prompts(box=Box(0, 0, 200, 200)), (200, 200)) is whole


def test_widen_keeps_a_view_that_holds_the_prompts_and_grows_one_that_does_not():
    view = FieldOfView(50, 50, 40, 40)
    inside = Prompts((Click(60, 60),))
    assert widen(view, inside, (500, 500)) is view
    outside = Prompts((Click(60, 60), Click(200, 70)))
    grown = widen(view, outside, (500, 500))
    assert grown.contains(200, 70)
    assert grown.contains(50, 50)


def test_expecting_a_size_turns_the_view_to_what_is_so_large():
    spa = load_model("spa-tiny", device="cpu").spa
    # A nucleus of 12 pixels in a gland of 150.
    sampler, prompts = ImageSampler(data.immunohistochemistry()), Prompts((Click(360.0, 345.0),))
    sides = {}
    for radius in (6, 75):
        expected = fit_size_prior([np.pi * radius**2] * 3, [1.0] * 3)
        framed = frame_prompts(search(spa, sampler), prompts, expected)
        sides[radius] = framed.view.height
        if radius == 6:  # the gland stays on offer
            assert any(other.area > 4000 for other in framed.hypotheses)
    assert sides[6] < 100 < sides[75]


def test_memory_does_not_overrule_what_was_found_again_best(monkeypatch):
    spa = load_model("spa-tiny", device="cpu").spa
    sampler, prompts = ImageSampler(data.camera()[:256, :256]), Prompts((Click(128.0, 128.0),))
    middle = prompts.clicks[0]

    def seen(side):
        mask = np.zeros((64, 64), bool)
        mask[16:48, 16:48] = True
        return WindowPrediction(FieldOfView.around(128, 128, side), mask, 0.9)

    both = [seen(120), seen(16)]

    def looks(*_):
        return [
            framing._Look(middle, one, one, score)
            for one, score in zip(both, (0.5, 0.4), strict=True)
        ]

    monkeypatch.setattr(framing, "_look_again", looks)
    small = fit_size_prior([both[1].area] * 9, [1.0] * 9)
    for expected in (None, small):
        framed = frame_prompts(search(spa, sampler), prompts, expected)
        assert framed.view == both[0].view
    assert small.likelihood(both[0].area) < 0.01


@pytest.mark.parametrize("size", [64, 256])
def test_a_mask_has_an_edge_where_the_picture_has_one(size):
    rng = np.random.default_rng(0)
    rows, columns = np.indices((200, 200))
    disc = np.hypot(rows - 90, columns - 110) < 30
    view = FieldOfView(40, 60, 100, 100)
    places = ((np.arange(size) + 0.5) * 100 / size).astype(int)

    def shown(mask):
        return WindowPrediction(view, mask[40:140, 60:160][np.ix_(places, places)], 0.9)

    noise = rng.normal(100, 10, disc.shape)
    for sign in (1, -1):  # brighter and darker objects are alike
        picture = ImageSampler(noise + sign * 60 * disc)
        assert has_edge(picture, shown(disc))
        assert not has_edge(picture, shown(np.hypot(rows - 60, columns - 130) < 18))
    assert not has_edge(ImageSampler(noise), shown(disc))
    faded = 0.3 * noise + 60 * np.clip(1.5 - np.hypot(rows - 90, columns - 110) / 60, 0, 1)
    assert has_edge(ImageSampler(faded), shown(disc))  # not steep, but other values
    assert has_edge(ImageSampler(noise), shown(np.zeros_like(disc)))


def test_what_a_window_gives_does_not_depend_on_the_number_of_threads():
    spa = load_model("spa-tiny", device="cpu").spa
    sampler = ImageSampler(data.camera())
    views = [FieldOfView.around(200, 200, side) for side in (30, 60, 120)]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(encode_windows(spa, sampler, views).image)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert torch.equal(found[0].tokens, other.tokens)
        assert all(map(torch.equal, found[0].skips, other.skips))


def test_a_large_object_is_not_looked_for_in_small_windows():
    spa = load_model("spa-tiny", device="cpu").spa
    sampler, prompts = ImageSampler(data.immunohistochemistry()), Prompts((Click(360.0, 345.0),))
    expected = fit_size_prior([np.pi * 75**2] * 3, [1.0] * 3)
    sides = {}
    for known in (None, expected):
        seen: set[float] = set()

        def see(views, seen=seen):
            seen.update(view.height for view in views)
            return encode_windows(spa, sampler, views)

        frame_prompts(search(spa, sampler, see=see), prompts, known)
        sides[known] = min(seen)
    assert sides[None] == 16 < 75 < sides[expected]


def test_what_cannot_count_for_more_is_not_looked_at_again():
    spa = load_model("spa-tiny", device="cpu").spa
    sampler, prompts = ImageSampler(data.immunohistochemistry()), Prompts((Click(360.0, 345.0),))
    looks, views = [], []
    for spared in (np.inf, 0.85):
        seen: list[FieldOfView] = []

        def see(windows, seen=seen):
            seen.extend(windows)
            return encode_windows(spa, sampler, windows)

        config = FramingConfig(spared=spared)
        views.append(frame_prompts(search(spa, sampler, config, see), prompts).view)
        looks.append(len(seen))
    assert looks[1] < looks[0]
    assert views[0] == views[1]


def test_alike_picks_are_looked_around_in_the_same_windows():
    spa = load_model("spa-tiny", device="cpu").spa
    sampler, prompts = ImageSampler(data.camera()), Prompts((Click(200.0, 200.0),))
    view, grid = FieldOfView.around(200, 200, 100), np.indices((64, 64)) - 31.5
    seen = []
    for radius in (16.2, 17.0):
        picked = Option(view, np.float32(np.hypot(*grid) < radius))

        def see(views):
            seen.append(set(views))
            return encode_windows(spa, sampler, views)

        look_around(search(spa, sampler, see=see), picked, prompts)
    assert seen[0] == seen[1]
    assert view in seen[0]  # which has been encoded
    assert len({round(np.log2(window.height)) for window in seen[0]}) == 3


def test_an_object_has_the_support_of_the_windows_that_show_it_too():
    both = [prediction(64, 20), prediction(64, 40)]
    wider = [prediction(96, 40), prediction(128, 40), prediction(160, 40)]
    small, large, *_ = support([*both, *wider])
    assert large > 0.95
    assert small < 0.5
    assert (support(both) == 1).all()  # there is no other window to ask
