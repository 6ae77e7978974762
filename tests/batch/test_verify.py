"""Checking an output folder finds whatever differs, and changes nothing."""

import time
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from fake_batch import TOOLS, make_folder, snapshot

from napari_spa.batch.engine import OpenedImage
from napari_spa.batch.resume import STATE, verify
from napari_spa.batch.runner import estimate, run_batch
from napari_spa.batch.task import ImageResult, ObjectResult
from napari_spa.errors import InputError


@pytest.fixture
def plan(tmp_path):
    plan = make_folder(tmp_path, {f"{n}.png": f"blob {n}" for n in "abcde"})
    run_batch(plan, tools=TOOLS)
    return plan


def check(plan):
    before = snapshot(plan.out)
    verdict = verify(plan.out, plan)
    assert snapshot(plan.out) == before
    return dict(verdict.wrong)


def test_a_folder_in_order_has_nothing_wrong(plan):
    verdict = verify(plan.out, plan)
    assert (verdict.images, verdict.checked, verdict.wrong) == (5, 15, ())
    verdict = verify(plan.out)
    assert (verdict.checked, verdict.wrong) == (10, ())


def test_each_kind_of_difference_is_named(plan):
    (plan.out / "a.png.tif").write_bytes(b"other")
    (plan.out / "b.png.spa.jsonl").unlink()
    (plan.source / "c.png").write_text("blob other")
    (plan.source / "d.png").unlink()
    (plan.source / "f.png").write_text("blob")
    (plan.source / "g.png").write_text("blob")
    (plan.out / "g.png.tif").write_bytes(b"by hand")
    more = [
        replace(plan.tasks[0], name=f"{n}.png", path=plan.source / f"{n}.png") for n in ("f", "g")
    ]
    wrong = check(replace(plan, tasks=(*plan.tasks[:4], *more)))
    assert wrong.keys() == {
        "a.png.tif",
        "b.png.spa.jsonl",
        "c.png",
        "d.png",
        "e.png",
        "f.png",
        "g.png",
    }
    assert "changed by hand, or damaged" in wrong["a.png.tif"]
    assert wrong["b.png.spa.jsonl"] == "it is missing"
    assert "changed since" in wrong["c.png"]
    assert "does not exist" in wrong["d.png"]
    assert "gone" in wrong["e.png"]
    assert "not done yet" in wrong["f.png"]
    assert "by hand" in wrong["g.png"]


def test_one_flipped_bit_is_found(plan):
    path = plan.out / "e.png.tif"
    content = bytearray(path.read_bytes())
    content[10_000] ^= 1
    path.write_bytes(content)
    assert check(plan).keys() == {"e.png.tif"}


def test_another_recipe_an_unfinished_run_and_a_failed_image_are_named(plan):
    (plan.out / STATE).mkdir()
    (plan.source / "a.png").write_text("fail")
    run_batch(plan, tools=TOOLS)
    (plan.out / STATE).mkdir(exist_ok=True)
    wrong = check(replace(plan, recipe=replace(plan.recipe, seed=9)))
    assert wrong.keys() == {STATE, "manifest.json", "a.png"}
    assert "another seed" in wrong["manifest.json"]


def test_a_folder_without_a_batch_is_refused(tmp_path):
    with pytest.raises(InputError, match="no batch was run there"):
        verify(tmp_path)


def test_an_estimate_measures_one_image_and_writes_nothing(tmp_path):
    contents = {f"{n}.png": f"slow 0.2 {n}" for n in range(9)}
    plan = make_folder(tmp_path, contents)
    found = estimate(plan, workers=3, tools=TOOLS)
    assert not plan.out.exists()
    assert (found.images, found.to_do, found.kept, found.objects) == (9, 9, 0, 9)
    assert found.seconds >= 0.6
    assert found.disk == 9 * 40_000
    assert found.measured_on == found.measured
    run_batch(replace(plan, tasks=plan.tasks[:4]), tools=TOOLS)
    (plan.out / "8.png.tif").write_bytes(b"by hand")
    found = estimate(plan, tools=TOOLS)
    assert (found.images, found.to_do, found.kept) == (9, 4, 1)
    run_batch(plan, tools=TOOLS)
    assert estimate(plan, tools=TOOLS).to_do == 0


@pytest.mark.parametrize(("seconds", "times"), [(1.0, 2), (10.0, 1)])
def test_an_estimate_does_not_count_the_loading_of_the_model(tmp_path, monkeypatch, seconds, times):
    plan = make_folder(tmp_path, {f"{n}.png": f"blob {n}" for n in range(4)})
    now, done = [0.0], []

    def make_engine(recipe):
        now[0] += 1000.0
        return TOOLS.make_engine(recipe)

    def segment(task, *rest):
        now[0] += seconds
        done.append(task.name)
        return TOOLS.segment(task, *rest)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    found = estimate(plan, tools=replace(TOOLS, make_engine=make_engine, segment=segment))
    assert found.seconds == 4 * seconds
    assert len(done) == times  # a long image is not done again


def test_an_estimate_of_a_stack_does_two_planes_of_its_middle(tmp_path, monkeypatch):
    plan = make_folder(tmp_path, {"a.tif": "", "b.tif": ""}, source="auto")
    plan = replace(plan, tasks=tuple(replace(task, prompts=()) for task in plan.tasks))
    for task in plan.tasks:
        tifffile.imwrite(task.path, np.zeros((300, 16, 16), np.uint8), metadata={"axes": "ZYX"})
    now, done = [0.0], []

    def segment(task, recipe, engine, out):
        planes = [plane.index for plane in OpenedImage.open(task).planes()]
        done.append(planes)
        now[0] += 7 + 3 * len(planes)  # to open and write the stack, and for each plane
        found = tuple(ObjectResult(1, index[:1], 9, 0.1) for index in planes for _ in range(2))
        return ImageResult(task.name, "done", found)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    found = estimate(plan, tools=replace(TOOLS, segment=segment))
    assert [[index[0] for index in planes] for planes in done] == [[149], [149], [149, 150]]
    assert found.seconds == 2 * (7 + 3 * 300)
    assert found.objects == 2 * 2 * 300
    assert found.measured_on == "2 of the 300 planes of b.tif"


def test_an_estimate_counts_planes_whatever_they_take_on_disk(tmp_path, monkeypatch):
    """A photograph of half a megabyte is one plane, a stack of some kilobytes is fifty."""
    names = ("a.png", "b.tif", "c.png", "d.tif")
    plan = make_folder(tmp_path, dict.fromkeys(names, ""), source="auto")
    plan = replace(plan, tasks=tuple(replace(task, prompts=()) for task in plan.tasks))
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    for task in plan.tasks:
        if task.path.suffix == ".png":
            iio.imwrite(task.path, noise)
        else:
            shape = (50, 8, 8) if task.name == "d.tif" else (8, 8)
            tifffile.imwrite(task.path, np.zeros(shape, np.uint8), photometric="minisblack")
    now = [0.0]

    def segment(task, recipe, engine, out):
        now[0] += 10
        return ImageResult(task.name, "done", (ObjectResult(1, (), 9, 0.1),))

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    found = estimate(plan, tools=replace(TOOLS, segment=segment))
    assert found.seconds == (3 + 50) * 10
    assert found.objects == 3 + 50


def test_an_image_that_went_since_the_folder_was_listed_stops_no_estimate(tmp_path):
    plan = make_folder(tmp_path, {f"{n}.png": f"blob {n}" for n in range(3)})
    plan.tasks[0].path.unlink()
    assert estimate(plan, tools=TOOLS).to_do == 3


def test_an_estimate_of_what_fails_says_so(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "fail"})
    found = estimate(plan, tools=TOOLS)
    assert found.problem == "a.png cannot be used."
    assert found.seconds != found.seconds  # not a number


def test_an_image_of_which_not_all_was_opened_is_no_failure_in_an_estimate(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob 1"})

    def segment(*task):
        return replace(TOOLS.segment(*task), problem="it holds 2 images; the first is used.")

    found = estimate(plan, tools=replace(TOOLS, segment=segment))
    assert not found.problem
    assert found.seconds >= 0
