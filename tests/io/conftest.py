"""Small networks and files of every layout that can be loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_model import TINY as TINY_MODEL

from napari_spa.model.sam import import_modeling
from napari_spa.model.spa import Spa

TINY = replace(TINY_MODEL, name="tiny", components=3)


@torch.no_grad()
def randomised(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give every tensor values that a mix-up would show; SAM starts many at zero."""
    generator = torch.Generator().manual_seed(seed)
    for value in module.state_dict().values():
        value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    return module


@pytest.fixture
def tiny_spa() -> Spa:
    """Return a network of our own layout with a few thousand weights."""
    return randomised(Spa(TINY)).eval()


@pytest.fixture
def make_sam():
    """Return a builder of segment-anything's own ``Sam`` with a small ViT."""

    def build(*, image_size: int = 64, depth: int = 4, width: int = 32, outputs: int = 3):
        parts = import_modeling()
        grid = image_size // 16
        return randomised(
            parts.Sam(
                image_encoder=parts.ImageEncoderViT(
                    img_size=image_size,
                    depth=depth,
                    embed_dim=width,
                    num_heads=4,
                    out_chans=32,
                    norm_layer=lambda channels: torch.nn.LayerNorm(channels, eps=1e-6),
                    qkv_bias=True,
                    use_rel_pos=True,
                    window_size=14,
                    global_attn_indexes=(1, 3),
                ),
                prompt_encoder=parts.PromptEncoder(
                    embed_dim=32,
                    image_embedding_size=(grid, grid),
                    input_image_size=(image_size, image_size),
                    mask_in_chans=16,
                ),
                mask_decoder=parts.MaskDecoder(
                    num_multimask_outputs=outputs,
                    transformer=parts.TwoWayTransformer(
                        depth=2, embedding_dim=32, mlp_dim=48, num_heads=8
                    ),
                    transformer_dim=32,
                ),
            )
        ).eval()

    return build


@pytest.fixture
def sam_file(make_sam, tmp_path: Path) -> Path:
    """Write a plain SAM state dict."""
    path = tmp_path / "little_sam.pth"
    torch.save(make_sam().state_dict(), path)
    return path
