"""Tests of the label store: what is kept, what the coarse levels show, what napari does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Labels

from napari_spa.errors import InputError
from napari_spa.viewer.layers import label_storage, tiled_array
from napari_spa.viewer.layers.label_storage import LabelStore, make_label_store
from napari_spa.viewer.layers.tiled_array import TileArray


@pytest.fixture
def tiny(monkeypatch):
    """Make stores of small images behave as those of huge ones do."""
    monkeypatch.setattr(label_storage, "_DENSE_PIXELS", 0)
    monkeypatch.setattr(label_storage, "_PAINTABLE_SIDE", 256)
    monkeypatch.setattr(label_storage, "_COARSEST_SIDE", 40)


def _memory(store):
    return sum(level.nbytes for level in store._levels)


def _disc(size):
    rows, columns = np.ogrid[:size, :size]
    middle = (size - 1) / 2
    return (rows - middle) ** 2 + (columns - middle) ** 2 < (size / 2) ** 2


@pytest.mark.parametrize(
    ("shape", "axes", "kind", "multiscale"),
    [
        ((8192, 8192), (0, 1), np.ndarray, False),
        ((2, 12, 3, 64, 64), (3, 4), np.ndarray, False),
        ((1000, 4096, 4096), (1, 2), TileArray, False),
        ((20_000, 20_000), (0, 1), list, True),
        ((100, 9000, 200), (1, 2), list, True),
    ],
)
def test_the_size_decides_how_labels_are_kept(shape, axes, kind, multiscale):
    store = make_label_store(shape, axes=axes)
    assert isinstance(store.data, kind)
    assert (store.shape, store.ndim) == (shape, len(shape))
    assert (store.dtype, store.multiscale) == (np.uint16, multiscale)


def test_a_huge_image_costs_what_its_objects_cost():
    store = make_label_store((20_000, 20_000), axes=(0, 1))
    empty = _memory(store)
    rng = np.random.default_rng(0)
    for row, column in rng.integers(0, 19_800, (100, 2)):
        box = (slice(row, row + 200), slice(column, column + 200))
        store.write(box, np.where(_disc(200), 1, store.read(box)))
    assert empty < 1e6
    assert _memory(store) < 30e6  # in full it would be 1066e6
    store.write((slice(None), slice(None)), 0)
    assert _memory(store) == empty


def test_a_write_of_any_size_reaches_every_level(monkeypatch):
    monkeypatch.setattr(tiled_array, "_MOST_PIXELS", 2100**2)
    store = make_label_store((10, 9000, 9000), axes=(1, 2))
    store.write((slice(None), slice(0, 30), slice(None)), 3)
    store.write((7, slice(None), slice(8995, None)), 5)
    assert [level.peak for level in store.data] == [5] * len(store.data)
    store.write((slice(None), slice(None), slice(None)), 0)
    assert _memory(store) == 0


def test_no_level_is_larger_than_a_texture_and_the_stack_keeps_its_length():
    store = make_label_store((50, 20_001, 13_000), axes=(1, 2))
    shapes = [level.shape for level in store.data]
    assert shapes[:3] == [(50, 20_001, 13_000), (50, 10_001, 6500), (50, 5001, 3250)]
    assert max(shapes[-1][1:]) <= 512


@pytest.mark.parametrize("axes", [(1, 0), (0, 0), (0, 2), (-1, 1)])
def test_axes_that_are_not_a_plane_are_refused(axes):
    with pytest.raises(InputError, match="rows and columns"):
        make_label_store((10, 10), axes=axes)


@pytest.mark.parametrize("shape", [(30, 40), (4, 30, 40)])
@pytest.mark.parametrize("kind", ["dense", "tiles", "pyramid"])
def test_what_is_written_is_read(shape, kind, monkeypatch):
    if kind != "dense":
        monkeypatch.setattr(label_storage, "_DENSE_PIXELS", 0)
    if kind == "pyramid":
        monkeypatch.setattr(label_storage, "_PAINTABLE_SIDE", 8)
        monkeypatch.setattr(label_storage, "_COARSEST_SIDE", 8)
    store = make_label_store(shape, axes=(len(shape) - 2, len(shape) - 1))
    assert store.multiscale == (kind == "pyramid")
    position = (2,) * (len(shape) - 2)
    box = (*position, slice(3, 9), slice(10, 14))
    store.write(box, np.arange(24).reshape(6, 4))
    before = store.read(box)
    assert np.array_equal(before, np.arange(24).reshape(6, 4))
    assert before.dtype == np.uint16
    store.write(box, 0)
    assert before.any(), "what was read is a copy"
    assert store.planes() == []
    assert store.highest() == 0
    store.write((*position, 29, 39), 65535)
    store.write((*position, slice(0, 0), 3), 7)
    assert {plane.position for plane in store.planes()} == {position}
    assert store.highest() == 65535


@pytest.mark.parametrize("values", [-1, 65536, 1.0, np.array([[3, 70_000]])])
def test_a_label_that_would_wrap_round_is_refused(values):
    store = make_label_store((10, 10), axes=(0, 1))
    store.fix()
    with pytest.raises(InputError, match="0 to 65535"):
        store.write((slice(0, 1), slice(0, 2)), values)
    assert store.highest() == 0


def test_planes_painted_by_hand_count():
    store = make_label_store((3, 2, 20, 20), axes=(2, 3))
    store.data[2, 1, 5, 5] = 4
    assert {plane.position for plane in store.planes()} == {(2, 1)}


# ---------------------------------------------------------------------- coarser levels


def _pyramid(sides):
    """Make a pyramid of square planes."""
    levels = [TileArray.zeros((side, side), (8, 8)) for side in sides]
    return LabelStore(levels, (0, 1))


@given(
    st.lists(st.integers(1, 60), min_size=2, max_size=4, unique=True),
    st.integers(0, 2**32 - 1),
)
def test_coarse_levels_depend_on_the_labels_alone_and_lose_none(sides, seed):
    sides = sorted(sides, reverse=True)
    rng = np.random.default_rng(seed)
    store, again = _pyramid(sides), _pyramid(sides)
    for _ in range(5):
        spans = np.sort(rng.integers(0, sides[0] + 1, (2, 2)), axis=1)
        box = tuple(slice(*span) for span in spans)
        with pytest.MonkeyPatch.context() as patch:  # in many parts
            patch.setattr(label_storage, "_CARRIED_SIDE", 7)
            values = rng.integers(0, 3, np.diff(spans).ravel()) * rng.integers(0, 2)
            store.write(box, values)
    everything = (slice(None), slice(None))
    again.write(everything, store.read(everything))
    for level, other in zip(store.data, again.data, strict=True):
        assert np.array_equal(np.asarray(level), np.asarray(other))
        assert level.peak == store.highest()


def test_a_coarse_pixel_has_the_highest_label_under_it():
    store = _pyramid((8, 4, 2))
    store.write((1, 2), 5)
    store.write((0, 3), 7)
    assert np.asarray(store.data[1]).tolist() == [[0, 7, 0, 0], *[[0] * 4] * 3]
    assert np.asarray(store.data[2]).tolist() == [[7, 0], [0, 0]]
    store.write((0, slice(None)), 0)
    assert np.asarray(store.data[2]).tolist() == [[5, 0], [0, 0]]


@given(st.integers(100, 400), st.integers(0, 2**32 - 1))
def test_edges_lie_within_the_pixel_of_the_level_on_show(side, seed):
    """As napari places a level's pixels: by the ratio of the shapes."""
    sides = [side]
    while sides[-1] > 10:
        sides.append(-(-sides[-1] // 2))
    store = _pyramid(sides)
    start, stop = np.sort(np.random.default_rng(seed).choice(side + 1, 2, replace=False))
    store.write((slice(start, stop), slice(None)), 1)
    for level in store.data:
        ratio = side / level.shape[0]
        rows = np.flatnonzero(np.asarray(level)[:, 0])
        assert -0.5 <= start / ratio - rows[0] < 1.5  # half a pixel is for rounding
        assert -0.5 <= rows[-1] + 1 - stop / ratio < 1.5


# ------------------------------------------------------------------------ in a layer


@pytest.mark.usefixtures("tiny")
def test_every_level_lies_where_the_image_does():
    shear = np.array([[1, 0.2, 3], [0, 1, -5], [0, 0, 1]])
    space = {"scale": (2.5, 0.7), "translate": (30, -8), "rotate": 20, "affine": shear}
    store = make_label_store((301, 403), axes=(0, 1))
    store.write((slice(100, 160), slice(200, 260)), 6)
    layer = Labels(store.data, multiscale=store.multiscale, **space)
    for number, level in enumerate(store.data):
        layer.locked_data_level = number
        pixel = 301 / level.shape[0]
        for row, column, label in (
            (129.5, 229.5, 6),
            (101 + pixel, 230, 6),
            (98 - pixel, 230, 0),
            (130, 261 + pixel, 0),
        ):
            place = layer.data_to_world((row, column))
            assert layer.get_value(place, world=True) == (number, label)


@pytest.mark.usefixtures("tiny")
def test_a_write_shows_at_every_zoom(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    store = make_label_store((2000, 2400), axes=(0, 1))
    layer = viewer.add_labels(store.data, multiscale=store.multiscale)
    seen = set()
    for label, zoom in enumerate((0.01, 0.1, 0.5, 4), start=1):
        viewer.scene.camera.center = (0, 1000, 1000)
        viewer.scene.camera.zoom = zoom
        viewer.screenshot(flash=False)
        seen.add(layer.data_level)
        for value in (label, 0):  # the coarsest level must not be remembered by napari
            store.write((slice(900, 1100), slice(900, 1100)), value)
            layer.refresh(extent=False)
            assert layer.get_value((1000, 1000), world=True)[1] == value
    assert seen > {0, len(store.data) - 1}


@pytest.mark.usefixtures("tiny")
def test_of_a_stack_with_a_pyramid_one_plane_is_read(monkeypatch):
    monkeypatch.setattr(tiled_array, "_MOST_PIXELS", 300 * 300)
    store = make_label_store((20, 300, 300), axes=(1, 2))
    assert store.multiscale
    store.write((0, slice(0, 150), slice(None)), 3)
    layer = Labels(store.data, multiscale=True)
    for number in range(len(store.data)):
        layer.locked_data_level = number
        assert layer.get_value((0, 70, 150), world=True) == (number, 3)
        assert layer.get_value((0, 230, 150), world=True) == (number, 0)


@pytest.mark.usefixtures("tiny")
def test_tiles_can_be_painted_on_undone_and_saved(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    store = make_label_store((5, 200, 200), axes=(1, 2))
    layer = viewer.add_labels(store.data)
    viewer.dims.set_point(0, 3)
    assert layer.editable

    layer.brush_size = 21
    layer.paint((3, 60, 60), 7)
    assert layer.get_value((3, 65, 65), world=True) == store.read((3, 65, 65)) == 7
    layer.fill((3, 60, 60), 8)
    points = (np.array([3, 3]), np.array([150, 199]), np.array([150, 199]))
    layer.data_setitem(points, 9)
    assert {plane.position for plane in store.planes()} == {(3,)}
    assert store.highest() == 9
    painted = store.read((3,))
    layer.save(str(tmp_path / "mask.tif"))

    for _ in range(3):
        layer.undo()
    assert _memory(store) == 0
    assert layer.get_value((3, 60, 60), world=True) == 0
    for _ in range(3):
        layer.redo()
    assert np.array_equal(store.read((3,)), painted)

    (saved,) = viewer.open(str(tmp_path / "mask.tif"), layer_type="labels", plugin="napari")
    assert np.array_equal(np.asarray(saved.data)[3], painted)


@pytest.mark.usefixtures("tiny")
def test_a_volume_too_large_to_show_does_no_harm(make_napari_viewer, monkeypatch):
    monkeypatch.setattr(tiled_array, "_MOST_PIXELS", 200 * 200)
    viewer = make_napari_viewer()
    store = make_label_store((5, 200, 200), axes=(1, 2))
    store.write((2, slice(None), slice(None)), 4)
    layer = viewer.add_labels(store.data)
    with pytest.raises(InputError, match="show single planes"):
        viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2
    viewer.dims.set_point(0, 2)
    assert layer.get_value((2, 50, 50), world=True) == 4


@pytest.mark.parametrize("shape", [(3, 20, 30), (3, 300, 300)])
def test_labels_above_65535_make_room_until_they_are_shown(tiny, shape):
    store = make_label_store(shape, axes=(1, 2))
    store.write((1, slice(2, 6), slice(3, 9)), 7)
    store.write((2, slice(0, 4), slice(0, 4)), np.full((4, 4), 70_000, np.uint32))
    assert store.dtype == np.uint32
    assert store.highest() == 70_000
    assert (store.read((1, 3, 4)), store.read((2, 3, 3))) == (7, 70_000)
    shown = make_label_store(shape, axes=(1, 2))
    shown.fix()
    with pytest.raises(InputError, match="0 to 65535"):
        shown.write((2, 0, 0), 70_000)
    assert shown.dtype == np.uint16


@pytest.mark.parametrize("shape", [(2, 3, 40, 50), (2, 3, 3000, 9000), (3, 2, 5000, 90)])
def test_a_shared_axis_has_the_same_labels_everywhere(shape):
    plain = make_label_store(shape, axes=(2, 3))
    plain.write((1, 0, slice(2, 6), slice(3, 9)), 4)
    plain.write((0, 1, slice(2, 6), slice(3, 9)), 5)  # not where the axis begins: lost
    store = plain.sharing(1)
    assert store.shape == shape
    assert {plane.position for plane in store.planes()} == {(1, 0)}
    for channel in range(shape[1]):
        assert (store.read((1, channel, slice(2, 6), slice(3, 9))) == 4).all()
        assert not store.read((0, channel, slice(2, 6), slice(3, 9))).any()
    store.write((0, shape[1] - 1, slice(7, 9), slice(7, 9)), 70_000)  # a wider type, wherever
    assert {plane.position for plane in store.planes()} == {(1, 0), (0, 0)}
    assert (store.read((0, 0, slice(7, 9), slice(7, 9))) == 70_000).all()
    assert store.highest() == 70_000
    if not store.multiscale:
        points = (np.array([1]), np.array([1]), np.array([30]), np.array([31]))
        store.data[points] = 6  # as napari paints
        assert store.read((1, 0, slice(30, 31), slice(31, 32))) == 6
    alone = store.first()  # as it is written to a file
    assert (np.asarray(alone[1, 0, 2:6, 3:9]) == 4).all()
    assert not np.asarray(alone[1, 1, 2:6, 3:9]).any()
