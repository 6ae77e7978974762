"""Unit tests of the EfficientNet encoder and the reading of published weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_spa.errors import CheckpointError
from napari_spa.model.encoder import (
    LITE0,
    STEM,
    ConvAffine,
    EfficientNetEncoder,
    load_pretrained,
)


def published(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the published names and shapes, batch norms included."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}

    def add(convolution: str, norm: str, *shape: int) -> None:
        state[f"{convolution}.weight"] = torch.randn(shape, generator=generator) * 0.3
        for name in ("weight", "bias", "running_mean"):
            state[f"{norm}.{name}"] = torch.randn(shape[0], generator=generator)
        state[f"{norm}.running_var"] = 0.5 + torch.rand(shape[0], generator=generator)

    add("_conv_stem", "_bn0", STEM, 3, 3, 3)
    before, number = STEM, 0
    for count, kernel, _, expansion, width in LITE0:
        for _ in range(count):
            place, inner = f"_blocks.{number}", before * expansion
            if expansion != 1:
                add(f"{place}._expand_conv", f"{place}._bn0", inner, before, 1, 1)
            add(f"{place}._depthwise_conv", f"{place}._bn1", inner, 1, kernel, kernel)
            add(f"{place}._project_conv", f"{place}._bn2", width, inner, 1, 1)
            before, number = width, number + 1
    return state


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (1, 1)])
@torch.no_grad()
def test_a_layer_is_convolution_and_batch_norm_with_tensorflows_padding(kernel, stride) -> None:
    x = torch.randn(2, 4, 16, 16)
    layer = ConvAffine(4, 6, kernel=kernel, stride=stride, active=False)
    norm = nn.BatchNorm2d(6, eps=1e-3).eval()
    for value in (norm.weight, norm.bias, norm.running_mean):
        value.copy_(torch.randn(6))
    norm.running_var.uniform_(0.5, 2.0)
    layer.scale.copy_(norm.weight * torch.rsqrt(norm.running_var + norm.eps))
    layer.bias.copy_(norm.bias - norm.running_mean * layer.scale)
    total = max(kernel - stride, 0)
    padded = functional.pad(x, (total // 2, total - total // 2) * 2)
    expected = norm(functional.conv2d(padded, layer.weight, stride=stride))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_published_weights_are_all_used() -> None:
    encoder = EfficientNetEncoder(image_size=64, embed_dim=32, layers=1)
    state = published()
    load_pretrained(encoder, state)
    layers = [m for m in encoder.modules() if isinstance(m, ConvAffine)]
    assert len(layers) == sum(name.endswith("running_var") for name in state)
    block = encoder.stages[2][0]
    assert torch.equal(block.depthwise.weight, state["_blocks.3._depthwise_conv.weight"])
    tokens, (middle, fine) = encoder(torch.randn(1, 3, 64, 64))
    assert tokens.shape == (1, 32, 8, 8)
    assert (middle.shape, fine.shape) == ((1, 24, 16, 16), (1, 16, 32, 32))


def test_weights_of_another_network_are_refused() -> None:
    encoder = EfficientNetEncoder(image_size=64, embed_dim=32, layers=1)
    with pytest.raises(CheckpointError, match="not of EfficientNet-Lite0"):
        load_pretrained(encoder, {"conv1.weight": torch.zeros(3)})
