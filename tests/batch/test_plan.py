"""Which images a batch does, and what is said of the others."""

import imageio.v3 as iio
import numpy as np
import pytest

from napari_spa.batch.plan import make_plan
from napari_spa.batch.resume import PreviousRun, ResumePlan
from napari_spa.batch.task import BatchRecipe, Manifest
from napari_spa.errors import InputError

PROMPTS, MASKS, AUTO = (BatchRecipe(source=way) for way in ("prompts", "masks", "auto"))


def images(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        iio.imwrite(folder / name, np.zeros((8, 8), np.uint8))
    return folder


def table(tmp_path, *names):
    path = tmp_path / "clicks.csv"
    rows = [f"{name},1,2,3\n{name},2,4,5" for name in names]
    path.write_text("\n".join(["image,object,row,col", *rows]))
    return path


def test_images_are_matched_with_their_prompts_in_natural_order(tmp_path):
    source = images(tmp_path / "in", "a10.png", "a2.png", "a2.tif")
    plan = make_plan(
        source, tmp_path / "out", PROMPTS, table(tmp_path, "a10.png", "a2.tif", "a2.png")
    )
    assert [task.name for task in plan.tasks] == ["a2.png", "a2.tif", "a10.png"]
    assert [len(task.prompts) for task in plan.tasks] == [2, 2, 2]
    assert plan.recipe.source == "prompts"
    assert plan.notes == ()
    assert not plan.out.exists()


def test_prompts_without_image_and_images_without_prompts_are_said(tmp_path):
    source = images(tmp_path / "in", "a.png", "b.png", "c.png")
    plan = make_plan(source, tmp_path / "out", PROMPTS, table(tmp_path, "a.png", "b", "z"))
    assert [task.name for task in plan.tasks] == ["a.png"]
    missing, without = plan.notes
    assert "b (is it b.png?)" in missing
    assert "z" in missing
    assert "b.png, c.png" in without


def test_a_table_of_other_images_only_is_refused(tmp_path):
    source = images(tmp_path / "in", "a.png")
    with pytest.raises(InputError, match="not there"):
        make_plan(source, tmp_path / "out", PROMPTS, table(tmp_path, "z.png"))


def test_masks_are_matched_by_name_or_by_a_stem_that_only_one_image_has(tmp_path):
    source = images(tmp_path / "in", "a.tif", "a.png", "b.png", "c.png", "d.png", "e.png")
    masks = images(
        tmp_path / "rough", "a.tif", "b.tif", "c.png.tif", "d.tif", "d.jpg", "a.jpg", "x.png"
    )
    plan = make_plan(source, tmp_path / "out", MASKS, masks)
    found = {task.name: task.mask.name for task in plan.tasks}
    assert found == {"a.tif": "a.tif", "b.png": "b.tif", "c.png": "c.png.tif"}
    unclear, without, loose = plan.notes
    assert "a.png, d.png" in unclear
    assert "e.png" in without
    assert "x.png" in loose
    assert plan.recipe.source == "masks"


def test_auto_takes_all_or_the_names_given_and_looks_deeper_when_asked(tmp_path):
    source = images(tmp_path / "in", "a.png", "b.png", "sub/a.png")
    out = tmp_path / "out"
    plan = make_plan(source, out, AUTO)
    assert [task.name for task in plan.tasks] == ["a.png", "b.png"]
    plan = make_plan(source, out, AUTO, recursive=True, names={"sub/a.png", "b.png"})
    assert {task.name for task in plan.tasks} == {"b.png", "sub/a.png"}
    with pytest.raises(InputError, match="none of the images"):
        make_plan(source, out, AUTO, names={"z.png"})


@pytest.mark.parametrize("out", ["in", "in/results", "link", "link/results", "in/../in"])
def test_results_do_not_go_into_the_images(tmp_path, out):
    source = images(tmp_path / "in", "a.png")
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(InputError, match="choose a folder beside"):
        make_plan(source, tmp_path / out, AUTO)


def test_results_do_not_go_into_the_masks(tmp_path):
    source = images(tmp_path / "in", "a.png")
    masks = images(tmp_path / "rough", "a.png")
    for out in (masks, masks / "out", tmp_path):
        with pytest.raises(InputError, match="with the masks"):
            make_plan(source, out, MASKS, masks)


def test_what_cannot_be_planned_is_one_sentence(tmp_path):
    source, out = images(tmp_path / "in", "a.png"), tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for arguments, sentence in [
        ((tmp_path / "none", out, AUTO), "is not a folder"),
        ((tmp_path / "empty", out, AUTO), "no image"),
        ((source, tmp_path / "file", AUTO), "is a file"),
        ((source, out, PROMPTS), "where objects come from"),
        ((source, out, AUTO, source), "where objects come from"),
        ((source, out, MASKS, tmp_path / "none"), "is not a folder"),
        ((source, out, MASKS, tmp_path / "empty"), "has no mask for: a.png"),
        ((source, out, PROMPTS, tmp_path / "none.csv"), "cannot read"),
    ]:
        with pytest.raises(InputError, match=sentence):
            make_plan(*arguments)


def test_what_is_to_do_is_found_once_for_all_images():
    states = {f"{number}.png": "new" if number % 3 else "unchanged" for number in range(30)}
    found = ResumePlan(states, PreviousRun(), Manifest({}))
    assert len(found.to_do) == 20
    assert found.to_do is found.to_do  # it is asked for at each image, and there may be 10,000
