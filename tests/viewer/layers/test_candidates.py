"""The candidates' layers: exact to the pixel, cheap to fill, whatever a user does to them."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from polygon_filling import fill_polygons
from scipy import ndimage
from skimage import data
from tiny_model import make_model

from napari_spa import RefinementSession, load_model
from napari_spa.core.measures import dice
from napari_spa.core.plane import Plane
from napari_spa.core.presentation import ADDED_COLOUR, REMOVED_COLOUR
from napari_spa.core.types import Candidate, Region
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.viewer.layers.candidates import CandidateShapes, draw_candidate

SHAPE = (60, 80)
PLANE = Plane((0, 1), (0, 0))


def candidate(seed=0):
    """Return a candidate with islands and holes, and a ring around a hole around a dot."""
    rng = np.random.default_rng(seed)
    recommended, mask = (ndimage.gaussian_filter(rng.normal(size=(24, 30)), 3) > 0 for _ in "ab")
    r = np.hypot(*(np.indices((24, 30)) - np.array([12, 15])[:, None, None]))
    mask = (mask & (r > 11)) | ((r < 10) & (r > 5))
    recommended = (recommended & (r > 11)) | (r < 3)
    return Candidate(mask, recommended, Region(15, 20, 24, 30), SHAPE, 0.5)


@pytest.fixture
def viewer():
    model = ViewerModel()
    model.add_image(np.zeros(SHAPE), name="image")
    return model


@pytest.fixture
def shapes(viewer):
    placed = {"scale": (2.0, 3.0), "translate": (5.0, 7.0)}
    return CandidateShapes(viewer, Image(np.zeros(SHAPE), name="image", **placed))


def rasterise(layer, colour, shape=SHAPE):
    """Rasterise, as napari does, what has a colour; the rest of the layer is left out."""
    there = np.isclose(layer.face_color[:, :3], np.array(colour) / 255, atol=1e-3).all(axis=1)
    return np.concatenate([[False], there])[layer.to_labels(labels_shape=shape)]


def polygons_of(layer):
    return [data for data, kind in zip(layer.data, layer.shape_type, strict=True) if kind != "path"]


def show(shapes, plane, drawn):
    for _ in shapes.steps(plane, drawn):
        pass


def show_only(shapes, *wanted):
    for index in range(4):
        shapes.set_visible(index, index in wanted)


def assert_shows(layer, shown, least=1.0):
    for colour, mask in ((ADDED_COLOUR, shown.added), (REMOVED_COLOUR, shown.removed)):
        back = rasterise(layer, colour, shown.shape)
        assert dice(back, mask) >= least
        if least == 1:
            np.testing.assert_array_equal(back, mask)


def test_layers_hold_the_differences(viewer, shapes):
    shown = [candidate(seed) for seed in range(3)]
    show(shapes, PLANE, [draw_candidate(one) for one in shown])
    assert [layer.name for layer in viewer.layers[1:]] == [
        f"image: candidate {k}" for k in (1, 2, 3)
    ]
    assert shapes.layers[3] is None
    for layer, one in zip(shapes.layers, shown, strict=False):
        assert_shows(layer, one)
        np.testing.assert_array_equal(layer.scale, [2, 3])
        np.testing.assert_array_equal(layer.translate, [5, 7])
        lines = np.array(layer.shape_type) == "path"
        assert lines.any()
        assert (np.array(layer.edge_width) > 0).tolist() == lines.tolist()
        assert not layer.face_color[:, 3].any()
    show(shapes, PLANE, [draw_candidate(shown[2])])
    assert_shows(shapes.layers[0], shown[2])
    assert [len(layer.data) for layer in shapes.layers[1:3]] == [0, 0]


@pytest.mark.parametrize("head", ["latent", "logit"])
def test_ragged_differences_of_a_model_come_back(viewer, head):
    session = RefinementSession(make_model(head), config=EngineConfig(samples=12))
    session.set_image(np.random.default_rng(1).integers(0, 255, (150, 170), np.uint8))
    shapes = CandidateShapes(viewer, viewer.layers[0])
    for proposal in (session.start(points=[(75, 85)]), session.pick(0)):
        show(shapes, PLANE, [draw_candidate(one) for one in proposal.candidates])
        for layer, one in zip(shapes.layers, proposal.candidates, strict=False):
            assert_shows(layer, one, least=0.99)


def test_real_differences_come_back(viewer):
    session = RefinementSession(load_model("spa-tiny", device="cpu"))
    session.set_image(data.retina()[400:900, :500])
    proposal = session.start(points=[(250, 215)])
    assert max(one.added_area + one.removed_area for one in proposal.candidates) > 1000
    shapes = CandidateShapes(viewer, viewer.layers[0])
    show(shapes, PLANE, [draw_candidate(one) for one in proposal.candidates])
    for layer, one in zip(shapes.layers, proposal.candidates, strict=True):
        assert_shows(layer, one, least=0.99)


def test_planes_of_a_stack(viewer):
    viewer.layers.clear()
    viewer.add_image(np.zeros((60, 4, 80)))
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 2)
    shapes = CandidateShapes(viewer, viewer.layers[0])
    one = candidate()
    show(shapes, Plane((0, 2), (0, 2, 0)), [draw_candidate(one)])
    (layer, *_) = shapes.layers
    assert all((polygon[:, 1] == 2).all() for polygon in layer.data)
    flat = [polygon[:, [0, 2]] for polygon in polygons_of(layer)]
    np.testing.assert_array_equal(fill_polygons(flat, SHAPE), one.added | one.removed)


def test_a_transposed_view_gets_pieces_that_do_not_fork_in_it(viewer, shapes):
    drawn, one = draw_candidate(candidate()), candidate()
    show(shapes, PLANE, [drawn])
    straight = len(polygons_of(shapes.layers[0]))
    viewer.dims.order = (1, 0)
    show(shapes, PLANE, [drawn])
    (layer, *_) = shapes.layers
    assert straight == len(drawn.polygons)
    np.testing.assert_array_equal(fill_polygons(layer.data, SHAPE), one.added | one.removed)
    for polygon in polygons_of(layer):
        steps = np.sign(np.diff(np.append(polygon[:, 0], polygon[0, 0])))
        steps = steps[steps != 0]
        assert np.count_nonzero(steps != np.roll(steps, 1)) == 2


def test_layers_are_kept_when_there_is_nothing_to_show(viewer, shapes):
    for _ in shapes.make():
        pass
    assert not list(shapes.make())
    before = list(viewer.layers)
    show(shapes, PLANE, [draw_candidate(candidate())])
    shapes.clear()
    show(shapes, PLANE, [])
    assert list(viewer.layers) == before
    assert not any(len(layer.data) for layer in shapes.layers)
    assert len(list(shapes.steps(PLANE, []))) == 4


def test_a_layer_is_drawn_in_the_step_after_it_is_added(shapes):
    shapes.set_visible(1, False)
    steps = shapes.make()
    next(steps)
    assert not shapes.layers[0].visible
    steps.close()  # a click came, which goes on with the layers
    assert shapes.layers[0].visible
    assert shapes.layers[1] is None
    assert list(shapes.make())
    assert [layer.visible for layer in shapes.layers] == [True, False, True, True]
    assert shapes.visible == (True, False, True, True)


def test_a_person_may_do_anything_to_the_layers(viewer, shapes):
    drawn = [draw_candidate(candidate(seed)) for seed in range(4)]
    show_only(shapes, 1)
    show(shapes, PLANE, drawn)
    renamed, deleted, *_ = shapes.layers
    renamed.name = "mine now"
    viewer.layers.remove(deleted)
    viewer.layers.move(0, len(viewer.layers))
    assert not shapes.owns(object())
    show(shapes, PLANE, drawn[1:])
    first, second, *_ = shapes.layers
    assert first is renamed
    assert first.name == "mine now"
    assert second is not deleted
    assert second.visible
    assert shapes.owns(second)
    assert not shapes.owns(deleted)
    assert_shows(second, candidate(2))
    first.mode = "add_polygon"
    first.add_polygons([np.array([[0, 0], [0, 9], [9, 9]])])
    first.selected_data = {0}
    show(shapes, PLANE, drawn)
    assert_shows(first, candidate(0))
    viewer.layers.clear()
    shapes.clear()
    shapes.solo(2)
    shapes.remove()
    assert shapes.layers == (None,) * 4


def test_an_emptied_layer_has_an_empty_thumbnail_hidden_or_not(shapes):
    shapes.set_visible(0, True)
    show(shapes, PLANE, [draw_candidate(candidate())])
    layer = shapes.layers[0]
    assert layer.thumbnail[..., :3].any()
    shapes.set_visible(0, False)
    shapes.clear()  # else the next object's rows in the list show this one
    assert not layer.thumbnail[..., :3].any()


def test_adding_a_layer_leaves_the_selection_alone(viewer, shapes):
    viewer.layers.selection.active = viewer.layers["image"]
    show(shapes, PLANE, [draw_candidate(candidate())])
    assert isinstance(viewer.layers.selection.active, Image)


def test_what_is_shown_is_remembered(viewer, shapes):
    drawn = [draw_candidate(candidate(seed)) for seed in range(4)]
    show_only(shapes, 0)
    show(shapes, PLANE, drawn)
    heard = []
    shapes.toggled.connect(lambda *args: heard.append(args))

    def seen():
        return [layer.visible and layer.opacity > 0 for layer in shapes.layers]

    assert seen() == [True, False, False, False]
    shapes.layers[3].visible = True  # a user, with the eye icon
    assert heard == [(3, True)]
    show(shapes, PLANE, drawn[::-1])
    assert seen() == [True, False, False, True]
    shapes.solo(1)
    assert seen() == [False, True, False, False]
    shapes.set_visible(0, False)
    show(shapes, PLANE, drawn)
    assert seen() == [False, True, False, False]
    shapes.solo(None)
    assert seen() == [False, False, False, True]
    assert shapes.visible == (False, False, False, True)
    shapes.remove()
    assert len(viewer.layers) == 1
    show(shapes, PLANE, drawn)
    assert seen() == [False, False, False, True]
    assert len(heard) == 1


def test_on_screen_holes_are_holes(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros(SHAPE, np.float32))
    shapes = CandidateShapes(viewer, viewer.layers[0])
    show_only(shapes, 0)
    drawn = draw_candidate(candidate())
    show(shapes, PLANE, [drawn])
    shapes.layers[0].opacity = 1
    viewer.reset_view()
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    camera = viewer.scene.camera
    zoom, middle = camera.zoom, np.array(camera.center[-2:])
    height, width = picture.shape[:2]
    for colour in (ADDED_COLOUR, REMOVED_COLOUR):
        of_colour = [
            (polygon - middle) * zoom + np.array([height, width]) / 2 - 0.5
            for polygon, its in zip(drawn.polygons, drawn.colours, strict=False)
            if np.allclose(its[:3] * 255, colour)
        ]
        seen = np.abs(picture - colour).max(axis=2) < 40
        assert dice(seen, fill_polygons(of_colour, (height, width))) > 0.98


def test_hiding_all_for_a_moment_is_no_choice_of_the_person(viewer, shapes):
    for _ in shapes.make():
        pass
    show_only(shapes, 1)
    heard = []
    shapes.toggled.connect(lambda *what: heard.append(what))
    shapes.set_hidden(True)
    assert not any(layer.visible for layer in shapes.layers)
    shapes.set_hidden(False)
    assert [layer.visible for layer in shapes.layers] == [False, True, False, False]
    assert (shapes.visible, heard) == ((False, True, False, False), [])


def test_several_are_outlines_and_one_alone_is_filled(viewer, shapes):
    show(shapes, PLANE, [draw_candidate(candidate(seed)) for seed in range(4)])

    def filled():
        return [layer.face_color[:, 3].any() for layer in shapes.layers]

    def widths():
        return {width for layer in shapes.layers for width in layer.edge_width}

    assert [layer.visible for layer in shapes.layers] == [True] * 4
    assert filled() == [False] * 4
    assert len(widths()) == 2
    shapes.solo(2)
    assert shapes.layers[2].face_color[:, 3].any()
    assert set(shapes.layers[2].edge_width) == {0}
    assert [layer.visible for layer in shapes.layers] == [True] * 4  # no scene is built again
    assert [layer.opacity > 0 for layer in shapes.layers] == [False, False, True, False]
    shapes.solo(None)
    assert {layer.opacity for layer in shapes.layers} == {0.8}
    assert filled() == [False] * 4
    viewer.scene.camera.zoom = 0.5
    shapes.fit_lines()
    wide = max(widths())
    viewer.scene.camera.zoom = 1.0
    shapes.fit_lines()
    assert max(widths()) == wide / 2


def test_layers_are_put_under_the_mask(viewer):
    mask = viewer.add_labels(np.zeros(SHAPE, int), name="mask")
    shapes = CandidateShapes(viewer, viewer.layers[0], under=lambda: mask)
    show(shapes, PLANE, [draw_candidate(candidate())])
    assert [layer.name for layer in viewer.layers] == ["image", "image: candidate 1", "mask"]
