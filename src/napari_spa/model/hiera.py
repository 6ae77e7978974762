"""Hiera with a feature pyramid, the image encoder of SAM 2 and 2.1, under its published names.

Ryali et al., "Hiera" (ICML 2023); Ravi et al., "SAM 2" (2024).  Four stages at strides 4,
8, 16 and 32, attention in windows but for a few blocks; the pyramid gives stride 16 as the
embedding and strides 8 and 4 to the mask decoder.  Positions are resized at every image, so
the same weights take any input size that is a multiple of 32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_spa.model.sam import window_partition, window_unpartition

_EPSILON = 1e-6
_EXPANSION = 4


class Variant(NamedTuple):
    """What a published size has beside its width, the channels of the first stage."""

    name: str
    stages: tuple[int, int, int, int]  # blocks of each
    heads: int  # of the first stage; each further one has twice as many
    windows: tuple[int, int, int, int]  # sides in tokens
    whole: tuple[int, ...]  # blocks that attend to everything
    background: int  # side of the coarse positions


VARIANTS = {
    (96, 12): Variant("tiny", (1, 2, 7, 2), 1, (8, 4, 14, 7), (5, 7, 9), 7),
    (96, 16): Variant("small", (1, 2, 11, 2), 1, (8, 4, 14, 7), (7, 10, 13), 7),
    (112, 24): Variant("base-plus", (2, 3, 16, 3), 2, (8, 4, 14, 7), (12, 16, 20), 14),
    (144, 48): Variant("large", (2, 6, 36, 4), 2, (8, 4, 16, 8), (23, 33, 43), 7),
}
"""By width and number of blocks, which the tensors tell."""


class PooledAttention(nn.Module):
    """Attention within windows whose queries may be pooled to half the resolution."""

    def __init__(self, before: int, after: int, heads: int, *, pooled: bool) -> None:
        super().__init__()
        self.heads, self.pooled = heads, pooled
        self.qkv = nn.Linear(before, 3 * after)
        self.proj = nn.Linear(after, after)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, s, s, before)`` to ``(N, s', s', after)``."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.pooled:
            q = _pool(q)
        parts = (t.reshape(len(x), -1, self.heads, t.shape[-1] // self.heads) for t in (q, k, v))
        told = functional.scaled_dot_product_attention(*(t.transpose(1, 2) for t in parts))
        joined: Tensor = self.proj(told.transpose(1, 2).reshape(q.shape))
        return joined


class Mlp(nn.Module):
    """Two layers on each token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(width, _EXPANSION * width), nn.Linear(_EXPANSION * width, width)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., width)`` to the same shape."""
        changed: Tensor = self.layers[1](functional.gelu(self.layers[0](x)))
        return changed


class Block(nn.Module):
    """Attention in windows and an MLP; where the widths differ a stage begins.

    ``window`` is their side in tokens of the input (0 attends to everything); ``pooled`` halves the
    resolution.
    """

    def __init__(self, before: int, after: int, heads: int, window: int, *, pooled: bool) -> None:
        super().__init__()
        self.window, self.pooled = window, pooled
        self.norm1 = nn.LayerNorm(before, eps=_EPSILON)
        self.attn = PooledAttention(before, after, heads, pooled=pooled)
        self.norm2 = nn.LayerNorm(after, eps=_EPSILON)
        self.mlp = Mlp(after)
        if before != after:
            self.proj = nn.Linear(before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, before)`` to ``(B, H', W', after)``."""
        normed = self.norm1(x)
        if hasattr(self, "proj"):
            x = self.proj(normed)
            x = _pool(x) if self.pooled else x
        x = x + self._attend(normed)[:, : x.shape[1], : x.shape[2]]
        changed: Tensor = x + self.mlp(self.norm2(x))
        return changed

    def _attend(self, x: Tensor) -> Tensor:
        if not self.window:
            whole: Tensor = self.attn(x)
            return whole
        windows, (height, width) = window_partition(x, self.window)
        windows = self.attn(windows)
        side = windows.shape[1]  # pooling made the windows smaller
        size = height * side // self.window, width * side // self.window
        joined: Tensor = window_unpartition(windows, side, size, size)
        return joined


class Trunk(nn.Module):
    """The four stages, the first of ``width`` channels."""

    def __init__(self, width: int, variant: Variant) -> None:
        super().__init__()
        side, fine = variant.background, variant.windows[0]
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 7, stride=4, padding=3)})
        self.pos_embed = nn.Parameter(torch.zeros(1, width, side, side))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, width, fine, fine))
        self.blocks = nn.ModuleList()
        self.ends: list[int] = []
        before = width
        for stage, count in enumerate(variant.stages):
            after, heads = width * 2**stage, variant.heads * 2**stage
            for index in range(count):
                first = stage > 0 and index == 0
                # The block that begins a stage still sees the windows of the one before.
                window = variant.windows[stage - 1 if first else stage]
                window = 0 if len(self.blocks) in variant.whole else window
                self.blocks.append(Block(before, after, heads, window, pooled=first))
                before = after
            self.ends.append(len(self.blocks) - 1)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Map ``(B, 3, S, S)`` to features at strides 4, 8, 16 and 32, channels last."""
        x = self.patch_embed["proj"](pixels).permute(0, 2, 3, 1)
        x = x + self._position(x.shape[1], x.shape[2])
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.ends:
                found.append(x)
        return found

    def _position(self, height: int, width: int) -> Tensor:
        fine = self.pos_embed_window
        coarse = functional.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        tiled = fine.tile(1, 1, height // fine.shape[2], width // fine.shape[3])
        return (coarse + tiled).permute(0, 2, 3, 1)


class Neck(nn.Module):
    """The pyramid: stride 32 is added to stride 16; the finer ones are as they come."""

    def __init__(self, widths: tuple[int, ...], embed_dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.ModuleDict({"conv": nn.Conv2d(width, embed_dim, 1)}) for width in reversed(widths)
        )

    def forward(self, stages: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Map the stages to strides 16, 8 and 4, ``(B, C, h, w)`` each."""
        coarsest, coarse, middle, fine = (
            conv["conv"](x.permute(0, 3, 1, 2))  # type: ignore[index]
            for conv, x in zip(self.convs, reversed(stages), strict=True)
        )
        return coarse + functional.interpolate(coarsest, scale_factor=2.0), middle, fine


class HieraEncoder(nn.Module):
    """The whole encoder, with what SAM 2 adds to an image that has no memory."""

    def __init__(self, *, width: int, depth: int, embed_dim: int) -> None:
        super().__init__()
        self.trunk = Trunk(width, VARIANTS[width, depth])
        self.neck = Neck(tuple(width * 2**stage for stage in range(4)), embed_dim)
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.skip_channels = (embed_dim, embed_dim)

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Encode normalised pixels ``(B, 3, S, S)``, S a multiple of 32.

        Returns the embedding ``(B, C, S / 16, S / 16)`` and C features at strides 8 and 4.
        """
        coarse, middle, fine = self.neck(self.trunk(pixels))
        return coarse + self.no_mem_embed.transpose(1, 2)[..., None], (middle, fine)


def _pool(x: Tensor) -> Tensor:
    """Take the largest of each 2 x 2, channels last."""
    return functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
