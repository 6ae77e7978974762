"""Prompts as maps: clicks, strokes and boxes drawn at the resolution of the logits.

A prompt token reaches every pixel only through attention on a coarse grid; a small network
trained that way does not obey corrective clicks.  Drawn as maps they act where they are,
as in RITM and ScribblePrompt: convolutions add them to the coarse embedding and to the
finest features of the mask decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_REACH = 2.0
"""Deviation of a drawn click, in pixels of the logits."""

_CHANNELS = 4
"""Object clicks, background clicks, the inside of the box, and its edge."""


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

        Parameters
        ----------
        points : Tensor or None
            ``(B, P, 2)`` float, (x, y) in input pixels.
        labels : Tensor or None
            ``(B, P)``: 1 object, 0 background, -1 padding.
        boxes : Tensor or None
            ``(B, 4)`` float, (x0, y0, x1, y1) in input pixels.

        Returns
        -------
        coarse, fine : Tensor
            ``(B, C, h, w)`` and ``(B, C / 8, 4h, 4w)`` float.
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
