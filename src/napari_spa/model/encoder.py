"""The small convolutional image encoder of ``spa-tiny``.

A pure ViT trained from scratch on a few thousand small images learns slowly; stride-two
convolution stages with two attention layers on the coarse grid learn within minutes and
give the mask decoder fine features for sharp boundaries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

_GROUPS = 8


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with group normalisation around an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(_GROUPS, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to the same shape."""
        y = self.conv1(nn.functional.silu(self.norm1(x)))
        changed: Tensor = self.conv2(nn.functional.silu(self.norm2(y)))
        return x + changed


class GridEncoder(nn.Module):
    """What our encoders share: transformer layers with learnt positions on the coarse grid."""

    def __init__(self, width: int, grid: int, layers: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, grid * grid, width))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                nhead=4,
                dim_feedforward=4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def attend(self, features: Tensor) -> Tensor:
        """Map ``(B, C, h, w)`` to the same shape."""
        b, c, h, w = features.shape
        tokens = features.flatten(2).transpose(1, 2) + self.position  # (B, h w, C)
        for layer in self.layers:
            tokens = layer(tokens)
        attended: Tensor = self.norm(tokens).transpose(1, 2).reshape(b, c, h, w)
        return attended


class ConvEncoder(GridEncoder):
    """Convolution stages, then transformer layers on the coarsest grid."""

    def __init__(
        self,
        *,
        image_size: int,
        widths: Sequence[int] = (24, 64, 128),
        depths: Sequence[int] = (1, 1, 2),
        layers: int = 2,
    ) -> None:
        super().__init__(widths[-1], image_size // 8, layers)
        self.stages = nn.ModuleList()
        previous = 3
        for width, depth in zip(widths, depths, strict=True):
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(previous, width, 3, stride=2, padding=1),
                    *(ResidualBlock(width) for _ in range(depth)),
                )
            )
            previous = width
        self._skip_channels = (widths[1], widths[0])

    @property
    def skip_channels(self) -> tuple[int, int]:
        """Channels of the features at stride 4 and stride 2."""
        return self._skip_channels

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Encode normalised pixels ``(B, 3, S, S)``.

        Returns the embedding ``(B, C, S / 8, S / 8)`` and features at strides 4 and 2.
        """
        fine = self.stages[0](pixels)
        middle = self.stages[1](fine)
        coarse = self.stages[2](middle)
        return self.attend(coarse), (middle, fine)
