"""Tests of what a batch does with one image: outputs on disk, same bytes, honest problems."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from tiny_model import make_model

from napari_spa.batch import engine as engine_module
from napari_spa.batch.engine import BatchEngine, OpenedImage
from napari_spa.batch.segment import segment_image
from napari_spa.batch.task import BatchRecipe, BatchTask, ObjectPrompt, input_digest
from napari_spa.errors import DataError, InputError
from napari_spa.io.event_log import read_records
from napari_spa.io.images import ImageInfo, write_labels
from napari_spa.io.projects.paths import labels_path, log_path
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.log.journal import image_facts, read_journal
from napari_spa.refine.log.replay import replay
from napari_spa.refine.session.session import RefinementSession

RECIPE = BatchRecipe(device="cpu")


@pytest.fixture(scope="module")
def engine():
    return BatchEngine(RECIPE, make_model())


def discs(shape=(64, 72)):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, 30.0)
    for row, column in ((20, 20), (40, 50)):
        image[(rows - row) ** 2 + (columns - column) ** 2 < 90] = 200
    return (image + np.random.default_rng(0).normal(0, 5, shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "in" / "cells.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, discs(), resolution=(2e4, 2e4), resolutionunit="CENTIMETER")
    prompts = (
        ObjectPrompt(3, ((20.0, 20.0),), (1,)),
        ObjectPrompt(1, ((40.0, 50.0), (5.0, 5.0)), (1, 0)),
    )
    return BatchTask("sub/cells.tif", path, prompts)


def test_labels_and_log_are_written(engine, task, tmp_path):
    result = segment_image(task, RECIPE, engine, tmp_path / "out")
    assert result.outcome == "done"
    assert not result.problem
    assert [one.number for one in result.objects] == [1, 3]
    labels = tifffile.imread(labels_path(tmp_path / "out", task.name))
    assert {one.number: one.area for one in result.objects} == {
        n: int((labels == n).sum()) for n in (1, 3)
    }
    assert all(0 < one.uncertainty < 1 for one in result.objects)
    assert [name for name, _ in result.outputs] == [
        "sub/cells.tif.tif",
        "sub/cells.tif.spa.jsonl",
    ]
    with tifffile.TiffFile(labels_path(tmp_path / "out", task.name)) as tiff:
        assert tiff.pages[0].tags["XResolution"].value == (20000, 1)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.name.startswith(".")]


def test_two_runs_give_the_same_bytes(engine, task, tmp_path):
    one = segment_image(task, RECIPE, engine, tmp_path / "a")
    other = segment_image(task, RECIPE, BatchEngine(RECIPE, make_model()), tmp_path / "b")
    assert one == other
    for name, _ in one.outputs:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for secret in (str(tmp_path), '"time": 1'):
        assert secret not in log_path(tmp_path / "a", task.name).read_text(encoding="utf-8")


def test_another_process_gives_the_same_bytes(task, tmp_path):
    here = segment_image(task, RECIPE, BatchEngine(RECIPE), tmp_path / "a")
    script = (
        "import sys, torch; torch.set_num_threads(2)\n"
        "from pathlib import Path\n"
        "from napari_spa.batch.engine import BatchEngine\n"
        "from napari_spa.batch.segment import segment_image\n"
        "from napari_spa.batch.task import BatchRecipe, BatchTask, ObjectPrompt\n"
        f"recipe = BatchRecipe(device='cpu')\ntask = {_code(task)}\n"
        "result = segment_image(task, recipe, BatchEngine(recipe), Path(sys.argv[1]))\n"
        "print(dict(result.outputs))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == str(dict(here.outputs))


def _code(task):
    return f"BatchTask({task.name!r}, Path({str(task.path)!r}), {task.prompts!r})"


def test_the_log_is_read_as_the_dock_reads_it(engine, task, tmp_path):
    result = segment_image(task, RECIPE, engine, tmp_path)
    records = read_records(log_path(tmp_path, task.name))
    facts, model = image_facts(records)
    assert (facts.name, facts.shape, facts.dtype) == (task.name, (64, 72), "uint8")
    assert model["sha256"] == engine.identity.sha256
    labels = np.zeros(facts.shape, dtype=np.uint32)
    logged = read_journal(records, ArraySurface(labels))
    assert np.array_equal(labels, tifffile.imread(labels_path(tmp_path, task.name)))
    assert logged.closed
    assert logged.active is None
    assert logged.annotation.next_number == 4
    for one in result.objects:
        held = logged.annotation.objects[one.number]
        assert (held.area, held.uncertainty) == (one.area, one.uncertainty)
        assert held.parts[0].decisions


def test_the_log_is_replayed_bit_for_bit(engine, task, tmp_path):
    segment_image(task, RECIPE, engine, tmp_path)
    labels = np.zeros((64, 72), dtype=np.uint32)
    session = RefinementSession(make_model())
    _, parts = replay(
        read_records(log_path(tmp_path, task.name)),
        ArraySurface(labels),
        (tifffile.imread(task.path),),
        lambda identity: session,
    )
    assert [part.outcome for part in parts] == ["same", "same"]
    assert np.array_equal(labels, tifffile.imread(labels_path(tmp_path, task.name)))


def test_a_bad_object_is_not_a_bad_image(engine, task, tmp_path):
    prompts = (
        *task.prompts,
        ObjectPrompt(7, ((500.0, 2.0),), (1,)),
        ObjectPrompt(8, ((5.0, 2.0),), (0,)),
        ObjectPrompt(9, ((5.0, 2.0),), (1,), (4,)),
    )
    result = segment_image(replace(task, prompts=prompts), RECIPE, engine, tmp_path)
    assert result.outcome == "done"
    assert result.doubtful
    bad = {one.number: one for one in result.objects if one.problem}
    assert "(500, 2) lies outside the image of 64 rows and 72 columns" in bad[7].problem
    assert "nothing to start from" in bad[8].problem
    assert "leave the slice out" in bad[9].problem
    assert all((one.area, one.uncertainty) == (0, 1.0) for one in bad.values())
    assert [one.area > 0 for one in result.objects[:2]] == [True, True]


def test_earlier_objects_keep_their_pixels(engine, task, tmp_path):
    point = ((20.0, 20.0),)
    prompts = (ObjectPrompt(1, point, (1,)), ObjectPrompt(2, point, (1,)))
    result = segment_image(replace(task, prompts=prompts), RECIPE, engine, tmp_path)
    alone = segment_image(replace(task, prompts=prompts[:1]), RECIPE, engine, tmp_path / "alone")
    assert result.objects[0] == alone.objects[0]
    labels = tifffile.imread(labels_path(tmp_path, task.name))
    assert (labels == 1).sum() == alone.objects[0].area


def test_nothing_left_is_a_problem_of_the_object(engine, task, tmp_path, monkeypatch):
    from napari_spa.batch import segment

    real = segment.found_active

    def same(session, number, plane, source):
        found = real(session, 1, plane, source)
        kept.append(found)
        return replace(kept[0], number=number)

    kept = []
    monkeypatch.setattr(segment, "found_active", same)
    result = segment_image(task, RECIPE, engine, tmp_path)
    first, second = result.objects
    assert first.area
    assert not first.problem
    assert second.problem == "every pixel of it belongs to objects before it."
    assert result.doubtful
    assert result.outcome == "done"
    assert '"object": 3' not in log_path(tmp_path, task.name).read_text(encoding="utf-8")


def test_doubt_is_told(engine, task, tmp_path):
    result = segment_image(task, RECIPE, engine, tmp_path)
    highest = max(one.uncertainty for one in result.objects)
    for limit, doubtful in ((highest, True), (np.nextafter(highest, 2), False)):
        recipe = replace(RECIPE, doubtful=float(limit))
        assert segment_image(task, recipe, engine, tmp_path).doubtful is doubtful
        statuses = {
            r["status"]
            for r in read_records(log_path(tmp_path, task.name))
            if r["kind"] == "accept"
        }
        assert ("review" in statuses) is doubtful


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "does not exist"), (b"II*\0 no image", "cannot be read")]
)
def test_a_bad_image(engine, task, tmp_path, content, sentence):
    task.path.unlink()
    if content is not None:
        task.path.write_bytes(content)
    result = segment_image(task, RECIPE, engine, tmp_path / "out")
    assert result.outcome == "failed"
    assert sentence in result.problem
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_stops_the_batch(engine, task, tmp_path):
    (tmp_path / "out").write_text("no folder")
    with pytest.raises(DataError, match="cannot write"):
        segment_image(task, RECIPE, engine, tmp_path / "out")


def test_the_log_comes_last(engine, task, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise DataError("cannot write it: No space left on device.")

    monkeypatch.setattr("napari_spa.batch.segment.write_labels", broken)
    with pytest.raises(DataError):
        segment_image(task, RECIPE, engine, tmp_path)
    assert not log_path(tmp_path, task.name).exists()


def test_a_stack_keeps_axes_and_slices(engine, tmp_path):
    stack = np.stack([discs((40, 48)) for _ in range(3)])
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(
        path,
        stack,
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0},
    )
    prompts = (
        ObjectPrompt(1, ((20.0, 20.0),), (1,), (2,)),
        ObjectPrompt(1, ((20.0, 20.0),), (1,), (1,)),
        ObjectPrompt(2, ((20.0, 20.0),), (1,)),
        ObjectPrompt(4, ((20.0, 20.0),), (1,), (3,)),
    )
    task = BatchTask("stack.ome.tif", path, prompts)
    result = segment_image(task, RECIPE, engine, tmp_path / "out")
    assert [(one.number, one.index) for one in result.objects] == [
        (1, (1,)),
        (1, (2,)),
        (2, ()),
        (4, (3,)),
    ]
    assert "a stack of 3 slices; say which one, as slice 1" in result.objects[2].problem
    assert "there is no slice 3; there are 0 to 2" in result.objects[3].problem
    with tifffile.TiffFile(labels_path(tmp_path / "out", task.name)) as tiff:
        labels, axes = tiff.asarray(), tiff.series[0].axes
        assert tiff.is_ome
        assert 'PhysicalSizeX="0.5"' in tiff.ome_metadata
    assert axes == "ZYX"
    assert labels.shape == stack.shape
    assert not labels[0].any()
    assert [int((labels[z] == 1).sum()) for z in (1, 2)] == [one.area for one in result.objects[:2]]
    again = np.zeros(stack.shape, dtype=np.uint32)
    _, parts = replay(
        read_records(log_path(tmp_path / "out", task.name)),
        ArraySurface(again),
        (stack,),
        lambda identity: RefinementSession(make_model()),
    )
    assert {part.outcome for part in parts} == {"same"}
    assert np.array_equal(again, labels)


def test_labels_that_do_not_fit(engine, task, tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "_MOST_BYTES", 1000)
    result = segment_image(task, RECIPE, engine, tmp_path)
    assert result.outcome == "failed"
    assert "does not fit into memory" in result.problem


def test_a_number_that_a_byte_does_not_hold(engine, task, tmp_path):
    prompts = (replace(task.prompts[0], number=70000),)
    segment_image(replace(task, prompts=prompts), RECIPE, engine, tmp_path)
    assert tifffile.imread(labels_path(tmp_path, task.name)).max() == 70000


class TestDigest:
    def test_it_is_of_the_content(self, task, tmp_path):
        copy = tmp_path / "other.tif"
        copy.write_bytes(task.path.read_bytes())
        assert input_digest(replace(task, path=copy, name="other.tif")) == input_digest(task)
        copy.write_bytes(task.path.read_bytes() + b"x")
        assert input_digest(replace(task, path=copy)) != input_digest(task)

    def test_prompts_and_mask_count(self, task, tmp_path):
        mask = tmp_path / "mask.tif"
        write_labels(mask, np.ones((64, 72), np.uint8), ImageInfo("YX", (64, 72)))
        others = [
            replace(task, prompts=task.prompts[:1]),
            replace(task, prompts=(replace(task.prompts[0], labels=(0,)),)),
            replace(task, mask=mask),
            task,
        ]
        assert len({input_digest(one) for one in others}) == 4

    def test_a_folder(self, task, tmp_path):
        zarr = pytest.importorskip("zarr")
        folder = tmp_path / "a.zarr"
        zarr.save_array(str(folder), discs())
        one = replace(task, path=folder)
        before = input_digest(one)
        assert input_digest(one) == before
        next(p for p in folder.rglob("*") if p.is_file()).write_bytes(b"other")
        assert input_digest(one) != before


def test_light_until_an_engine_is_made():
    script = (
        "import sys\n"
        "import napari_spa.batch.segment, napari_spa.batch.engine\n"
        "import napari_spa.batch.auto, napari_spa.batch.segment\n"
        "print([name for name in ('torch', 'napari', 'sklearn') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_pyramid_is_read_piece_by_piece(engine, task, tmp_path):
    zarr = pytest.importorskip("zarr")
    image = discs()
    group = zarr.open_group(str(tmp_path / "cells.zarr"), mode="w")
    group.create_array("0", data=image)
    group.create_array("1", data=image[::2, ::2])
    pyramid = replace(task, path=tmp_path / "cells.zarr")
    one = segment_image(pyramid, RECIPE, engine, tmp_path / "a")
    other = segment_image(task, RECIPE, engine, tmp_path / "b")
    assert one.objects == other.objects


def test_an_image_that_is_cut_short_while_it_is_read(engine, task, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_spa.io.images.lazy._READ_WHOLE", 0)
    opened = OpenedImage.open(task)
    os.truncate(task.path, 100)
    with pytest.raises(InputError, match="it is cut short"):
        opened.levels[0][()]


def test_what_of_a_file_is_not_opened_is_a_reason_to_look(engine, task, tmp_path):
    pixels = tifffile.imread(task.path)
    with tifffile.TiffWriter(task.path) as tiff:
        tiff.write(pixels[::4, ::4], metadata=None)
        tiff.write(pixels, metadata=None)
    result = segment_image(task, RECIPE, engine, tmp_path / "out")
    assert result.outcome == "done"
    assert result.doubtful
    assert result.problem == "cells.tif holds 2 images; only the largest (64 x 72) is opened."
