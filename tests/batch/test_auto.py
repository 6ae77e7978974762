"""Tests of finding objects without prompts: where to look, what is the same, what is found."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.draw import disk
from tiny_model import make_model

from napari_spa.batch import auto
from napari_spa.batch.auto import (
    covers,
    mask_nms,
    predict_points,
    stand_out,
    window_levels,
)
from napari_spa.batch.engine import BatchEngine
from napari_spa.batch.segment import segment_image
from napari_spa.batch.task import AutoConfig, BatchRecipe, BatchTask
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import InputError
from napari_spa.io.event_log import read_records
from napari_spa.io.projects.paths import labels_path, log_path
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.engine.embedder import Embedder
from napari_spa.refine.engine.view import FieldOfView, ImageSampler
from napari_spa.refine.log.replay import replay

CENTRES = ((25, 30), (30, 100), (80, 60), (95, 120))
RECIPE = BatchRecipe(device="cpu", source="auto", auto=AutoConfig(grid=12))


def cells():
    rows, columns = np.mgrid[:128, :150]
    image = np.full((128, 150), 20.0)
    for row, column in CENTRES:
        image[(rows - row) ** 2 + (columns - column) ** 2 < 12**2] = 190
    image = ndimage.gaussian_filter(image, 1) + np.random.default_rng(0).normal(0, 4, image.shape)
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What is found among four discs, and where it was written."""
    folder = tmp_path_factory.mktemp("auto")
    tifffile.imwrite(folder / "cells.tif", cells())
    engine = BatchEngine(RECIPE)
    task = BatchTask("cells.tif", folder / "cells.tif")
    return segment_image(task, RECIPE, engine, folder / "out"), folder, engine


def test_each_object_is_found_once_from_the_top_to_the_bottom(found):
    result, folder, _ = found
    assert result.outcome == "done"
    assert [one.number for one in result.objects] == [1, 2, 3, 4]
    labels = tifffile.imread(labels_path(folder / "out", "cells.tif"))
    for number, (row, column) in enumerate(CENTRES, start=1):
        assert labels[row, column] == number
        assert 0.8 < (labels == number).sum() / (np.pi * 12**2) < 1.25
    assert all(one.uncertainty <= 0.25 and not one.problem for one in result.objects)


def test_what_is_found_is_replayed_bit_for_bit(found):
    _, folder, engine = found
    labels = np.zeros((128, 150), dtype=np.uint32)
    _, parts = replay(
        read_records(log_path(folder / "out", "cells.tif")),
        ArraySurface(labels),
        (cells(),),
        lambda identity: engine.session,
    )
    assert {part.outcome for part in parts} == {"same"}
    assert np.array_equal(labels, tifffile.imread(labels_path(folder / "out", "cells.tif")))


def test_the_same_again(found, tmp_path):
    result, folder, engine = found
    again = segment_image(BatchTask("cells.tif", folder / "cells.tif"), RECIPE, engine, tmp_path)
    assert again == result


def test_limits_drop_what_they_say(found, tmp_path):
    _, folder, engine = found
    task = BatchTask("cells.tif", folder / "cells.tif")
    for limits in ({"smallest_area": 2000}, {"largest_share": 0.01}, {"largest_uncertainty": 0.0}):
        recipe = replace(RECIPE, auto=replace(RECIPE.auto, **limits))
        result = segment_image(task, recipe, engine, tmp_path)
        assert result.outcome == "done"
        assert result.objects == ()
        assert result.doubtful


def test_a_blank_image_has_no_object(found, tmp_path):
    _, _, engine = found
    np.save(tmp_path / "blank.npy", np.zeros((64, 64), dtype=np.uint8))
    result = segment_image(
        BatchTask("blank.npy", tmp_path / "blank.npy"), RECIPE, engine, tmp_path / "out"
    )
    assert (result.outcome, result.objects, result.doubtful) == ("done", (), True)
    assert not tifffile.imread(labels_path(tmp_path / "out", "blank.npy")).any()


def test_numbers_go_on_from_plane_to_plane(found, tmp_path):
    _, _, engine = found
    image = cells()[:64]
    np.save(tmp_path / "stack.npy", np.stack([image, image * 0, image]))
    task = BatchTask("stack.npy", tmp_path / "stack.npy")
    recipe = replace(RECIPE, auto=AutoConfig(grid=8))
    result = segment_image(task, recipe, engine, tmp_path / "out")
    assert [(one.number, one.index) for one in result.objects] == [
        (1, (0,)),
        (2, (0,)),
        (3, (2,)),
        (4, (2,)),
    ]
    assert result.objects[0].area == result.objects[2].area


@given(st.integers(20, 300), st.integers(20, 300), st.integers(4, 40))
def test_each_point_is_asked_once_in_a_window_that_holds_it(height, width, grid):
    sampler = ImageSampler(np.zeros((height, width), dtype=np.uint8))
    for level in window_levels(sampler, AutoConfig(grid=grid)):
        points = [point for _, points in level for point in points]
        assert len(set(points)) == len(points) > 0
        side = level[0][0].height
        for view, inside in level:
            assert view.height == view.width == side
            assert all(view.contains(row, column) for row, column in inside)
        gap = max(max(height, width) / grid, side / 8)
        rows = sorted({row for row, _ in points})
        assert rows[0] <= 1.5 * gap
        assert rows[-1] >= height - 1 - 1.5 * gap
        assert all(b - a <= 1.5 * gap + 1e-6 for a, b in itertools.pairwise(rows))


def test_a_model_that_sees_whole_images_gets_one_window():
    engine = BatchEngine(RECIPE, make_model(convention="sam"))
    engine.session.set_image(cells())
    (((view, points),),) = list(
        window_levels(engine.session.sampler, AutoConfig(grid=5), whole=auto._whole_view(engine))
    )
    assert view == FieldOfView(0, 0, 150, 150)
    assert len(points) == 5 * 4


def test_a_model_that_sees_whole_images_cannot_see_huge_ones():
    engine = BatchEngine(RECIPE, make_model(convention="medsam"))
    engine.session.set_image(np.zeros((5000, 5000), dtype=np.uint8))
    with pytest.raises(InputError, match="use spa-tiny, or prompts"):
        auto._whole_view(engine)


def square(row, column, side=10):
    return LocalMask(Region(row, column, side, side), np.ones((side, side), dtype=bool))


class TestDistinct:
    def test_the_best_of_the_same_stays(self):
        masks = [square(0, 0), square(0, 1), square(0, 30), square(1, 30)]
        assert mask_nms(masks, [0.5, 0.9, 0.8, 0.7], 0.5, 0.5) == [1, 2]

    def test_equal_scores_keep_the_first(self):
        assert mask_nms([square(0, 0), square(0, 1)], [0.5, 0.5], 0.5, 0.5) == [0]

    def test_a_part_is_no_object(self):
        assert mask_nms([square(0, 0, 20), square(2, 2, 5)], [0.9, 0.8], 0.5, 0.5) == [0]
        assert mask_nms([square(0, 0, 20), square(2, 2, 5)], [0.9, 0.8], 0.5, 1.0) == [0, 1]

    def test_neighbours_are_two(self):
        assert mask_nms([square(0, 0), square(0, 10), square(0, 19)], [3, 2, 1], 0.5, 0.5) == [
            0,
            1,
            2,
        ]

    def test_nothing(self):
        assert mask_nms([], [], 0.5, 0.5) == []

    def test_boxes_that_overlap_without_a_pixel_in_common(self):
        corner = np.zeros((10, 10), dtype=bool)
        corner[0, 0] = True
        assert LocalMask(Region(0, 0, 10, 10), corner).shared(square(5, 5)) == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_gaps_between_objects_and_patches_without_an_edge_are_left_out(dark: bool, kind) -> None:
    image = np.full((120, 200), 60.0)
    image[60:, :] = 75
    masks = []
    for row, column in ((20, 20), (20, 60), (20, 100), (20, 140), (90, 30), (90, 120)):
        rows, columns = disk((row, column), 12, shape=image.shape)
        image[rows, columns] = 180
        masks.append((rows, columns))
    masks.append(disk((90, 75), 10))  # the gap between two, which is darker than they are
    image[masks[-1]] = 40
    masks.append(disk((40, 175), 10))  # a patch of nothing
    image = ndimage.gaussian_filter(image + np.random.default_rng(0).normal(0, 2, image.shape), 1)
    sampler = ImageSampler((255 - image if dark else image).astype(kind))
    local = []
    for place in masks:
        full = np.zeros(image.shape, bool)
        full[place] = True
        local.append(LocalMask.crop(full))
    assert stand_out(sampler, local, [0.8] * len(local)) == [0, 1, 2, 3, 4, 5]
    few = [0, 1, 6, 7]  # too few to say what most are like: the gap stays
    assert stand_out(sampler, [local[k] for k in few], [0.8] * 4) == [0, 1, 2]
    assert stand_out(sampler, [], []) == []


def test_a_point_is_covered_by_the_pixels_not_by_the_box():
    mask = LocalMask(Region(2, 3, 2, 2), np.array([[True, False], [True, True]]))
    assert covers([square(50, 50), mask], 2.2, 3.4)
    assert not covers([mask], 2, 4)
    assert not covers([mask], 1, 3)
    assert not covers([], 0, 0)


class TestLookAtPoints:
    def test_points_of_a_window_do_not_depend_on_their_company(self):
        model = make_model()
        sampler, embedder = ImageSampler(cells()), Embedder(model)
        view = FieldOfView(0.0, 10.0, 128.0, 128.0)
        points = [(float(r), float(c)) for r in range(5, 125, 17) for c in range(15, 135, 17)]
        together = predict_points(model.spa, embedder, sampler, view, points)
        assert len(together) == len(points) > 48  # more than one pass
        for point, sight in zip(points, together, strict=True):
            (alone,) = predict_points(model.spa, embedder, sampler, view, [point])
            assert (alone is None) == (sight is None)
            if alone is not None and sight is not None:
                assert alone.quality == pytest.approx(sight.quality, abs=1e-4)
                differing = alone.mask.area + sight.mask.area
                differing -= 2 * alone.mask.shared(sight.mask)
                assert differing <= 0.02 * alone.mask.area + 8

    def test_a_mask_holds_its_point_and_lies_in_the_image(self):
        engine = BatchEngine(BatchRecipe(device="cpu"))
        sampler, embedder = ImageSampler(cells()), Embedder(engine.model)
        view = FieldOfView(-20.0, 30.0, 140.0, 140.0)
        (sight,) = predict_points(engine.model.spa, embedder, sampler, view, [(30.0, 100.0)])
        assert sight is not None
        region = sight.mask.region
        assert sight.mask.pixels[30 - region.row, 100 - region.column]
        assert 0.6 < sight.mask.area / (np.pi * 12**2) < 1.6
        assert sight.border == 0.0
        assert 0.0 < sight.stability_score <= 1.0

    def test_what_is_not_trusted_is_not_seen(self):
        model = make_model()
        sampler, view = ImageSampler(cells()), FieldOfView(0.0, 0.0, 128.0, 128.0)
        seen = predict_points(
            model.spa, Embedder(model), sampler, view, [(5.0, 5.0)], least_quality=99.0
        )
        assert seen == [None]
