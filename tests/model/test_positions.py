"""Unit: resized positions against SAM's own resizing and against what must not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_spa.errors import InputError
from napari_spa.model.sam import import_modeling
from napari_spa.model.spa import SpaConfig
from napari_spa.model.weights import at_image_size

VIT = SpaConfig(encoder="vit", image_size=64, vit_dim=8, vit_depth=2, vit_global=(1,))
POSITION = "image_encoder.pos_embed"
TABLE = "image_encoder.blocks.{}.attn.rel_pos_{}"


def _state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {POSITION: torch.randn(1, 4, 4, 8, generator=generator), "other": torch.ones(2)}
    for axis in "hw":
        state[TABLE.format(0, axis)] = torch.randn(27, 4, generator=generator)
        state[TABLE.format(1, axis)] = torch.randn(7, 4, generator=generator)
    return state


@pytest.mark.parametrize("size", [32, 96, 112])
def test_global_tables_are_resized_as_sam_does_at_every_image(size) -> None:
    get_rel_pos = import_modeling().image_encoder.get_rel_pos
    state, grid = _state(), size // 16
    config, adapted = at_image_size(VIT, state, size)
    assert config == replace(VIT, image_size=size)
    for axis in "hw":
        name = TABLE.format(1, axis)
        assert len(adapted[name]) == 2 * grid - 1
        torch.testing.assert_close(
            get_rel_pos(grid, grid, adapted[name]), get_rel_pos(grid, grid, state[name])
        )
        window = TABLE.format(0, axis)
        assert adapted[window] is state[window]
    assert adapted["other"] is state["other"]


def test_absolute_positions_keep_directions_and_constants() -> None:
    state = _state()
    rows = torch.linspace(-1, 1, 4).view(1, 4, 1).expand(1, 4, 4)
    channels = [rows, rows.transpose(1, 2), torch.full((1, 4, 4), 0.3)] + [torch.zeros(1, 4, 4)] * 5
    state[POSITION] = torch.stack(channels, dim=-1)
    resized = at_image_size(VIT, state, 128)[1][POSITION]
    assert resized.shape == (1, 8, 8, 8)
    down, along, constant = resized[0, :, :, :3].unbind(-1)
    assert (down.diff(dim=0) > 0).all()
    torch.testing.assert_close(down.diff(dim=1), torch.zeros(8, 7), atol=1e-6, rtol=0)
    assert (along.diff(dim=1) > 0).all()
    torch.testing.assert_close(constant, torch.full((8, 8), 0.3))


def test_the_same_size_changes_nothing() -> None:
    state = _state()
    config, adapted = at_image_size(VIT, state, 64)
    assert config == VIT
    assert all(adapted[name] is state[name] for name in state)


def test_the_small_encoders_positions_are_a_map_too() -> None:
    config = SpaConfig(image_size=32)
    rows = torch.arange(4.0).repeat_interleave(4)
    state = {"image_encoder.position": torch.stack([rows, torch.ones(16)], dim=-1)[None]}
    new, adapted = at_image_size(config, state, 48)
    position = adapted["image_encoder.position"].reshape(6, 6, 2)
    assert new.grid == 6
    assert (position[..., 0].diff(dim=0) > 0).all()
    torch.testing.assert_close(position[..., 1], torch.ones(6, 6))


@pytest.mark.parametrize(("config", "size"), [(VIT, 100), (SpaConfig(), 100), (VIT, 8192)])
def test_impossible_sizes_are_one_sentence(config, size) -> None:
    with pytest.raises(InputError, match="multiple of"):
        at_image_size(config, {}, size)
