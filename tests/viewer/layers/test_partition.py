"""Unit tests of cutting outlines into pieces, and of what napari makes of those."""

import numpy as np
import pytest
from napari.layers import Shapes
from napari.utils.triangulation_backend import TriangulationBackend, get_backend, set_backend
from scipy import ndimage

from napari_spa.viewer.layers.polygons import monotone_partition, move_apart, straighten, trace

MODULES = {
    TriangulationBackend.pure_python: "napari",
    TriangulationBackend.bermuda: "bermuda",
    TriangulationBackend.partsegcore: "PartSegCore_compiled_backend",
    TriangulationBackend.triangle: "triangle",
}


def rings_of(seed):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(40, 50)), rng.uniform(1.2, 5))
    mask = field > np.quantile(field, rng.uniform(0.2, 0.8))
    mask[20, 25] = True
    return move_apart(straighten(trace(mask), neat=bool(seed % 2)))


def area(ring):
    after = np.roll(ring, -1, axis=0)
    return np.sum(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]) / 2


def turns(values):
    """Return how often a closed walk along values turns round."""
    steps = np.sign(np.diff(np.append(values, values[0])))
    steps = steps[steps != 0]
    return np.count_nonzero(steps != np.roll(steps, 1))


def convex(ring):
    edges = np.roll(ring, -1, axis=0) - ring
    after = np.roll(edges, -1, axis=0)
    corners = edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0]
    return (corners > -1e-9).all() or (corners < 1e-9).all()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("axis", [0, 1])
def test_pieces_cover_the_inside_and_do_not_fork(seed, axis):
    rings = rings_of(seed)
    pieces = monotone_partition(rings, axis=axis)
    assert all(turns(piece[:, axis]) == 2 for piece in pieces)
    assert len({np.sign(area(piece)) for piece in pieces}) == 1
    assert sum(map(area, pieces)) == pytest.approx(sum(map(area, rings)))


@pytest.mark.parametrize("seed", range(12))
def test_all_pieces_may_be_convex(seed):
    rings = rings_of(seed)
    pieces = monotone_partition(rings, convex=True)
    assert all(convex(piece) for piece in pieces)
    assert sum(map(area, pieces)) == pytest.approx(sum(map(area, rings)))


def test_what_need_not_be_cut_stays_whole():
    assert monotone_partition([]) == []
    bow = np.array([[0.0, 0.1], [4.2, 5.3], [0.3, 10.4], [8.1, 9.9], [8.4, 0.2]])
    (whole,) = monotone_partition([bow])
    np.testing.assert_array_equal(whole, bow)
    assert len(monotone_partition([bow], axis=0)) == 2
    assert len(monotone_partition([bow], convex=True)) == 2


def test_a_hole_costs_two_cuts():
    frame = [np.array([[0.0, 0.1], [0.2, 9.0], [9.1, 9.2], [9.3, 0.4]])]
    frame.append(np.array([[3.0, 3.1], [6.3, 3.4], [6.1, 6.2], [3.2, 6.0]]))
    pieces = monotone_partition(frame)
    assert len(pieces) == 2
    assert sum(map(area, pieces)) == pytest.approx(sum(map(area, frame)))


@pytest.mark.parametrize("backend", MODULES, ids=str)
def test_napari_fills_pieces_exactly(backend):
    pytest.importorskip(MODULES[backend])
    before = set_backend(backend)
    try:
        assert get_backend() is backend
        for seed in range(6):
            rings = rings_of(seed)
            pieces = monotone_partition(rings, convex=backend is TriangulationBackend.pure_python)
            layer = Shapes(pieces, shape_type="polygon", edge_width=0)
            mesh = layer._data_view._mesh
            a, b, c = np.moveaxis(mesh.vertices[mesh.triangles].astype(float), 1, 0)
            (u, v), (w, z) = (b - a).T, (c - a).T
            assert np.abs(u * z - v * w).sum() / 2 == pytest.approx(
                abs(sum(map(area, rings))), rel=1e-3
            )
    finally:
        set_backend(before)
