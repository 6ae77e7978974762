"""TinyViT, the image encoder of MobileSAM, under the names of its published weights.

Wu et al., "TinyViT" (ECCV 2022), with the changes of Zhang et al., "Faster Segment
Anything" (2023): the last merging keeps its resolution and SAM's neck follows, so a
1024 x 1024 image becomes 256 channels on 64 x 64, as from SAM's own encoder.  Convolutions
down to stride 4, then attention in windows; its biases depend on the distance within a
window only, so the same weights take any input size that is a multiple of 16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_spa.model.sam import LayerNorm2d, window_partition, window_unpartition

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
"""Of the four stages of the 5M network, the only one that MobileSAM and micro-sam use."""

_EXPANSION = 4


class FrozenBatchNorm(nn.Module):
    """Batch normalisation by the running statistics that came with the weights."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to the same shape."""
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False
        )


class ConvNorm(nn.Sequential):
    """A convolution without bias, then batch normalisation."""

    def __init__(
        self, before: int, after: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(
            before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.add_module("c", conv)
        self.add_module("bn", FrozenBatchNorm(after))


class Bottleneck(nn.Module):
    """Widen, convolve channel by channel, narrow: an inverted bottleneck."""

    def __init__(self, before: int, hidden: int, after: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvNorm(before, hidden)
        self.conv2 = ConvNorm(hidden, hidden, kernel=3, stride=stride, groups=hidden)
        self.conv3 = ConvNorm(hidden, after)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, before, H, W)`` to ``(B, after, H / stride, W / stride)``."""
        x = functional.gelu(self.conv1(x))
        narrow: Tensor = self.conv3(functional.gelu(self.conv2(x)))
        return narrow


class ConvBlock(Bottleneck):
    """An inverted bottleneck around an identity, the first stage's block."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, width, H, W)`` to the same shape."""
        return functional.gelu(x + super().forward(x))


class WindowAttention(nn.Module):
    """Attention among all tokens of a window, biased by their distance."""

    attention_index: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        place = torch.stack(
            torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij"), dim=-1
        ).view(-1, 2)
        rows, columns = (place[:, None] - place[None]).abs().unbind(-1)
        self.register_buffer("attention_index", rows * window + columns, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(windows, tokens, width)`` to the same shape."""
        n, count, width = tokens.shape
        qkv = self.qkv(self.norm(tokens)).view(n, count, self.heads, 3, width // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)  # (n, heads, count, width / heads) each
        bias = self.attention_biases[:, self.attention_index]  # (heads, count, count)
        told = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        joined: Tensor = self.proj(told.transpose(1, 2).reshape(n, count, width))
        return joined


class Mlp(nn.Module):
    """Two layers on each token, normalised before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, _EXPANSION * width)
        self.fc2 = nn.Linear(_EXPANSION * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(..., width)`` to the same shape."""
        changed: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(tokens))))
        return changed


class AttentionBlock(nn.Module):
    """Attention in windows of ``window`` tokens a side, a convolution across them, and an MLP."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = ConvNorm(width, width, kernel=3, groups=width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, width, H, W)`` to the same shape."""
        x = x + self._attend(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.local_conv(x)
        changed: Tensor = self.mlp(x.permute(0, 2, 3, 1))
        return x + changed.permute(0, 3, 1, 2)

    def _attend(self, x: Tensor) -> Tensor:
        # The last windows are filled up with zeros, which attend and are attended to.
        windows, padded = window_partition(x, self.window)
        attended = self.attn(windows.flatten(1, 2)).view(windows.shape)
        whole: Tensor = window_unpartition(attended, self.window, padded, x.shape[1:3])
        return whole


class Stage(nn.Module):
    """Blocks of one of the four widths, then the merging into the next."""

    def __init__(self, number: int) -> None:
        super().__init__()
        width = WIDTHS[number]
        self.blocks = nn.ModuleList(
            AttentionBlock(width, HEADS[number], WINDOWS[number])
            if number
            else ConvBlock(width, _EXPANSION * width, width)
            for _ in range(DEPTHS[number])
        )
        if number + 1 < len(WIDTHS):
            after = WIDTHS[number + 1]
            stride = 1 if number + 2 == len(WIDTHS) else 2
            self.downsample: nn.Module = Bottleneck(width, after, after, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, width, H, W)`` to the next stage's features."""
        for block in self.blocks:
            x = block(x)
        return self.downsample(x) if hasattr(self, "downsample") else x


class TinyVitEncoder(nn.Module):
    """The whole encoder."""

    def __init__(self, *, embed_dim: int = 256) -> None:
        super().__init__()
        width = WIDTHS[0]
        pixels_to_stride_4 = nn.Sequential(
            ConvNorm(3, width // 2, kernel=3, stride=2),
            nn.GELU(),
            ConvNorm(width // 2, width, kernel=3, stride=2),
        )
        self.patch_embed = nn.ModuleDict({"seq": pixels_to_stride_4})
        self.layers = nn.ModuleList(Stage(number) for number in range(len(WIDTHS)))
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], embed_dim, 1, bias=False),
            LayerNorm2d(embed_dim),
            nn.Conv2d(embed_dim, embed_dim, 3, padding=1, bias=False),
            LayerNorm2d(embed_dim),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised ``(B, 3, S, S)`` to ``(B, C, S / 16, S / 16)``; S is a multiple of 16."""
        x = self.patch_embed["seq"](pixels)
        for stage in self.layers:
            x = stage(x)
        embedding: Tensor = self.neck(x)
        return embedding
