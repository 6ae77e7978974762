"""Unit tests of a candidate's picture and words."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from napari_spa.core.presentation import (
    ADDED_COLOUR,
    OUTLINE_COLOUR,
    REMOVED_COLOUR,
    describe_difference,
    difference_picture,
    draw_frame,
    outline,
    outline_picture,
)
from napari_spa.core.types import Candidate, Region

SIDE = 40
RECOMMENDED = (slice(10, 30), slice(10, 30))


def filled(*boxes):
    mask = np.zeros((SIDE, SIDE), bool)
    for box in boxes:
        mask[box] = True
    return mask


def make_candidate(*boxes):
    return Candidate(
        filled(*boxes), filled(RECOMMENDED), Region(0, 0, SIDE, SIDE), (SIDE, SIDE), 0.38
    )


def test_colours_mark_what_changes_on_a_grey_image():
    red = np.zeros((SIDE, SIDE, 3), np.float32)
    red[..., 0] = np.random.default_rng(0).random((SIDE, SIDE))
    mask, recommended = filled((slice(20, 38), slice(10, 30))), filled(RECOMMENDED)
    picture = difference_picture(red, mask, recommended, opacity=1.0)
    assert tuple(picture[34, 20]) == ADDED_COLOUR
    assert tuple(picture[12, 20]) == REMOVED_COLOUR
    assert tuple(picture[20, 20]) == OUTLINE_COLOUR  # the border inside the recommendation
    untouched = picture[~(mask | recommended)]
    assert (untouched == untouched[:, :1]).all()  # grey
    assert untouched.max() < 255  # white is for the outline


def test_a_ring_of_one_pixel_is_not_under_the_outline():
    mask, recommended = filled((slice(9, 31), slice(9, 31))), filled(RECOMMENDED)
    picture = difference_picture(np.ones((SIDE, SIDE, 3), np.float32), mask, recommended, opacity=1)
    ring = mask & ~recommended
    assert (picture[ring] == ADDED_COLOUR).all()


@pytest.mark.parametrize("line", [1, 3])
def test_outline_is_inside_and_as_wide_as_asked(line):
    mask = filled(RECOMMENDED)
    drawn = outline(mask, line)
    assert not (drawn & ~mask).any()
    assert drawn.sum() == 20**2 - (20 - 2 * line) ** 2


def test_an_outline_picture_depends_on_one_mask_alone():
    window = np.random.default_rng(0).random((SIDE, SIDE, 3)).astype(np.float32)
    mask = filled(RECOMMENDED)
    picture = outline_picture(window, mask, line=2)
    bare = outline_picture(window, np.zeros_like(mask))
    np.testing.assert_array_equal((picture != bare).any(axis=-1), outline(mask, 2))


def test_a_frame_is_cut_at_the_edge():
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    draw_frame(picture, -5, 10, 20, 60, 2)
    assert picture[18:20].any()  # the lower edge
    assert picture[:20, 10:12].any()
    assert not picture[20:].any()
    assert not picture[:, :10].any()


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([(slice(15, 25), slice(12, 28))], "smaller, \N{MINUS SIGN}60 %"),
        ([(slice(8, 32), slice(8, 32))], "larger, +44 %"),
        ([RECOMMENDED, (slice(10, 30), slice(30, 36))], "more on the right, +30 %"),
        ([(slice(15, 30), slice(10, 30))], "less at the top, \N{MINUS SIGN}25 %"),
        ([(slice(18, 22), slice(18, 22))], "only a part, \N{MINUS SIGN}96 %"),
        ([(slice(18, 19), slice(18, 19))], "only a part, \N{MINUS SIGN}99 %"),  # not all of it
        ([(slice(0, 40), slice(0, 40))], "the whole around it, +300 %"),
        ([(slice(0, 5), slice(0, 5))], "another object, 25 px"),
        ([(slice(12, 32), slice(10, 30))], "other shape, +10 % \N{MINUS SIGN}10 %"),
        ([RECOMMENDED, (slice(30, 31), slice(10, 12))], "nearly the same, +0 %"),
    ],
)
def test_words(boxes, words):
    assert describe_difference(make_candidate(*boxes)) == words


def test_the_two_colours_stand_out_from_real_images():
    """Colour differences (CIE76) above 40 are seen at once; beside white too."""
    from skimage import data

    images = [data.retina(), data.immunohistochemistry()]
    grey = [np.repeat(image[..., None], 3, axis=-1) for image in (data.camera(), data.coins())]
    for colour in (ADDED_COLOUR, REMOVED_COLOUR):
        lab = rgb2lab(np.array(colour)[None, None] / 255)
        for image in (*images, *grey):
            seen = rgb2lab(image[::8, ::8] / 255)
            distance = np.linalg.norm(seen - lab, axis=-1)
            assert np.percentile(distance, 5) > 40
