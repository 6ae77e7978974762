"""Tests of how baselines are played: what they are told, and what they answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_spa.core.measures import dice
from napari_spa.core.types import Box, Click
from napari_spa.datasets import open_folder
from napari_spa.errors import CheckpointError, InputError
from napari_spa.evaluate.measures import EvaluateConfig
from napari_spa.evaluate.methods import (
    METHODS,
    PromptedMethod,
    WholeImageMethod,
    find_method,
    training_costs,
)
from napari_spa.evaluate.protocol import evaluate
from napari_spa.io.models.formats import save_model
from napari_spa.train.baselines import train_method
from napari_spa.train.baselines.loop import BaselineConfig, Compute

from .conftest import disc

CPU = Compute(torch.device("cpu"))
SMALL = BaselineConfig(steps=2, batch=2, check_every=2, size=64, split=None)


@pytest.fixture
def trained(context, folder: Path, tmp_path: Path):
    """A bench whose folder of runs has some methods, trained for two steps."""
    save_model(context.model.spa, tmp_path / "tiny.safetensors", {})
    for name in ("spa", "medsam-box", "msa-click", "unet", "unet@tight", "spa~tight"):
        train_method(
            name,
            open_folder(folder),
            tmp_path / "runs" / name,
            SMALL,
            backbone=str(tmp_path / "tiny.safetensors"),
            compute=CPU,
        )
    return replace(context, runs=tmp_path / "runs")


class Bright(torch.nn.Module):
    """A network that marks what is brighter than the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def predict(self, pixels: torch.Tensor) -> torch.Tensor:
        return (4 * self.weight * (pixels.mean(dim=1) - 1)).sigmoid()


def test_every_method_is_played_from_one_command(trained, folder: Path) -> None:
    names = ("spa", "sam-click", "medsam-box", "msa-click", "sam-u-v1", "sam-u-v2", "unet",
             "unet@tight", "spa~tight")  # fmt: skip
    config = EvaluateConfig(
        split=None, methods=names, rounds=3, combinations=1, limit=1, clicks=("central",)
    )
    (played,) = evaluate(trained, folder, replace(config, engine=trained.engine))
    assert [row.method for row in played.rows[::3]] == list(names)
    acts = {row.method: row.act for row in played.rows if row.round == 1}
    assert (acts["spa"], acts["unet"]) == ("pick", "none")
    assert acts["sam-click"] == acts["msa-click"] == "click"
    assert acts["medsam-box"] == acts["sam-u-v1"] == acts["sam-u-v2"] == "box"
    costs = training_costs(trained, names)
    assert set(costs) == {"spa", "medsam-box", "msa-click", "unet", "unet@tight", "spa~tight"}
    assert costs["unet@tight"]["raters"] == ["tight"]
    assert costs["spa~tight"]["raters"] == ["blank", "loose"]


def test_ours_is_the_tuned_model_where_there_is_one(trained, context) -> None:
    assert METHODS["spa"].build(context).model is None
    tuned = METHODS["spa"].build(trained)
    assert tuned.model.identity.sha256 == tuned.facts["sha256"] != context.model.identity.sha256
    assert METHODS["spa-frozen"].build(trained).model is tuned.model, "loaded once"
    ours, theirs = tuned.model.spa.state_dict(), context.model.spa.state_dict()
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_backbone_of_the_bench_is_left_as_it_is(trained, context) -> None:
    before = {name: value.clone() for name, value in context.model.spa.state_dict().items()}
    pixels = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        shown = context.model.spa.encode(pixels).tokens.clone()
        METHODS["msa-click"].build(trained)
        METHODS["medsam-box"].build(trained)
        assert torch.equal(context.model.spa.encode(pixels).tokens, shown)
    assert all(torch.equal(before[n], v) for n, v in context.model.spa.state_dict().items())


def test_clicks_add_up_and_boxes_take_the_place_of_the_last(context, folder: Path) -> None:
    image = open_folder(folder).read("b").image
    clicks = METHODS["sam-click"].build(context).open(image, context)
    first = clicks.start(Click(18, 14, 1), None)
    second = clicks.act(Click(5, 5, 0))
    assert first.mask.shape == image.shape
    assert len(clicks._prompts.clicks) == 2
    again = clicks.start(Click(18, 14, 1), None)
    np.testing.assert_array_equal(again.mask, first.mask)
    np.testing.assert_array_equal(clicks.act(Click(5, 5, 0)).mask, second.mask)
    boxes = METHODS["sam-u-v1"].build(context).open(image, context)
    shown = boxes.start(Click(18, 14, 1), Box(8, 4, 30, 26))
    assert shown.uncertainty >= 0
    assert len(boxes._asked()) == 9
    boxes.act(Box(6, 4, 30, 26))
    assert boxes._prompts.box == Box(6, 4, 30, 26)


def test_a_whole_image_answer_is_at_the_images_size(context, folder: Path) -> None:
    case = open_folder(folder).read("b")
    method = WholeImageMethod(Bright(), {"size": 64})
    shown = method.open(case.image, context).start(Click(18, 14, 1), None)
    assert shown.mask.shape == case.image.shape
    both = disc(18, 14, 8) | disc(20, 44, 8)
    assert dice(shown.mask, both) > 0.6
    one = method.open(case.image, replace(context, single=True)).start(Click(18, 14, 1), None)
    assert one.mask.sum() < shown.mask.sum()
    assert dice(one.mask, disc(18, 14, 8)) > 0.6, "what is connected to the click"
    with pytest.raises(InputError, match="takes neither"):
        method.open(case.image, context).act(Click(1, 1, 1))


def test_a_real_file_goes_before_our_backbone(context, tmp_path: Path) -> None:
    from tiny_model import make_model

    save_model(make_model(seed=3).spa, tmp_path / "sam.safetensors", {})
    path = str(tmp_path / "sam.safetensors")
    given = METHODS["sam-click"].build(replace(context, sam=path))
    assert isinstance(given, PromptedMethod)
    assert given.model.path == Path(path)
    assert METHODS["sam-click"].build(context).model is context.model
    assert METHODS["medsam-box"].build(replace(context, medsam=path)).model.path == Path(path)
    assert METHODS["sam-u-v2"].build(replace(context, medsam=path)).boxes == 9


def test_what_is_not_trained_says_how(context, trained, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train DATA --methods unet -o RUNS"):
        METHODS["unet"].build(context)
    with pytest.raises(InputError, match="mrnet is not trained"):
        METHODS["mrnet"].build(trained)
    with pytest.raises(InputError, match="spa~loose is not trained"):
        find_method("spa~loose").build(trained)
    for name in ("sam-click@tight", "magic", "unet~"):
        if name != "unet~":
            with pytest.raises(InputError, match="unknown method"):
                find_method(name)
    from tiny_model import make_model

    other = replace(context.model, spa=make_model(components=5).spa)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        METHODS["spa"].build(replace(trained, model=other))
