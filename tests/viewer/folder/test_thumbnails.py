"""Thumbnails: small, right, and made in the background."""

import numpy as np
import pytest
import tifffile

from napari_spa.io.images import open_image
from napari_spa.viewer.folder.items import SIDE, Thumbnails, make_thumbnail


@pytest.fixture
def thumbnails(qapp):
    made = Thumbnails()
    yield made
    made.close()


def write(path, array, axes):
    tifffile.imwrite(path, array, metadata={"axes": axes}, photometric="minisblack")
    return path


def test_the_middle_of_a_stack_is_shown_from_dark_to_bright(tmp_path):
    stack = np.zeros((5, 40, 80), np.uint16)
    stack[2, :, 40:] = 60_000
    picture = make_thumbnail(open_image(write(tmp_path / "stack.tif", stack, "ZYX")))
    assert picture.shape == (SIDE // 2, SIDE, 3)
    assert picture.dtype == np.uint8
    assert picture[:, : SIDE // 2 - 2].max() < 10
    assert picture[:, SIDE // 2 + 2 :].min() > 245


def test_colours_stay(tmp_path):
    image = np.zeros((300, 200, 3), np.uint8)
    image[..., 0], image[:150, :, 1] = 200, 100
    path = tmp_path / "colours.tif"
    tifffile.imwrite(path, image, photometric="rgb")
    picture = make_thumbnail(open_image(path))
    assert picture.shape == (SIDE, 64, 3)
    np.testing.assert_allclose(picture[5, 5], (200, 100, 0), atol=2)
    np.testing.assert_allclose(picture[-5, 5], (200, 0, 0), atol=2)


@pytest.mark.parametrize("fill", [np.nan, np.inf, 0.0])
def test_odd_values_make_a_picture_too(tmp_path, fill):
    image = np.full((30, 30), fill, np.float32)
    image[:15] = 1.0
    picture = make_thumbnail(open_image(write(tmp_path / "odd.tif", image, "YX")))
    assert picture.shape == (SIDE, SIDE, 3)


def test_they_come_when_they_are_ready_and_stay(tmp_path, thumbnails, qtbot):
    path = write(tmp_path / "a.tif", np.eye(40, dtype=np.uint8), "YX")
    with qtbot.waitSignal(thumbnails.ready, timeout=20_000) as ready:
        assert thumbnails.get("a.tif", path) is None
    assert ready.args == ["a.tif"]
    assert thumbnails.get("a.tif", path).shape == (SIDE, SIDE, 3)


def test_what_cannot_be_read_is_said_once_unasked(tmp_path, thumbnails, qtbot):
    path = tmp_path / "bad.tif"
    path.write_bytes(b"no image")
    with qtbot.waitSignal(thumbnails.failed, timeout=20_000) as failed:
        thumbnails.begin([("bad.tif", path)])
    assert failed.args[0] == "bad.tif"
    assert "cannot be read" in failed.args[1]
    assert thumbnails.get("bad.tif", path) is None
    assert thumbnails._wanted == type(thumbnails._wanted)(maxlen=thumbnails._wanted.maxlen)


def test_another_folder_forgets_those_of_the_one_before(tmp_path, thumbnails, qtbot):
    path = write(tmp_path / "a.tif", np.eye(40, dtype=np.uint8), "YX")
    with qtbot.waitSignal(thumbnails.ready, timeout=20_000):
        thumbnails.get("a.tif", path)
    thumbnails.begin([])
    with qtbot.waitSignal(thumbnails.ready, timeout=20_000):
        assert thumbnails.get("a.tif", path) is None
