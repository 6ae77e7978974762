"""What a user may look at in a layer, in words."""

import numpy as np
import pytest
from napari.layers import Image

from napari_spa.viewer.layers.planes import channel_choices


@pytest.mark.parametrize(
    ("shape", "labels", "names"),
    [
        ((20, 30), None, ["Grey values"]),
        ((9, 20, 30), None, ["Grey values of the slice"]),
        ((4, 20, 30), None, ["Grey values of the slice", "Positions 0, 1, 2 as colours"]),
        ((4, 20, 30), "tyx", ["Grey values of the slice"]),
        ((4, 20, 30), "zyx", ["Grey values of the slice"]),
        (
            (4, 2, 20, 30),
            "tcyx",
            [
                "Channel on show",
                "Channels 0, 1 as colours",
                "Channel 0 alone",
                "Channel 1 alone",
            ],
        ),
        (
            (2, 2, 20, 30),
            ("stain", "channel", "y", "x"),
            [
                "Channel on show",
                "Channels 0, 1 as colours",
                "Channel 0 alone",
                "Channel 1 alone",
            ],
        ),
        (
            (2, 20, 30),
            ("stain", "y", "x"),
            ["Grey values of the slice", "Stains 0, 1 as colours"],
        ),
    ],
)
def test_channels_are_named_by_what_they_are(shape, labels, names):
    layer = Image(np.zeros(shape), axis_labels=None if labels is None else tuple(labels), rgb=False)
    assert [choice.name for choice in channel_choices(layer)] == names
