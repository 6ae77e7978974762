"""The tensors of ``sam2.1_hiera_*.pt`` that an image needs, listed from what is published."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from mobile_sam_checkpoint import Shape, prompts_and_decoder, weight_and_bias
from torch import Tensor


def shapes(width: int, stages: tuple[int, ...], background: int, window: int) -> Iterator[Shape]:
    """Name every tensor of an image, and some of those that serve videos alone."""
    trunk = "image_encoder.trunk"
    yield from weight_and_bias(f"{trunk}.patch_embed.proj", width, 3, 7, 7)
    yield f"{trunk}.pos_embed", (1, width, background, background)
    yield f"{trunk}.pos_embed_window", (1, width, window, window)
    number, before = 0, width
    for stage, count in enumerate(stages):
        after = width * 2**stage
        for _ in range(count):
            block = f"{trunk}.blocks.{number}"
            yield from weight_and_bias(f"{block}.norm1", before)
            yield from weight_and_bias(f"{block}.attn.qkv", 3 * after, before)
            yield from weight_and_bias(f"{block}.attn.proj", after, after)
            yield from weight_and_bias(f"{block}.norm2", after)
            yield from weight_and_bias(f"{block}.mlp.layers.0", 4 * after, after)
            yield from weight_and_bias(f"{block}.mlp.layers.1", after, 4 * after)
            if before != after:
                yield from weight_and_bias(f"{block}.proj", after, before)
            number, before = number + 1, after
    for place in range(4):
        name = f"image_encoder.neck.convs.{place}.conv"
        yield from weight_and_bias(name, 256, width * 2 ** (3 - place), 1, 1)
    for name, shape in prompts_and_decoder():
        name = name.replace("prompt_encoder.", "sam_prompt_encoder.")
        name = name.replace("mask_decoder.", "sam_mask_decoder.")
        for layer, ours in (("layers.0", "mlp.lin1"), ("layers.1", "mlp.lin2")):
            name = name.replace(f".{ours}.", f".mlp.{layer}.")
        yield name, shape
    decoder = "sam_mask_decoder"
    yield f"{decoder}.obj_score_token.weight", (1, 256)
    yield from weight_and_bias(f"{decoder}.conv_s0", 32, 256, 1, 1)
    yield from weight_and_bias(f"{decoder}.conv_s1", 64, 256, 1, 1)
    for number, after in enumerate((256, 256, 1)):
        yield from weight_and_bias(f"{decoder}.pred_obj_score_head.layers.{number}", after, 256)
    yield "no_mem_embed", (1, 1, 256)
    yield "no_mem_pos_enc", (1, 1, 256)
    yield "no_obj_ptr", (1, 256)
    yield "no_obj_embed_spatial", (1, 64)
    yield "maskmem_tpos_enc", (7, 1, 1, 64)
    yield from weight_and_bias("memory_attention.norm", 256)
    yield from weight_and_bias("memory_encoder.out_proj", 64, 256, 1, 1)
    yield from weight_and_bias("mask_downsample", 1, 1, 4, 4)
    yield from weight_and_bias("obj_ptr_proj.layers.0", 256, 256)
    yield from weight_and_bias("obj_ptr_tpos_proj", 64, 256)


def sam2_content(
    width: int = 96, stages: tuple[int, ...] = (1, 2, 7, 2), background: int = 7, window: int = 8
) -> dict[str, dict[str, Tensor]]:
    """Return what its publishers save, with random weights."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes(width, stages, background, window):
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            state[name] = 0.2 * noise + (1.0 if name.endswith("weight") else 0.0)
        else:
            state[name] = noise / math.prod(shape[1:]) ** 0.5
    return {"model": state}
