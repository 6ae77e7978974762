"""Prompts in image pixels become the interaction embedding ``e_u`` of a view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_spa.refine.engine.view import FieldOfView, ImageSampler

if TYPE_CHECKING:
    from napari_spa.core.types import FloatArray, LocalMask, Prompts
    from napari_spa.model.spa import PromptEmbedding, Spa


def embed_prompts(
    spa: Spa,
    shape: tuple[int, int],
    view: FieldOfView,
    prompts: Prompts,
    picked: FloatArray | None = None,
) -> PromptEmbedding:
    """Bring prompts from image pixels into the model's pixels and point order, and embed them.

    ``picked`` are the logits ``(4h, 4w)`` of the last pick, for the mask branch; they go before a
    rough mask.
    """
    size, device = spa.config.image_size, spa.device
    swap = spa.config.rules.point_order == "rc"

    def place(row: float, column: float) -> tuple[float, float]:
        x, y = view.to_model(row, column, size)
        return (y, x) if swap else (x, y)

    points = labels = boxes = mask = None
    if prompts.points:
        points = torch.tensor([[place(c.row, c.column) for c in prompts.points]]).float()
        labels = torch.tensor([[float(c.label) for c in prompts.points]])
        points, labels = points.to(device), labels.to(device)
    if prompts.box is not None:
        first, second = prompts.box.corners
        corners = (*place(*first), *place(*second))
        boxes = torch.tensor([corners]).float().to(device)
    if picked is not None:
        mask = torch.from_numpy(picked)[None, None].to(device)
    elif prompts.mask is not None:
        mask = _mask_logits(spa, shape, view, prompts.mask).to(device)
    return spa.embed_prompts(points, labels, boxes=boxes, mask_logits=mask)


def _mask_logits(
    spa: Spa, shape: tuple[int, int], view: FieldOfView, mask: LocalMask
) -> torch.Tensor:
    """Turn a rough mask into the decoder's kind of logits: about +-4, soft at its edge."""
    seen = view.region(shape)
    local = FieldOfView(view.row - seen.row, view.column - seen.column, view.height, view.width)
    covered = ImageSampler(mask.within(seen)).read(local, 4 * spa.config.grid)[..., 0]
    return torch.from_numpy(8.0 * covered - 4.0)[None, None]
