"""Unit: shapes of SAM-family networks, from SAM's real sizes without their weights."""

from __future__ import annotations

import pytest
import torch

from napari_spa.model.weights import recognise_sam, sam_prefix


def _shapes(width: int, depth: int, head: int, blocks: tuple[int, ...], grid: int = 64):
    """Name the tensors that decide a network's shape; on the meta device they are free."""
    shapes = {
        "image_encoder.patch_embed.proj.weight": (width, 3, 16, 16),
        "image_encoder.pos_embed": (1, grid, grid, width),
        "image_encoder.neck.0.weight": (256, width, 1, 1),
        "mask_decoder.transformer.layers.0.mlp.lin1.weight": (2048, 256),
        "mask_decoder.mask_tokens.weight": (4, 256),
    }
    for block in range(depth):
        length = 2 * (grid if block in blocks else 14) - 1
        shapes[f"image_encoder.blocks.{block}.attn.rel_pos_h"] = (length, head)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("name", "width", "depth", "head", "blocks"),
    [
        ("sam-vit-b", 768, 12, 64, (2, 5, 8, 11)),
        ("sam-vit-l", 1024, 24, 64, (5, 11, 17, 23)),
        ("sam-vit-h", 1280, 32, 80, (7, 15, 23, 31)),
        ("sam-vit-192x6", 192, 6, 48, (2, 5)),
    ],
)
def test_the_known_sizes_are_recognised(name, width, depth, head, blocks) -> None:
    config, state = recognise_sam(_shapes(width, depth, head, blocks))
    assert len(state) == 5 + depth
    assert (config.name, config.image_size, config.embed_dim) == (name, 1024, 256)
    assert (config.vit_dim, config.vit_depth, config.vit_heads) == (width, depth, width // head)
    assert config.vit_global == blocks
    assert (config.decoder_mlp, config.multimask_outputs) == (2048, 3)


def test_on_a_grid_of_one_window_sams_pattern_is_taken() -> None:
    """At 224 px windowed and global blocks have tables of one length."""
    config, _ = recognise_sam(_shapes(768, 12, 64, (2, 5, 8, 11), grid=14))
    assert (config.image_size, config.vit_global) == (224, (2, 5, 8, 11))


def test_the_shortest_prefix_is_the_networks() -> None:
    anchor = "image_encoder.patch_embed.proj.weight"
    assert sam_prefix({anchor: 0}) == ""
    assert sam_prefix({f"teacher.sam.{anchor}": 0, f"sam.{anchor}": 0}) == "sam."
    assert sam_prefix({"conv1.weight": 0}) is None
