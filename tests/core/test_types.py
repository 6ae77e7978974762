"""Rectangles of pixels, and masks in them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_spa.core.types import Box, LocalMask, Region

HERE = Region(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("other", "both"),
    [
        (HERE, HERE),
        (Region(0, 0, 3, 4), Region(2, 3, 1, 1)),
        (Region(4, 0, 9, 20), Region(4, 3, 2, 5)),
        (Region(6, 3, 2, 2), Region(0, 0, 0, 0)),  # beside it
        (Region(0, 0, 0, 0), Region(0, 0, 0, 0)),
    ],
)
def test_what_two_rectangles_share(other: Region, both: Region) -> None:
    assert HERE.common(other) == other.common(HERE) == both
    masks = [
        LocalMask(region, np.ones((region.height, region.width), bool)) for region in (HERE, other)
    ]
    assert masks[0].shared(masks[1]) == both.height * both.width


def test_a_rectangle_grows_inside_an_image() -> None:
    assert HERE.grown(2, (20, 20)) == Region(0, 1, 8, 9)
    assert HERE.grown(9, (7, 20)) == Region(0, 0, 7, 17)


def test_a_rectangle_indexes_the_image_and_another_one() -> None:
    image = np.arange(100).reshape(10, 10)
    whole = Region(1, 1, 8, 8)
    np.testing.assert_array_equal(image[whole.slices][HERE.slices_in(whole)], image[2:6, 3:8])
    assert HERE.box == Box(2, 3, 6, 8)
    assert Region.between(2, 3, *HERE.ends) == HERE
    assert Region.between(2, 3, 2, 8) == Region(0, 0, 0, 0)
