"""Tests of what one looks at: the same from any kind of array, and no more read than needed."""

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_spa.core.plane import Plane
from napari_spa.core.transforms import fit_intensity
from napari_spa.errors import InputError
from napari_spa.refine.engine import image_plane as image_plane_module
from napari_spa.refine.engine.image_plane import ImagePlane, PlaneReader
from napari_spa.refine.engine.view import FieldOfView, ImageSampler

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 4000, (2, 3, 70, 90)).astype(np.uint16)  # T, Z, Y, X
PLANE = Plane((2, 3), (1, 2, 0, 0))
ALL = slice(None)


class Spy:
    """An array on a disk: it knows what was read of it, and cannot be read by accident."""

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.reads = []

    def __getitem__(self, index):
        part = self.array[index]
        self.reads.append(part.size)
        return part

    def __array__(self, *_, **__):
        raise AssertionError("read whole")

    @property
    def pixels_read(self):
        return sum(self.reads)


class Virtual:
    """A huge image that no one has in memory: a wave."""

    dtype = np.dtype(np.uint16)

    def __init__(self, side):
        self.shape, self.ndim = (side, side), 2
        self.largest = 0

    def __getitem__(self, index):
        rows, columns = (
            np.arange(side)[part] for side, part in zip(self.shape, index, strict=True)
        )
        self.largest = max(self.largest, rows.size * columns.size)
        wave = np.sin(rows / 37.0)[:, None] * np.cos(columns / 53.0)[None]
        return np.asarray(2000 + 1500 * wave, dtype=np.uint16)


def in_zarr(array):
    store = zarr.create_array(
        zarr.storage.MemoryStore(), shape=array.shape, dtype=array.dtype, chunks=(1, 1, 32, 32)
    )
    store[:] = array
    return store


KINDS = {
    "numpy": np.asarray,
    "view": lambda a: np.pad(a, 1)[1:-1, 1:-1, 1:-1, 1:-1],
    "fortran": np.asfortranarray,
    "big endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "dask": lambda a: da.from_array(a, chunks=(1, 1, 32, 40)),
    "zarr": in_zarr,
    "spy": Spy,
}


def of_plane(array, plane=PLANE, **options):
    return ImagePlane(((PlaneReader(array, plane),),), **options)


@pytest.fixture
def large(monkeypatch):
    """Let 70 x 90 pixels be too many to be read whole."""
    monkeypatch.setattr(image_plane_module, "_WHOLE", 60 * 60)
    monkeypatch.setattr(image_plane_module, "_BLOCK", 8)
    monkeypatch.setattr(image_plane_module, "_BLOCKS", 3)
    monkeypatch.setattr(image_plane_module, "_OVERVIEW", 20)


def assert_same_picture(one, other):
    assert one.fingerprint() == other.fingerprint()
    assert one.intensity() == other.intensity()
    assert one.shape == other.shape
    np.testing.assert_array_equal(one.read(ALL, ALL), other.read(ALL, ALL))
    view = FieldOfView(-3.0, 10.5, 60.0, 60.0)
    a, b = ImageSampler(one), ImageSampler(other)
    np.testing.assert_array_equal(a.read(view, 16), b.read(view, 16))
    assert a.fingerprint == one.fingerprint()


@pytest.mark.parametrize("kind", KINDS)
def test_a_plane_is_the_same_from_any_array(kind):
    alone = ImagePlane.of(np.ascontiguousarray(STACK[1, 2]))
    assert_same_picture(alone, of_plane(KINDS[kind](STACK)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_plane_is_the_same_from_any_array(kind, large):
    alone = ImagePlane.of(np.ascontiguousarray(STACK[1, 2]))
    assert not alone.small
    assert_same_picture(alone, of_plane(KINDS[kind](STACK)))


def test_a_plane_across_the_stack():
    across = Plane((1, 3), (1, 0, 40, 0))
    assert_same_picture(ImagePlane.of(STACK[1, :, 40].copy()), of_plane(Spy(STACK), across))


def test_only_the_plane_is_read_and_only_once():
    spy = Spy(STACK)
    sampler = ImageSampler(of_plane(spy))
    for side in (20.0, 40.0, 60.0):
        sampler.read(FieldOfView(1.0, 2.0, side, side), 16)
    assert sampler.fingerprint
    assert spy.pixels_read == 70 * 90


def test_of_a_large_plane_only_a_window_is_read(large):
    spy = Spy(STACK)
    sampler = ImageSampler(of_plane(spy))
    sampler.fingerprint  # noqa: B018  reads an overview
    assert spy.pixels_read <= 2 * 3 * 3 * 8 * 8 + 1
    before = spy.pixels_read
    sampler.read(FieldOfView(10.0, 20.0, 12.0, 12.0), 16)
    assert 0 < spy.pixels_read - before <= 16 * 16


def test_nothing_is_read_to_describe_a_picture():
    spy = Spy(STACK)
    image_plane = of_plane(spy, limits=((0.0, 4000.0),))
    assert image_plane.shape == (70, 90)
    assert (image_plane.small, image_plane.in_memory) == (True, False)
    assert image_plane.intensity().high == (4000.0,)
    assert not spy.reads


def test_a_huge_image_is_read_in_small_parts():
    image = Virtual(20_000)
    sampler = ImageSampler(image)
    assert not sampler.image_plane.small
    pixels = sampler.read(FieldOfView(9000.0, 9000.0, 1000.0, 1000.0), 64)
    assert pixels.shape == (64, 64, 3)
    assert pixels.max() > 0.9
    assert pixels.min() < 0.1
    assert len(sampler.fingerprint) == 40
    assert image.largest < 1100 * 1100
    assert sampler.largest_view < 5000


def test_fingerprints_tell_pixels_shapes_and_types_apart():
    image = STACK[0, 0]
    changed = image.copy()
    changed[35, 45] += 1
    rgb = RNG.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    planes = [
        ImagePlane.of(image),
        ImagePlane.of(changed),
        ImagePlane.of(image.astype(np.int32)),
        ImagePlane.of(image.reshape(90, 70)),
        ImagePlane.of(image[:-1]),
        ImagePlane.of(rgb),
        ImagePlane.of(rgb.reshape(40, 150)),
        ImagePlane(ImagePlane.of(rgb).levels, channels=(0,)),
        ImagePlane(ImagePlane.of(rgb).levels, channels=(2, 1, 0)),
    ]
    prints = [image_plane.fingerprint() for image_plane in planes]
    assert len(set(prints)) == len(prints)
    assert all(len(p) == 40 and int(p, 16) for p in prints)
    limited = ImagePlane(ImagePlane.of(image).levels, limits=((5.0, 9.0),))
    assert limited.fingerprint() == prints[0], "contrast is no matter of pixels"


# ----------------------------------------------------------------------------------- channels


def test_colours_of_an_image():
    rgba = RNG.integers(0, 255, (40, 50, 4)).astype(np.uint8)
    levels = ImagePlane.of(rgba).levels
    np.testing.assert_array_equal(ImagePlane(levels).read(ALL, ALL), rgba)
    np.testing.assert_array_equal(ImagePlane(levels, (0, 1, 2)).read(ALL, ALL), rgba[..., :3])
    np.testing.assert_array_equal(ImagePlane(levels, (2,)).read(ALL, ALL), rgba[..., 2:3])


def test_positions_along_an_axis_are_channels_with_their_own_range():
    stack = STACK.astype(np.float32) * np.array([1, 10, 100], dtype=np.float32)[:, None, None]
    spy = Spy(stack)
    readers = tuple(PlaneReader(spy, PLANE.at(1, c)) for c in (2, 0))
    image_plane = ImagePlane((readers,))
    np.testing.assert_array_equal(image_plane.read(ALL, ALL), np.moveaxis(stack[1, [2, 0]], 0, -1))
    intensity = image_plane.intensity()
    assert intensity.high == tuple(fit_intensity(stack[1, c]).high for c in (2, 0))
    pixels = ImageSampler(image_plane).read(FieldOfView(0.0, 0.0, 70.0, 70.0), 16)
    assert not pixels[..., 2].any(), "two channels are red and green"
    assert pixels[..., 0].max() > 0.5 < pixels[..., 1].max()
    loaded = image_plane.loaded()
    np.testing.assert_array_equal(loaded.read(ALL, ALL), image_plane.read(ALL, ALL))
    chosen = ImagePlane((readers,), channels=(1,))
    np.testing.assert_array_equal(chosen.read(ALL, ALL)[..., 0], stack[1, 0])


def test_limits_are_black_and_white():
    image = np.array([[0, 50], [100, 200]], dtype=np.uint8)
    image_plane = ImagePlane(ImagePlane.of(image).levels, limits=((50.0, 100.0),))
    scaled = image_plane.intensity().apply(image)[..., 0]
    assert scaled.tolist() == [[0, 0], [1, 1]]


# ----------------------------------------------------------------------------------- pyramids


@pytest.fixture
def pyramid():
    full = RNG.integers(0, 4000, (256, 320)).astype(np.uint16)
    levels = [full, full[::2, ::2].copy(), full[::4, ::4].copy()]
    plane = Plane((0, 1), (0, 0))
    return levels, lambda arrays: ImagePlane(tuple((PlaneReader(a, plane),) for a in arrays))


def test_a_small_pyramid_is_its_full_resolution(pyramid):
    levels, image_plane_of = pyramid
    spies = [Spy(level) for level in levels]
    assert_same_picture(ImagePlane.of(levels[0]), image_plane_of(spies))
    assert [spy.pixels_read > 0 for spy in spies] == [True, False, False]
    assert len(image_plane_of(levels).loaded().levels) == 1


def test_a_far_view_of_a_large_pyramid_comes_from_a_coarse_level(pyramid, monkeypatch):
    monkeypatch.setattr(image_plane_module, "_WHOLE", 200 * 200)
    monkeypatch.setattr(image_plane_module, "_OVERVIEW", 64)
    levels, image_plane_of = pyramid
    spies = [Spy(level) for level in levels]
    image_plane = image_plane_of(spies)
    sampler = ImageSampler(image_plane)
    assert sampler.fingerprint == image_plane_of(levels).fingerprint()
    assert spies[2].pixels_read > 0 == spies[1].pixels_read
    assert spies[0].pixels_read <= 1
    sampler.read(FieldOfView(0.0, 0.0, 256.0, 256.0), 32)
    assert spies[0].pixels_read <= 1
    sampler.read(FieldOfView(100.0, 100.0, 40.0, 40.0), 32)
    assert 1 < spies[0].pixels_read < 50 * 50


def test_which_level_shows_an_extent(pyramid):
    levels, image_plane_of = pyramid
    image_plane = image_plane_of(levels)
    assert [image_plane.factors(n) for n in range(3)] == [(1, 1), (2, 2), (4, 4)]
    assert image_plane.level_for(256, 256, 32) == 2
    assert image_plane.level_for(255, 255, 32) == 1
    assert image_plane.level_for(127, 400, 32) == 0


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.ones(5), "must be"),
        (np.ones((0, 5)), "not empty"),
        (np.ones((2, 2, 2, 2)), "must be"),
        (np.ones((4, 4), complex), "real numbers"),
        (np.array([["a"]]), "real numbers"),
        (np.ones((3, 30, 38)), "channels last"),
    ],
)
def test_what_is_no_picture(image, sentence):
    with pytest.raises(InputError, match=sentence):
        ImagePlane.of(image)


def test_channels_of_different_sizes_are_no_picture():
    plane = Plane((0, 1), (0, 0))
    readers = PlaneReader(np.ones((4, 4)), plane), PlaneReader(np.ones((4, 5)), plane)
    with pytest.raises(InputError, match="pixels"):
        ImagePlane((readers,))


def test_a_picture_is_itself_and_lists_are_arrays():
    image_plane = ImagePlane.of([[1, 2], [3, 4]])
    assert ImagePlane.of(image_plane) is image_plane
    assert image_plane.read(ALL, ALL).tolist() == [[1, 2], [3, 4]]
    assert image_plane.loaded() is image_plane
