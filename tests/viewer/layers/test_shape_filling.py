"""Unit tests of giving a Shapes layer other polygons."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Shapes
from polygon_filling import fill_polygons

from napari_spa.viewer.layers.candidates import Drawing, fill_layer

SQUARE = np.array([[1.0, 1], [1, 9], [9, 9], [9, 1]])
BLUE, RED = (0.0, 0.5, 1.0, 1.0), (1.0, 0.0, 0.5, 1.0)


@pytest.fixture
def layer():
    return ViewerModel().add_layer(Shapes(ndim=2))


def test_all_that_was_there_is_replaced(layer):
    layer.add_rectangles([SQUARE, SQUARE + 3], edge_width=4)
    layer.selected_data = {1}
    fill_layer(layer, Drawing([SQUARE, SQUARE + 9.5, SQUARE[:3]], [], np.array([BLUE, RED, BLUE])))
    np.testing.assert_allclose(layer.face_color, [BLUE, RED, BLUE])
    np.testing.assert_array_equal(layer.data[1], SQUARE + 9.5)
    assert layer.shape_type == ["polygon"] * 3
    assert layer.edge_width == [0] * 3
    assert len(layer.features) == 3
    assert not layer.selected_data
    fill_layer(layer, Drawing([], [], np.empty((0, 4))))
    assert len(layer.data) == 0


def test_outlines_are_lines_and_nothing_is_filled(layer):
    line = SQUARE[:3] + 20.5
    drawn = Drawing([SQUARE], [line], np.array([BLUE, RED]))
    fill_layer(layer, drawn, line=1.5)
    assert layer.shape_type == ["polygon", "path"]
    assert layer.edge_width == [0, 1.5]
    np.testing.assert_allclose(layer.edge_color[1], RED)
    np.testing.assert_allclose(layer.face_color, [[*BLUE[:3], 0], [0, 0, 0, 0]])
    # There and back: whoever fills it finds nothing.
    np.testing.assert_array_equal(layer.data[1], [*line, *line[-2::-1]])
    assert not fill_polygons([layer.data[1]], (40, 40)).any()
    fill_layer(layer, drawn)
    assert layer.edge_width == [0, 0]
    np.testing.assert_allclose(layer.face_color[0], BLUE)


def test_it_is_drawn_once_and_only_when_visible(layer):
    drawn, told = [], []
    layer.events.set_data.connect(lambda event: drawn.append(1))
    layer.events.visible.connect(lambda event: told.append(1))
    fill_layer(layer, Drawing([SQUARE], [], np.array([BLUE])))
    assert len(drawn) == 1
    assert layer.visible
    layer.visible = False
    fill_layer(layer, Drawing([SQUARE + 1], [], np.array([RED])))
    assert len(drawn) == 1
    assert not layer.visible
    assert len(told) == 1
    np.testing.assert_array_equal(layer.data[0], SQUARE + 1)


def test_a_mode_of_drawing_is_left_alone(layer):
    layer.mode = "add_polygon"
    fill_layer(layer, Drawing([SQUARE], [], np.array([BLUE])))
    assert layer.mode == "add_polygon"
