"""Tests of the training loop on a tiny network and a handful of objects."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import TINY as TINY_MODEL

from napari_spa.errors import CheckpointError
from napari_spa.io.models.formats import export_checkpoint
from napari_spa.io.models.load import load_model
from napari_spa.model.spa import Spa
from napari_spa.train.data import RatedObject
from napari_spa.train.loop import (
    TrainConfig,
    Trainer,
    Windows,
    collate,
    learning_rate_factor,
    train,
)
from napari_spa.train.steps import sample_cross_entropy
from napari_spa.train.windows import WindowConfig

CONFIG = TrainConfig(
    steps=6,
    batch=2,
    warmup=2,
    save_every=3,
    workers=0,
    model=replace(TINY_MODEL, components=4),
    window=WindowConfig(size=32, targets=2),
)
CPU = torch.device("cpu")


class Discs:
    """Bright discs with a tight and a loose rater."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> RatedObject:
        rows, columns = np.ogrid[:64, :64]
        distance = (rows - 32) ** 2 + (columns - 32) ** 2
        masks = np.stack([distance <= (7 + index) ** 2, distance <= (10 + index) ** 2])
        image = np.where(masks[1], 200, 40).astype(np.uint8)
        return RatedObject(np.repeat(image[..., None], 3, axis=2), masks)


SOURCES = [(Discs(), 1.0)]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


class Killed(Exception):
    pass


class KillAtTheEnd:
    """Stops a run after its last step and before that is saved."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        if global_step == CONFIG.steps:
            raise Killed


def test_any_number_of_workers_gives_the_same_weights(tmp_path: Path) -> None:
    alone = train(SOURCES, tmp_path / "alone", CONFIG, device=CPU)
    many = train(SOURCES, tmp_path / "many", replace(CONFIG, workers=2), device=CPU)
    assert same(alone.average, many.average)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_and_resumed_run_ends_with_the_same_weights(tmp_path: Path, workers: int) -> None:
    config = replace(CONFIG, workers=workers)
    whole = train(SOURCES, tmp_path / "whole", config, device=CPU)
    with pytest.raises(Killed):
        train(SOURCES, tmp_path / "parts", config, device=CPU, logs=[KillAtTheEnd()])
    assert torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["step"] == 3
    parts = train(SOURCES, tmp_path / "parts", config, device=CPU, resume=True)
    assert whole.step == parts.step == 6
    assert same(whole.model.state_dict(), parts.model.state_dict())
    assert same(whole.average, parts.average)
    curves = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "parts")]
    assert curves[0] == curves[1], "the same curve, and no row twice"


def test_it_is_seeded(tmp_path: Path) -> None:
    first = train(SOURCES, tmp_path / "a", CONFIG, device=CPU)
    again = train(SOURCES, tmp_path / "b", CONFIG, device=CPU)
    other = train(SOURCES, tmp_path / "c", replace(CONFIG, seed=1), device=CPU)
    assert same(first.average, again.average)
    assert not same(first.average, other.average)


def test_it_starts_from_the_weights_that_fit(tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = Spa(replace(CONFIG.model, latent_dim=8))
    trainer = Trainer(CONFIG, CPU, other.state_dict())
    own, given = trainer.model.state_dict(), other.state_dict()
    first = "conditioner.layers.0.weight"  # of another shape there
    assert own[first].shape != given[first].shape
    assert torch.equal(own["mask_decoder.iou_token.weight"], given["mask_decoder.iou_token.weight"])
    assert same({k: v for k, v in own.items() if k != first}, given)


def test_the_log_has_a_row_at_each_save(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    class Log:
        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            assert np.isfinite(scalar_value)
            seen.append((tag, global_step))

    train(SOURCES, tmp_path, CONFIG, device=CPU, logs=[Log()])
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["3", "6"]
    assert {"loss", "dice_1", "dice_2", "pairwise_dice", "rate"} <= set(rows[0])
    assert ("loss", 3) in seen
    assert ("loss", 6) in seen
    train(SOURCES, tmp_path, replace(CONFIG, steps=9), device=CPU, resume=True)
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["3", "6", "9"]


def test_the_loss_falls_on_a_tiny_set(tmp_path: Path) -> None:
    config = replace(
        CONFIG,
        steps=60,
        batch=4,
        save_every=10,
        learning_rate=3e-3,
        window=WindowConfig(size=32, targets=2, near=(1.8, 2.2), far_share=0.0),
    )
    train(SOURCES, tmp_path, config, device=CPU)
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert losses[-1] < 0.8 * losses[0]


def test_what_was_trained_can_be_used(tmp_path: Path) -> None:
    trainer = train(SOURCES, tmp_path, CONFIG, device=CPU)
    export_checkpoint(tmp_path / "last.pt", tmp_path / "spa.safetensors", {"data": "discs"})
    model = load_model(tmp_path / "spa.safetensors", device="cpu")
    assert model.card["steps"] == 6
    weights = model.spa.state_dict()
    for name, value in trainer.average.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-3)


def test_a_checkpoint_of_another_network_is_one_sentence(tmp_path: Path) -> None:
    Trainer(CONFIG, CPU).save(tmp_path / "last.pt")
    wider = replace(CONFIG, model=replace(CONFIG.model, components=5))
    with pytest.raises(CheckpointError, match="another network"):
        train(SOURCES, tmp_path, wider, device=CPU, resume=True)
    (tmp_path / "last.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CheckpointError, match="damaged"):
        train(SOURCES, tmp_path, CONFIG, device=CPU, resume=True)


def test_the_rate_warms_up_holds_and_falls() -> None:
    config = replace(CONFIG, steps=100, warmup=10, decay=0.3)
    factors = [learning_rate_factor(step, config) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:70] == [1.0] * 61
    assert all(before > after for before, after in pairwise(factors[71:]))
    assert 0 < factors[-1] < 0.02


def test_bfloat16_is_the_networks_and_float32_the_losses(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []
    reduced = replace(CONFIG, precision="bfloat16")
    trainer = Trainer(reduced, CPU)
    trainer.model.mask_decoder.register_forward_hook(lambda *parts: seen.append(parts[2][0].dtype))
    batch = collate([Windows(SOURCES, CONFIG.window)[index] for index in range(4)])
    figures = trainer.advance(batch)
    assert set(seen) == {torch.bfloat16}
    exact = Trainer(CONFIG, CPU).advance(batch)
    assert figures["loss"] == pytest.approx(exact["loss"], rel=0.02)
    entropy = sample_cross_entropy(torch.ones(1, 1, 64, 64), torch.ones(1, 1, 64, 64) / 3)
    with torch.autocast("cpu", torch.bfloat16):
        again = sample_cross_entropy(torch.ones(1, 1, 64, 64), torch.ones(1, 1, 64, 64) / 3)
    assert again.dtype == torch.float32
    assert torch.equal(entropy, again)


def test_where_time_is_short_the_rate_falls_with_it() -> None:
    config = TrainConfig(steps=1000, warmup=10, decay=0.5, minutes=1.0)
    assert learning_rate_factor(20, config, 0.4) == 1.0
    assert learning_rate_factor(20, config, 0.75) == pytest.approx(0.5, abs=0.01)
    assert learning_rate_factor(20, config, 1.0) < 0.01
    assert learning_rate_factor(750, config, 0.1) == pytest.approx(0.5, abs=0.01)
