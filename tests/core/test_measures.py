"""Unit tests of napari_spa.core.measures, against closed forms and brute force."""

from __future__ import annotations

import math

import dask.array
import numpy as np
import pytest
import zarr

from napari_spa.core.measures import Measures, measure_objects
from napari_spa.errors import Cancelled, InputError

SPACING = (2.0, 0.5, 0.5)


class PlanesOnly:
    """A stack that counts its planes and gives nothing larger."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.read = array, []
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: tuple) -> np.ndarray:
        self.read.append(tuple(i for i in index if not isinstance(i, slice)))
        plane = self._array[index]
        assert plane.ndim <= 3
        return plane

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("the whole stack was read")


def rows(measures: Measures, level: str) -> list[dict]:
    found = [row for row in measures.rows if row["level"] == level]
    assert all(tuple(row) == measures.columns for row in found)
    return found


@pytest.fixture
def stack() -> np.ndarray:
    labels = np.zeros((4, 30, 40), np.uint16)
    labels[1, 5:15, 10:30] = 7  # object 7 on planes 1 and 2
    labels[2, 5:15, 10:20] = 7
    labels[3, 20:22, 0:3] = 2
    labels[1, 20, 20] = 9
    return labels


def test_a_slice(stack: np.ndarray) -> None:
    measures = measure_objects(stack, spacing=SPACING, unit="µm")
    assert [(r["slice_z"], r["object"]) for r in rows(measures, "slice")] == [
        (1, 7),
        (1, 9),
        (2, 7),
        (3, 2),
    ]
    row = measures.rows[0]
    assert (row["slices"], row["pixels"], row["area"], row["unit"]) == (1, 200, 50.0, "µm")
    assert (row["centroid_z"], row["centroid_row"], row["centroid_column"]) == (1, 9.5, 19.5)
    assert [row[f"position_{axis}"] for axis in "zyx"] == [2.0, 4.75, 9.75]
    assert [row[f"bbox_{axis}"] for axis in ("z0", "z1", "row0", "row1", "column0", "column1")] == [
        *(1, 2, 5, 15, 10, 30)
    ]
    assert row["equivalent_diameter"] == pytest.approx(math.sqrt(4 * 50 / math.pi))
    assert row["perimeter"] == pytest.approx(2 * (10 + 20) * 0.5, rel=0.1)
    assert row["eccentricity"] == pytest.approx(math.sqrt(1 - (10**2 - 1) / (20**2 - 1)))
    assert row["solidity"] == 1
    assert row["volume"] is None


def test_a_whole_over_slices(stack: np.ndarray) -> None:
    measures = measure_objects(stack, spacing=SPACING)
    assert [row["object"] for row in rows(measures, "object")] == [2, 7, 9]
    row = rows(measures, "object")[1]
    planes, rows_, columns = np.nonzero(stack == 7)
    assert row["slice_z"] is None
    assert (row["slices"], row["pixels"]) == (2, 300)
    assert row["volume"] == 300 * math.prod(SPACING)
    assert row["centroid_z"] == pytest.approx(planes.mean())
    assert row["centroid_row"] == pytest.approx(rows_.mean())
    assert row["centroid_column"] == pytest.approx(columns.mean())
    assert row["position_z"] == pytest.approx(2 * planes.mean())
    assert [row[f"bbox_{axis}"] for axis in ("z0", "z1", "row0", "row1", "column0", "column1")] == [
        *(1, 3, 5, 15, 10, 30)
    ]
    assert math.pi / 6 * row["equivalent_diameter"] ** 3 == pytest.approx(row["volume"])
    assert [row[name] for name in ("area", "perimeter", "eccentricity", "solidity")] == [None] * 4


def test_a_disc_is_round() -> None:
    y, x = np.ogrid[:201, :201]
    disc = (y - 100) ** 2 + (x - 100) ** 2 <= 80**2
    row = measure_objects(disc, spacing=(0.1, 0.1)).rows[0]
    assert row["area"] == pytest.approx(math.pi * 8**2, rel=1e-2)
    assert row["equivalent_diameter"] == pytest.approx(16, rel=1e-2)
    assert row["perimeter"] == pytest.approx(2 * math.pi * 8, rel=2e-2)
    assert row["eccentricity"] == pytest.approx(0, abs=1e-6)
    assert row["solidity"] > 0.98


def test_pixels_that_are_not_square() -> None:
    labels = np.zeros((20, 20), int)
    labels[2:12, 3:8] = 1  # 10 x 5 pixels are a square of 5 x 5 units
    row = measure_objects(labels, spacing=(0.5, 1.0)).rows[0]
    assert row["area"] == 25
    assert row["perimeter"] is None
    # As in scikit-image, pixels are points: a row of n has a variance of (n**2 - 1) / 12.
    along, across = (10**2 - 1) / 12 * 0.25, (5**2 - 1) / 12
    assert row["eccentricity"] == pytest.approx(math.sqrt(1 - across / along))
    assert (row["centroid_row"], row["centroid_column"]) == pytest.approx((6.5, 5))
    assert (row["position_y"], row["position_x"]) == pytest.approx((3.25, 5))


def test_intensity_of_one_and_of_many_channels(stack: np.ndarray) -> None:
    image = np.random.default_rng(0).normal(size=(*stack.shape, 2)).astype(np.float32)
    measures = measure_objects(stack, intensity=image)
    assert measures.columns[-6:] == (
        *("intensity_mean_0", "intensity_mean_1"),
        *("intensity_min_0", "intensity_min_1"),
        *("intensity_max_0", "intensity_max_1"),
    )
    for row, where in ((measures.rows[2], np.s_[2]), (rows(measures, "object")[1], np.s_[:])):
        values = image[where][stack[where] == 7][:, 1].astype(float)
        assert row["intensity_mean_1"] == pytest.approx(values.mean(), rel=1e-5)
        assert row["intensity_min_1"] == values.min()
        assert row["intensity_max_1"] == values.max()
    grey = measure_objects(stack, intensity=lambda position: image[position][..., 1])
    assert grey.columns[-3:] == ("intensity_mean", "intensity_min", "intensity_max")
    expected = measures.rows[2]["intensity_mean_1"]
    assert grey.rows[2]["intensity_mean"] == pytest.approx(expected, rel=1e-5)


def test_time_points_stay_apart(stack: np.ndarray) -> None:
    film = np.stack([stack, np.where(stack == 7, stack, 0)])  # (T, Z, Y, X)
    wholes = rows(measure_objects(film), "object")
    assert [(r["slice_t"], r["object"], r["slices"]) for r in wholes] == [
        (0, 2, 1),
        (0, 7, 2),
        (0, 9, 1),
        (1, 7, 2),
    ]
    flat = measure_objects(stack, axes="TYX")
    assert "slice_z" not in flat.columns
    slices, same = rows(flat, "slice"), rows(flat, "object")
    assert [{**r, "level": "slice"} for r in same] == slices
    assert same[0]["area"] == 200


def test_a_plane_is_a_plane_wherever_its_axes_stand(stack: np.ndarray) -> None:
    usual = measure_objects(stack, spacing=(2.0, 0.5, 1.0))
    moved = measure_objects(stack.transpose(2, 0, 1), axes="xzy", spacing=(1.0, 2.0, 0.5))
    assert moved == usual


@pytest.mark.parametrize("kind", ["zarr", "dask", "planes"])
def test_lazy_stacks_are_read_plane_by_plane(stack: np.ndarray, kind: str) -> None:
    image = stack[..., None].repeat(3, axis=-1)
    lazy = {
        "zarr": lambda a: zarr.array(a, chunks=(1, *a.shape[1:])),
        "dask": lambda a: dask.array.from_array(a, chunks=(1, *a.shape[1:])),
        "planes": PlanesOnly,
    }[kind]
    labels, colours = lazy(stack), lazy(image)
    assert measure_objects(labels, intensity=colours) == measure_objects(stack, intensity=image)
    if kind == "planes":
        assert labels.read == [(0,), (1,), (2,), (3,)]
        assert colours.read == [(0,), (1,), (2,), (3,)]  # the first tells the channels


@pytest.mark.parametrize("shape", [(5, 6), (3, 5, 6), (2, 3, 5, 6), (0, 5, 6)], ids=str)
def test_nothing_to_measure_gives_the_columns(shape: tuple[int, ...]) -> None:
    measures = measure_objects(np.zeros(shape, np.uint8))
    assert measures.rows == ()
    some = np.zeros((2,) * len(shape), np.uint8)
    some[..., 0] = 1
    assert measures.columns == measure_objects(some).columns


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint64, bool])
def test_any_integers_are_labels(dtype: type) -> None:
    labels = np.zeros((2, 9, 9), dtype)
    labels[:, 2:5, 3] = 1
    assert rows(measure_objects(labels), "object")[0]["pixels"] == 6


def test_high_labels_cost_no_more() -> None:
    labels = np.zeros((9, 9), np.uint32)
    labels[1, 1], labels[3:5, 3], labels[7, 7] = 4_000_000_000, 70_000, 3
    measures = rows(measure_objects(labels), "slice")
    assert [(r["object"], r["pixels"]) for r in measures] == [
        (3, 1),
        (70_000, 2),
        (4_000_000_000, 1),
    ]


def test_progress_and_cancel(stack: np.ndarray) -> None:
    told = []
    measure_objects(stack, progress=lambda share, message: told.append((share, message)))
    assert told[0] == (0, "measuring slice 1 of 4")
    assert [share for share, _ in told] == [0, 0.25, 0.5, 0.75]

    def stop(share: float, message: str) -> None:
        raise Cancelled("stopped.")

    with pytest.raises(Cancelled):
        measure_objects(stack, progress=stop)


@pytest.mark.parametrize(
    ("labels", "options", "sentence"),
    [
        (np.zeros((3, 3)), {}, "must be integers"),
        (np.full((3, 3), -1), {}, "must not be negative"),
        (np.zeros(3, int), {}, "need as many letters"),
        (np.zeros((3, 3), int), {"axes": "ZX"}, "Y and X among them"),
        (np.zeros((3, 3, 3), int), {"axes": "YYX"}, "need as many letters"),
        (np.zeros((3, 3), int), {"spacing": (1,)}, "one number for each"),
        (np.zeros((3, 3), int), {"spacing": (1, 0)}, "must be positive"),
        (np.zeros((3, 3), int), {"spacing": (1, 2, 3)}, "one number for each"),
        (np.zeros((3, 3), int), {"intensity": np.zeros((3, 4))}, "does not fit"),
        (np.ones((3, 3), int), {"intensity": lambda position: np.zeros((3, 4))}, "does not fit"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(labels, options, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        measure_objects(labels, **options)
