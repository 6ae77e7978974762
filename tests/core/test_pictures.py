"""Unit tests of a candidate's picture and words."""

import numpy as np

from napari_spa.core.pictures import (
    ADDED_COLOUR,
    REMOVED_COLOUR,
    describe_difference,
    difference_picture,
    outline,
)
from napari_spa.core.types import Candidate, Region


def make_candidate():
    recommended, mask = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    recommended[4:12, 4:12] = True
    mask[8:18, 4:12] = True
    return Candidate(mask, recommended, Region(0, 0, 20, 20), (20, 20), 0.38)


def test_colours_mark_what_changes():
    candidate = make_candidate()
    grey = np.random.default_rng(0).random((20, 20, 3)).astype(np.float32) * 0 + 0.5
    picture = difference_picture(
        grey, candidate.local_mask, candidate.local_recommended, opacity=1.0
    )
    assert tuple(picture[14, 8]) == ADDED_COLOUR
    assert tuple(picture[5, 8]) == REMOVED_COLOUR
    assert tuple(picture[8, 8]) == (255, 255, 255)  # its outline
    assert len(set(picture[10, 8])) == 1  # untouched grey


def test_outline_is_inside_and_one_pixel_wide():
    mask = make_candidate().local_mask
    line = outline(mask)
    assert not (line & ~mask).any()
    assert line.sum() == 2 * (10 + 8) - 4


def test_words():
    assert describe_difference(make_candidate()) == "+48 px, \N{MINUS SIGN}32 px · 38 %"
