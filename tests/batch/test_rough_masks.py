"""Tests of refining rough masks: numbers, planes, and masks that had better stay."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from tiny_model import make_model

from napari_spa.batch import segment
from napari_spa.batch.engine import BatchEngine
from napari_spa.batch.segment import objects_on, segment_image
from napari_spa.batch.task import BatchRecipe, BatchTask
from napari_spa.core.measures import dice
from napari_spa.core.types import LocalMask, Region
from napari_spa.io.event_log import read_records
from napari_spa.io.projects.paths import labels_path, log_path
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.log.journal import read_journal
from napari_spa.refine.log.replay import replay
from napari_spa.refine.session.session import RefinementSession

RECIPE = BatchRecipe(device="cpu", source="masks")


@pytest.fixture(scope="module")
def engine():
    return BatchEngine(RECIPE)


@pytest.fixture(scope="module")
def tiny():
    return BatchEngine(RECIPE, make_model())


def nuclei():
    """Bright ellipses on a dark ground, and their labels."""
    rows, columns = np.mgrid[:160, :200]
    labels = np.zeros((160, 200), dtype=np.uint16)
    for number, (row, column, a, b) in {
        5: (40, 40, 18, 12),
        300: (110, 60, 12, 20),
        7: (80, 150, 22, 22),
    }.items():
        labels[((rows - row) / a) ** 2 + ((columns - column) / b) ** 2 < 1] = number
    image = ndimage.gaussian_filter(np.where(labels > 0, 180.0, 25.0), 1)
    image += np.random.default_rng(1).normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8), labels


def write(tmp_path, image, labels):
    tifffile.imwrite(tmp_path / "cells.tif", image, photometric="minisblack")
    tifffile.imwrite(tmp_path / "rough.tif", labels, photometric="minisblack")
    return BatchTask("cells.tif", tmp_path / "cells.tif", mask=tmp_path / "rough.tif")


def test_rough_masks_get_better_and_keep_their_numbers(engine, tmp_path):
    image, truth = nuclei()
    rough = np.zeros_like(truth)
    for number in (5, 7, 300):
        eroded = ndimage.binary_erosion(truth == number, iterations=4)
        rough[ndimage.shift(eroded.astype(np.uint8), (2, -2), order=0) > 0] = number
    result = segment_image(write(tmp_path, image, rough), RECIPE, engine, tmp_path / "out")
    assert [one.number for one in result.objects] == [5, 7, 300]
    refined = tifffile.imread(labels_path(tmp_path / "out", "cells.tif"))
    for number in (5, 7, 300):
        before = dice(rough == number, truth == number)
        assert dice(refined == number, truth == number) > max(before + 0.05, 0.85)


def test_what_becomes_another_thing_stays_as_it_was_drawn(engine, tmp_path, monkeypatch):
    # A network that follows its prompts finds about what was drawn, even on nothing.
    monkeypatch.setattr(segment, "SAME", 0.99)
    image, _ = nuclei()
    rough = np.zeros(image.shape, dtype=np.uint8)
    rough[5:150, 90:124] = 9  # nothing is there
    task = write(tmp_path, image, rough)
    strict = replace(RECIPE, doubtful=0.1)
    result = segment_image(task, strict, engine, tmp_path / "out")
    (one,) = result.objects
    assert one.area == 145 * 34
    assert one.uncertainty >= strict.doubtful
    assert result.doubtful
    records = read_records(log_path(tmp_path / "out", "cells.tif"))
    (accepted,) = (r for r in records if r["kind"] == "accept")
    assert accepted["decisions"] == []
    assert accepted["status"] == "review"
    labels = np.zeros(image.shape, dtype=np.uint32)
    read_journal(records, ArraySurface(labels))
    assert np.array_equal(labels, rough)


def test_a_stack_plane_by_plane_and_its_replay(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(segment, "SAME", 0.0)
    monkeypatch.setattr(segment, "SURE", 1.0)
    image, truth = nuclei()
    stack = np.stack([image, image, image])[:, :64, :64]
    rough = np.stack([truth, truth * 0, truth])[:, :64, :64]
    rough[2, 50:60, 2:9] = 6
    task = write(tmp_path, stack, rough)
    result = segment_image(task, RECIPE, tiny, tmp_path / "out")
    assert [(one.number, one.index) for one in result.objects] == [
        (5, (0,)),
        (5, (2,)),
        (6, (2,)),
    ]
    labels = tifffile.imread(labels_path(tmp_path / "out", "cells.tif"))
    again = np.zeros(stack.shape, dtype=np.uint32)
    _, parts = replay(
        read_records(log_path(tmp_path / "out", "cells.tif")),
        ArraySurface(again),
        (stack,),
        lambda identity: RefinementSession(make_model()),
    )
    assert {part.outcome for part in parts} == {"same"}
    assert np.array_equal(again, labels)
    assert not labels[1].any()


@pytest.mark.parametrize("white", [255, 1])
def test_black_and_white_has_an_object_in_each_part(tiny, tmp_path, white):
    image, truth = nuclei()
    task = write(tmp_path, image, (truth > 0).astype(np.uint8) * white)
    result = segment_image(task, RECIPE, tiny, tmp_path / "out")
    assert [one.number for one in result.objects] == [1, 2, 3]


def test_many_objects_cost_no_whole_image_each():
    labels = np.zeros((900, 900), dtype=np.uint32)
    labels[::30, ::30] = np.arange(1, 901).reshape(30, 30) * 1_000_000
    labels[1::30, 1::30] = labels[::30, ::30]
    found = objects_on(labels)
    assert [number for number, _ in found] == [n * 1_000_000 for n in range(1, 901)]
    assert all(mask.pixels.shape == (2, 2) and mask.area == 2 for _, mask in found)


@pytest.mark.parametrize(
    ("rough", "sentence"),
    [
        (np.zeros((160, 200), np.uint8), "is empty; draw where the objects are"),
        (np.ones((10, 10), np.uint8), "is of 10 x 10 pixels, not 160 x 200"),
        (np.full((160, 200), -1, np.int16), "they must be 0 or more"),
        (np.full((160, 200), 0.5, np.float32), "labels are whole numbers"),
    ],
)
def test_masks_that_cannot_be_used(tiny, tmp_path, rough, sentence):
    result = segment_image(write(tmp_path, nuclei()[0], rough), RECIPE, tiny, tmp_path / "out")
    assert result.outcome == "failed"
    assert sentence in result.problem


def test_no_mask(tiny, tmp_path):
    task = replace(write(tmp_path, *nuclei()), mask=None)
    result = segment_image(task, RECIPE, tiny, tmp_path / "out")
    assert result.outcome == "failed"
    assert "there is no mask for cells.tif" in result.problem


def test_a_box_of_labels_is_cut_to_the_object():
    labels = np.zeros((8, 9), dtype=np.uint8)
    labels[2:5, 3:6] = [[1, 1, 2], [1, 2, 2], [0, 0, 2]]
    (one, first), (two, second) = objects_on(labels)
    assert (one, two) == (1, 2)
    assert (first.region, second.region) == (Region(2, 3, 2, 2), Region(2, 4, 3, 2))
    assert isinstance(first, LocalMask)
    assert (first.area, second.area) == (3, 4)
