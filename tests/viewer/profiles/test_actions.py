"""Where two profiles disagree, outlined."""

import numpy as np
import pytest
from polygon_filling import fill_polygons

from napari_spa.core.types import Proposal, Region
from napari_spa.refine.preference import ProfileDisagreement
from napari_spa.viewer.profiles.actions import outlined

FIRST, SECOND = np.zeros((2, 20, 30), dtype=bool)
FIRST[5:9, 10:20] = SECOND[6:12, 10:20] = True


SEEN, ELSEWHERE = Region(2, 3, 15, 24), Region(4, 0, 16, 22)
"""Each profile's memory of sizes may choose another field of view."""


def proposal(mask, seen=SEEN):
    probability = mask[seen.slices].astype(np.float32)
    return Proposal(probability, seen, mask.shape, 0.5, 0.1, 1, ())


def found(first=FIRST, second=SECOND, axis=1):
    shown = ProfileDisagreement(proposal(first), proposal(second, ELSEWHERE))
    return outlined(shown, ("Ana", "Ben"), axis=axis)


@pytest.mark.parametrize("axis", [0, 1])
def test_polygons_hold_what_only_one_would_draw(axis):
    one, other = (fill_polygons(polygons, FIRST.shape) for polygons in found(axis=axis).only)
    np.testing.assert_array_equal(one, FIRST & ~SECOND)
    np.testing.assert_array_equal(other, SECOND & ~FIRST)


def test_it_is_said_in_words():
    assert found().words == "Ana: 40\u00a0px, Ben: 60\u00a0px, Dice\u00a00.60"
    assert found(FIRST, FIRST).words == "Ana and Ben draw the same here: 40 px."
