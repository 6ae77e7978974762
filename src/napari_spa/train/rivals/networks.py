"""Deterministic networks: U-Net and Swin from MONAI, TransUNet from MONAI's blocks."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_spa.errors import ModelError

if TYPE_CHECKING:
    from types import ModuleType

_WIDTHS = (16, 32, 64, 128, 256)
_ACT = ("LeakyReLU", {"negative_slope": 0.1})
_NORM = ("instance", {"affine": True})


def monai_part(name: str) -> ModuleType:
    """Import a module of MONAI; ``ModelError`` where it is not installed."""
    import importlib

    try:
        return importlib.import_module(f"monai.networks.{name}")
    except ImportError as error:
        raise ModelError(
            "the rivals' networks come from MONAI: pip install napari-spa[evaluate]."
        ) from error


def unet(outputs: int = 1) -> nn.Module:
    """Return MONAI's residual U-Net of five levels (Ronneberger et al. 2015; 1.6 M weights)."""
    network: nn.Module = monai_part("nets").UNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=outputs,
        channels=_WIDTHS,
        strides=(2, 2, 2, 2),
        num_res_units=2,
    )
    return network


def swin_unet(outputs: int = 1) -> nn.Module:
    """Return MONAI's Swin UNETR in two dimensions, in place of Swin-Unet (Cao et al. 2021)."""
    network: nn.Module = monai_part("nets").SwinUNETR(
        in_channels=3, out_channels=outputs, feature_size=12, spatial_dims=2
    )
    return network


class UnetEncoder(nn.Module):
    """Convolutions at falling resolution, MONAI's.

    Parameters
    ----------
    widths : sequence of int
        Channels at strides 1, 2, 4, ...
    inputs : int
        Channels in.
    """

    def __init__(self, widths: tuple[int, ...], inputs: int = 3) -> None:
        super().__init__()
        parts = monai_part("nets.basic_unet")
        self.first = parts.TwoConv(2, inputs, widths[0], _ACT, _NORM, bias=True)
        self.down = nn.ModuleList(
            parts.Down(2, before, after, _ACT, _NORM, bias=True)
            for before, after in pairwise(widths)
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return features from fine to coarse."""
        features = [self.first(pixels)]
        for layer in self.down:
            features.append(layer(features[-1]))
        return features


class UnetDecoder(nn.Module):
    """Convolutions at rising resolution with skips, MONAI's."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        parts = monai_part("nets.basic_unet")
        self.up = nn.ModuleList(
            parts.UpCat(2, coarse, fine, fine, _ACT, _NORM, bias=True, halves=False)
            for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the finest features again, with what the coarse ones know."""
        *skips, x = features
        for layer, skip in zip(self.up, reversed(skips), strict=True):
            x = layer(x, skip)
        return x


class TransUnet(nn.Module):
    """TransUNet (Chen et al. 2021): convolutions to stride 8, transformer, U-Net decoder.

    Smaller than the paper's, which starts from an ImageNet ResNet-50 and ViT-B.

    Parameters
    ----------
    size : int
        Side of the input.
    """

    def __init__(self, size: int, *, width: int = 192, layers: int = 4) -> None:
        super().__init__()
        widths = _WIDTHS[:4]
        self.encoder, self.decoder = UnetEncoder(widths), UnetDecoder(widths)
        self.into = nn.Conv2d(widths[-1], width, 1)
        self.position = nn.Parameter(torch.zeros(1, width, size // 8, size // 8))
        nn.init.trunc_normal_(self.position, std=0.02)
        block = monai_part("blocks").TransformerBlock
        self.layers = nn.ModuleList(block(width, 4 * width, 6) for _ in range(layers))
        self.out_of = nn.Conv2d(width, widths[-1], 1)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits ``(B, 1, S, S)``."""
        features = self.encoder(pixels)
        grid = self.into(features[-1]) + self.position
        tokens = grid.flatten(2).transpose(1, 2)  # (B, h w, C)
        for layer in self.layers:
            tokens = layer(tokens)
        grid = tokens.transpose(1, 2).reshape(grid.shape)
        features[-1] = features[-1] + self.out_of(grid)
        logits: Tensor = self.head(self.decoder(features))
        return logits
