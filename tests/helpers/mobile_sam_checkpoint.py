"""The tensors of ``mobile_sam.pt``, listed from what is published about it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

PUBLISHED_BYTES = 40_728_226
STAGES = ((64, 2, 2, 7), (128, 2, 4, 7), (160, 6, 5, 14), (320, 2, 10, 7))
"""Width, blocks, heads and window of each stage."""

Shape = tuple[str, tuple[int, ...]]


def shapes() -> Iterator[Shape]:
    """Name every tensor with its shape; counters are ``()``."""
    encoder = "image_encoder"
    yield from conv_norm(f"{encoder}.patch_embed.seq.0", 32, 3, 3)
    yield from conv_norm(f"{encoder}.patch_embed.seq.2", 64, 32, 3)
    for number, (width, blocks, heads, window) in enumerate(STAGES):
        for index in range(blocks):
            block = f"{encoder}.layers.{number}.blocks.{index}"
            if number == 0:
                yield from bottleneck(block, width, 4 * width, width)
                continue
            yield f"{block}.attn.attention_biases", (heads, window * window)
            yield from weight_and_bias(f"{block}.attn.norm", width)
            yield from weight_and_bias(f"{block}.attn.qkv", 3 * width, width)
            yield from weight_and_bias(f"{block}.attn.proj", width, width)
            yield from weight_and_bias(f"{block}.mlp.norm", width)
            yield from weight_and_bias(f"{block}.mlp.fc1", 4 * width, width)
            yield from weight_and_bias(f"{block}.mlp.fc2", width, 4 * width)
            yield from conv_norm(f"{block}.local_conv", width, 1, 3)
        if number < 3:
            after = STAGES[number + 1][0]
            yield from bottleneck(f"{encoder}.layers.{number}.downsample", width, after, after)
    yield from weight_and_bias(f"{encoder}.norm_head", 320)
    yield from weight_and_bias(f"{encoder}.head", 1000, 320)
    yield f"{encoder}.neck.0.weight", (256, 320, 1, 1)
    yield from weight_and_bias(f"{encoder}.neck.1", 256)
    yield f"{encoder}.neck.2.weight", (256, 256, 3, 3)
    yield from weight_and_bias(f"{encoder}.neck.3", 256)
    yield from prompts_and_decoder()


def prompts_and_decoder() -> Iterator[Shape]:
    """Name what MobileSAM has from SAM."""
    prompt, decoder = "prompt_encoder", "mask_decoder"
    yield f"{prompt}.pe_layer.positional_encoding_gaussian_matrix", (2, 128)
    for name in (
        *(f"point_embeddings.{n}" for n in range(4)),
        "not_a_point_embed",
        "no_mask_embed",
    ):
        yield f"{prompt}.{name}.weight", (1, 256)
    for number, after, before, side in ((0, 4, 1, 2), (3, 16, 4, 2), (6, 256, 16, 1)):
        yield from weight_and_bias(f"{prompt}.mask_downscaling.{number}", after, before, side, side)
    yield from weight_and_bias(f"{prompt}.mask_downscaling.1", 4)
    yield from weight_and_bias(f"{prompt}.mask_downscaling.4", 16)
    yield f"{decoder}.iou_token.weight", (1, 256)
    yield f"{decoder}.mask_tokens.weight", (4, 256)
    whole = f"{decoder}.transformer"
    attentions = [(f"{whole}.final_attn_token_to_image", 128)]
    for number in range(2):
        layer = f"{whole}.layers.{number}"
        attentions.append((f"{layer}.self_attn", 256))
        attentions += [
            (f"{layer}.cross_attn_{x}", 128) for x in ("token_to_image", "image_to_token")
        ]
        for norm in range(1, 5):
            yield from weight_and_bias(f"{layer}.norm{norm}", 256)
        yield from weight_and_bias(f"{layer}.mlp.lin1", 2048, 256)
        yield from weight_and_bias(f"{layer}.mlp.lin2", 256, 2048)
    for name, inner in attentions:
        for part in ("q_proj", "k_proj", "v_proj"):
            yield from weight_and_bias(f"{name}.{part}", inner, 256)
        yield from weight_and_bias(f"{name}.out_proj", 256, inner)
    yield from weight_and_bias(f"{whole}.norm_final_attn", 256)
    for number, before, after in ((0, 256, 64), (3, 64, 32)):
        yield f"{decoder}.output_upscaling.{number}.weight", (before, after, 2, 2)
        yield f"{decoder}.output_upscaling.{number}.bias", (after,)
    yield from weight_and_bias(f"{decoder}.output_upscaling.1", 64)
    for token in range(4):
        for number, after in enumerate((256, 256, 32)):
            name = f"{decoder}.output_hypernetworks_mlps.{token}.layers.{number}"
            yield from weight_and_bias(name, after, 256)
    for number, after in enumerate((256, 256, 4)):
        yield from weight_and_bias(f"{decoder}.iou_prediction_head.layers.{number}", after, 256)


def weight_and_bias(name: str, *shape: int) -> Iterator[Shape]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def conv_norm(name: str, after: int, before: int, side: int) -> Iterator[Shape]:
    yield f"{name}.c.weight", (after, before, side, side)
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.bn.{part}", (after,)
    yield f"{name}.bn.num_batches_tracked", ()


def bottleneck(name: str, before: int, hidden: int, after: int) -> Iterator[Shape]:
    yield from conv_norm(f"{name}.conv1", hidden, before, 1)
    yield from conv_norm(f"{name}.conv2", hidden, 1, 3)
    yield from conv_norm(f"{name}.conv3", after, hidden, 1)


def mobile_sam_state() -> dict[str, Tensor]:
    """Return a state dict of its names and shapes with random weights."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes():
        noise = torch.randn(shape, generator=generator)
        if not shape:
            state[name] = torch.tensor(3)
        elif name.endswith("running_var"):
            state[name] = 0.5 + noise.abs()
        elif len(shape) == 1:
            state[name] = 0.2 * noise + (1.0 if name.endswith("weight") else 0.0)
        else:
            state[name] = noise / math.prod(shape[1:]) ** 0.5
    return state
