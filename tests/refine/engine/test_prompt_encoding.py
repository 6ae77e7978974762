"""Tests of what the network is told of prompts in image pixels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_spa.core.types import Box, Click, Prompts
from napari_spa.refine.engine.embedder import embed_prompts
from napari_spa.refine.engine.view import FieldOfView

SIZE, SHAPE = 64, (40, 60)


class Listener:
    """Takes the place of a network, and keeps what it is told."""

    device = torch.device("cpu")
    config = SimpleNamespace(image_size=SIZE, rules=SimpleNamespace(point_order="xy"))

    def embed_prompts(self, points, labels, *, boxes, mask_logits):
        self.points = None if points is None else points[0].numpy()
        self.box = None if boxes is None else boxes[0].numpy()


VIEW = FieldOfView(5, 10, 20, 20)


def told(prompts):
    listener = Listener()
    embed_prompts(listener, SHAPE, VIEW, prompts)
    return listener


def test_the_edges_of_a_view_are_the_edges_of_the_input():
    box = told(Prompts(box=Box(5, 10, 25, 30))).box
    # SAM counts pixel centres from 0, so its input reaches from -0.5 to SIZE - 0.5.
    np.testing.assert_allclose(box, [-0.5, -0.5, SIZE - 0.5, SIZE - 0.5])


def test_the_box_around_one_pixel_has_a_click_on_it_in_its_middle():
    listener = told(Prompts((Click(12, 17),), box=Box(12, 17, 13, 18)))
    np.testing.assert_allclose(
        (listener.box[:2] + listener.box[2:]) / 2, listener.points[0], atol=1e-5
    )


@pytest.mark.parametrize("box", [Box(7, 12, 19, 21), Box(5.5, 11, 24, 12.25)])
def test_a_mirrored_box_is_told_mirrored(box):
    mirrored = Box(30 - box.row1, box.column0, 30 - box.row0, box.column1)  # about the view
    x0, y0, x1, y1 = told(Prompts(box=box)).box
    np.testing.assert_allclose(
        told(Prompts(box=mirrored)).box, [x0, SIZE - 1 - y1, x1, SIZE - 1 - y0], atol=1e-4
    )
