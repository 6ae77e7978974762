"""Unit tests of how data sets on the command line become weighted sources."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from napari_spa.errors import DataError, InputError
from napari_spa.train.data import FolderSource, LabelSource, SyntheticSource
from napari_spa.train.recipe import SourceRecipe, open_sources


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of two data sets: ``rated`` with two raters, ``labelled`` with labels."""
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 20:40] = 255
    for part in ("rated/images", "rated/raters/x", "rated/raters/y", "labelled/images"):
        path = tmp_path / part / "a.png"
        path.parent.mkdir(parents=True)
        iio.imwrite(path, mask)
    (tmp_path / "labelled" / "labels").mkdir()
    iio.imwrite(tmp_path / "labelled" / "labels" / "a.tif", mask)
    return tmp_path


def test_without_a_recipe_all_take_part_in_equal_shares(data: Path) -> None:
    opened = open_sources([str(data / "rated"), str(data / "labelled"), "synthetic"], {})
    assert [type(source) for source, _ in opened] == [FolderSource, LabelSource, SyntheticSource]
    assert {share for _, share in opened} == {1.0}
    assert [len(source) for source, _ in opened][:2] == [1, 1]


@pytest.mark.parametrize("together", [True, False])
def test_a_recipe_finds_its_data_sets_by_name(data: Path, together: bool) -> None:
    recipes = {
        "labelled": SourceRecipe(share=0.3, images="images/a.png", labels="labels/a.tif"),
        "rated": SourceRecipe(share=0.5),
        "synthetic": SourceRecipe(share=0.2, count=9, seed=4),
    }
    given = [str(data)] if together else [str(data / "rated"), str(data / "labelled")]
    opened = open_sources(given, recipes)
    assert [type(source) for source, _ in opened] == [LabelSource, FolderSource, SyntheticSource]
    assert [share for _, share in opened] == [0.3, 0.5, 0.2]
    generator = opened[2][0]
    assert (len(generator), generator.seed) == (9, 4)


def test_one_folder_may_hold_many_sets_and_lend_its_images_to_superpixels(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        for part in ("images", "masks"):
            (tmp_path / "many" / name / part).mkdir(parents=True)
        for image in ("a", "b"):
            labels = np.zeros((80, 90), np.uint16)
            labels[20:40, 20:40], labels[50:60, 50:70], labels[0, 0] = 300, 2, 7
            noise = rng.integers(0, 60, labels.shape) + 150 * (labels > 0)
            place = tmp_path / "many" / name
            iio.imwrite(place / "images" / f"{image}.png", noise.astype(np.uint8))
            iio.imwrite(place / "masks" / f"{image}.png", labels)
        (place / "split.csv").write_text("name,split\na,train\nb,val\n")
    recipe = SourceRecipe(share=0.8, labels="masks", sets=("one", "two"), superpixels=0.25)
    opened = open_sources([str(tmp_path / "many")], {"many": recipe})
    assert [share for _, share in opened] == pytest.approx([0.3, 0.3, 0.2])
    labelled, _, superpixels = (source for source, _ in opened)
    assert len(labelled) == 2  # one image of the split, two objects that are large enough
    assert sorted(int(labelled[i].masks.sum()) for i in range(2)) == [200, 400]
    assert not labelled[0].made_up
    made = [superpixels[i] for i in range(0, len(superpixels), 17)]
    assert all(
        item.made_up and item.masks.any() and item.masks.shape[1:] == (80, 90) for item in made
    )
    with pytest.raises(InputError, match="no data set 'three'"):
        open_sources([str(tmp_path / "many")], {"many": SourceRecipe(sets=("three",))})


def test_what_does_not_fit_is_one_sentence(data: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        open_sources([str(data / "none")], {})
    with pytest.raises(InputError, match="asks for 'lidc'"):
        open_sources([str(data)], {"lidc": SourceRecipe()})
    with pytest.raises(InputError, match=r"not in the recipe; add \[sources\.labelled\]"):
        open_sources([str(data / "rated"), str(data / "labelled")], {"rated": SourceRecipe()})
    with pytest.raises(InputError, match="share of rated must be above 0"):
        open_sources([str(data)], {"rated": SourceRecipe(share=0)})
    with pytest.raises(DataError, match="needs images and none"):
        open_sources([str(data)], {"labelled": SourceRecipe(labels="none")})
    (data / "labelled" / "labels" / "a.tif").unlink()
    with pytest.raises(DataError, match=r"no labels for a\.png"):
        open_sources([str(data / "labelled")], {})


def test_labels_of_another_size_are_one_sentence(data: Path) -> None:
    iio.imwrite(data / "labelled" / "labels" / "a.tif", np.ones((50, 60), np.uint8))
    with pytest.raises(DataError, match=r"a\.tif has \(50, 60\) pixels"):
        open_sources([str(data / "labelled")], {})
