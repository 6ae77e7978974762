"""Where two profiles disagree, cut out and placed on an image."""

import numpy as np
import pytest
from napari.layers import Image

from napari_spa.core.plane import Plane
from napari_spa.core.types import Proposal, Region
from napari_spa.refine.preference import ProfileDisagreement
from napari_spa.viewer.profiles.actions import as_stack, corner_of, cut_out, disagreement_layer

FIRST, SECOND = np.zeros((2, 20, 30), dtype=bool)
FIRST[5:9, 10:20] = SECOND[6:12, 10:20] = True


SEEN, ELSEWHERE = Region(2, 3, 15, 24), Region(4, 0, 16, 22)
"""Each profile's memory of sizes may choose another field of view."""


def proposal(mask, seen=SEEN):
    probability = mask[seen.slices].astype(np.float32)
    return Proposal(probability, seen, mask.shape, 0.5, 0.1, 1, ())


def found(first=FIRST, second=SECOND):
    shown = ProfileDisagreement(proposal(first), proposal(second, ELSEWHERE))
    return cut_out(shown, ("Ana", "Ben"))


@pytest.mark.filterwarnings("ignore:Non-orthogonal")
@pytest.mark.parametrize("axes", [(1, 2), (0, 2), (0, 1)])
def test_the_layer_lies_where_they_disagree_on_a_turned_image(axes):
    shape = list(FIRST.shape)
    stack = next(axis for axis in range(3) if axis not in axes)
    shape.insert(stack, 4)
    image = Image(np.zeros(shape), scale=(3, 0.5, 2), translate=(1, 4, 9), rotate=(10, 20, 30))
    index = [0, 0, 0]
    index[stack] = 2
    plane = Plane(axes, tuple(index))
    layer = disagreement_layer(as_stack(found(), image, plane), image)
    layer.translate = corner_of(found(), image, plane)
    drawn = np.zeros(shape, dtype=np.uint8)
    for place in np.argwhere(layer.data):
        on = image.world_to_data(layer.data_to_world(place))
        drawn[tuple(np.round(on).astype(int))] = layer.data[tuple(place)]
    slice_ = np.take(drawn, 2, stack)
    np.testing.assert_array_equal(slice_ == 1, FIRST & ~SECOND)
    np.testing.assert_array_equal(slice_ == 2, SECOND & ~FIRST)
    assert np.count_nonzero(drawn) == np.count_nonzero(slice_)


def test_it_is_said_in_words():
    assert found().words == "Ana: 40\u00a0px, Ben: 60\u00a0px, Dice\u00a00.60"
    assert found(FIRST, FIRST).words == "Ana and Ben draw the same here: 40 px."
