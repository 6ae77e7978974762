"""Unit tests of training recipes."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from importlib import resources
from pathlib import Path

import pytest

from napari_spa.errors import InputError
from napari_spa.train.loop import TrainConfig
from napari_spa.train.recipe import check_network, parse_recipe, read_recipe
from napari_spa.train.steps import StepConfig
from napari_spa.train.windows import WindowConfig


def test_an_empty_recipe_is_the_default() -> None:
    recipe = parse_recipe({})
    assert recipe.train == TrainConfig()
    assert recipe.sources == {}


def test_values_reach_their_places() -> None:
    recipe = parse_recipe(
        {
            "steps": 7,
            "learning_rate": 1,
            "model": {"widths": [8, 16, 32], "convention": "sam"},
            "step": {"temperature": 3},
            "window": {"near": [1, 2.5]},
            "sources": {"lidc": {"share": 2, "objects": True}},
        }
    )
    assert recipe.train.steps == 7
    assert recipe.train.learning_rate == 1.0
    assert isinstance(recipe.train.learning_rate, float)
    assert recipe.train.model.widths == (8, 16, 32)
    assert recipe.train.model.convention == "sam"
    assert recipe.train.step.temperature == 3.0
    assert recipe.train.window.near == (1.0, 2.5)
    assert recipe.sources["lidc"].objects
    assert recipe.train.batch == TrainConfig().batch


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"stepz": 3}, "unknown 'stepz' in the top"),
        ({"model": {"depht": 3}}, r"unknown 'depht' in \[model\]"),
        ({"sources": {"a": {"weight": 3}}}, r"unknown 'weight' in \[sources\.a\]"),
        ({"steps": "many"}, "steps is a value of type int, not 'many'"),
        ({"steps": 3.5}, "steps is a value of type int"),
        ({"steps": True}, "steps is a value of type int"),
        ({"steps": -1}, r"steps is a number above 0 and below 2\*\*63, not -1\."),
        ({"steps": 0}, "steps is a number above 0"),
        ({"cuda": {"batch": 0}}, "batch is a number above 0"),
        ({"learning_rate": -1.0}, r"learning_rate is a number above 0 .*, not -1\.0\."),
        ({"learning_rate": float("nan")}, "learning_rate is a number above 0"),
        ({"learning_rate": float("inf")}, "learning_rate is a number above 0"),
        ({"weight_decay": -1}, "weight_decay is a number from 0"),
        ({"seed": 2**64}, "seed is a number from 0 and below"),
        ({"decay": 1.5}, r"decay is a number from 0 to 1, not 1\.5"),
        ({"model": {"components": 0}}, "components is a number above 0"),
        ({"model": {"image_size": 0}}, "image_size is a number above 0"),
        ({"model": {"image_size": 100}, "window": {"size": 100}}, "the same multiple of 8, 16 or"),
        ({"model": {"image_size": 64}}, "the same multiple .*, not 64 and 128"),
        ({"model": {"convention": "paper"}}, r"\[model\] describes no network: it cannot be"),
        ({"window": {"size": 0}}, "size is a number above 0"),
        ({"window": {"near": [5, 1]}}, "near starts with the smaller number"),
        ({"window": {"near": [0, 1]}}, "near is a number above 0"),
        ({"sources": {"synthetic": {"share": float("nan")}}}, "share is a number above 0"),
        ({"sources": {"synthetic": {"count": 0}}}, "count is a number above 0"),
        ({"sources": {"synthetic": {"kind": "foo"}}}, "kind is one of 'nuclei', .*, not 'foo'"),
        ({"learning_rate": "fast"}, "learning_rate is a value of type float"),
        ({"model": {"widths": [1, 2]}}, "widths is a list of 3 numbers"),
        ({"model": {"widths": ["a", "b", "c"]}}, "widths is a value of type int"),
        ({"model": {"encoder": "magic"}}, "encoder is one of 'conv', 'efficientnet', 'vit'"),
        ({"model": {"convention": 1}}, "convention is one of 'spa'"),
        ({"model": 3}, "'model' is a table"),
        ({"sources": {"a": 3}}, "one table per data set"),
        ({"sources": 3}, "one table per data set"),
        ({"sources": {"a": {"split": 3}}}, "split is a value of type str"),
    ],
)
def test_what_is_not_ours_is_one_sentence(content, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_recipe(content)


@pytest.mark.parametrize("model", [{"embed_dim": 33}, {"encoder": "hiera"}, {"encoder": "vit"}])
def test_a_network_that_cannot_be_trained_is_one_sentence(model) -> None:
    small = {"image_size": 32, "vit_depth": 1, "vit_global": [0]}
    recipe = parse_recipe({"model": small | model, "window": {"size": 32}})
    with pytest.raises(InputError, match=r"no network of this \[model\] can be trained"):
        check_network(recipe.train)


def test_zero_is_taken_where_it_means_something() -> None:
    zeros = {"minutes": 0, "encoder_rate": 0.0, "seed": 0, "workers": 0, "warmup": 0}
    assert parse_recipe({**zeros, "window": {"far_share": 0}}).train.minutes == 0


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text("steps = = 3")
    with pytest.raises(InputError, match="not valid TOML"):
        read_recipe(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("stepz = 3")
    with pytest.raises(InputError, match=r"b\.toml: unknown 'stepz'"):
        read_recipe(tmp_path / "b.toml")


def test_the_packaged_recipe_says_everything_itself() -> None:
    """A changed default must not silently change how spa-tiny is made."""
    packaged = resources.files("napari_spa.train") / "recipes" / "spa-tiny.toml"
    with resources.as_file(packaged) as path:
        recipe = read_recipe(path)
    content = tomllib.loads(packaged.read_text(encoding="utf-8"))
    parts = {"model", "step", "window"}
    assert {f.name for f in fields(TrainConfig)} - {"workers"} == (
        content.keys() - {"sources", "cuda"}
    )
    assert content["step"].keys() == {f.name for f in fields(StepConfig)}
    assert content["window"].keys() == {f.name for f in fields(WindowConfig)}
    assert parts < content.keys()
    assert sum(source.share for source in recipe.sources.values()) == pytest.approx(1.0)


def test_a_gpu_has_values_of_its_own_and_keeps_the_network() -> None:
    recipe = parse_recipe({"steps": 9, "batch": 4, "cuda": {"batch": 64, "minutes": 8.0}})
    assert recipe.on("cpu") == TrainConfig(steps=9, batch=4)
    assert recipe.on("cuda") == TrainConfig(steps=9, batch=64, minutes=8.0)
    with pytest.raises(InputError, match="unknown 'bach' in the top or"):
        parse_recipe({"cuda": {"bach": 64}})
