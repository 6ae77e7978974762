"""The prompts that training plays: clicks, boxes, strokes, picks and corrections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from napari_spa.model.spa import PromptEmbedding, Spa

_FIRST = (0.60, 0.74, 0.88)
"""Shares of first prompts: up to here a click, then click and box, then box; else a stroke."""

_STROKE = 4  # points that a stroke is drawn with
_TOP = 20  # a representative point is one of so many pixels (paper 3.4)


@dataclass(frozen=True, slots=True, eq=False)
class PlayedPrompts:
    """All prompts of a batch so far."""

    points: Tensor  # ``(B, P, 2)`` float, (x, y) in model pixels
    labels: Tensor  # ``(B, P)``: 1 object, 0 background, -1 none
    boxes: Tensor | None  # ``(B, 4)`` float, (x0, y0, x1, y1)
    image_size: int  # side of the input in model pixels
    definite: bool  # whether they say more than where the object is

    def embed(
        self, model: Spa, *, mask_logits: Tensor | None = None, has_mask: Tensor | None = None
    ) -> PromptEmbedding:
        """Embed them, with a mask where one counts."""
        clicked = self.points.shape[1] > 0
        return model.embed_prompts(
            self.points if clicked else None,
            self.labels if clicked else None,
            boxes=self.boxes,
            mask_logits=mask_logits,
            has_mask=has_mask,
        )

    def adding(self, points: Tensor, labels: Tensor) -> PlayedPrompts:
        """Return them with ``(B, P, 2)`` further points."""
        return replace(
            self,
            points=torch.cat([self.points, points], dim=1),
            labels=torch.cat([self.labels, labels], dim=1),
        )


def first_prompts(user: Tensor, points: Tensor, generator: torch.Generator) -> PlayedPrompts:
    """Draw what a user begins with; all rows of a batch begin alike.

    From the users' masks ``(B, h, w)`` at half of the model's resolution and first clicks ``(B,
    2)`` in model pixels; the generator is on the CPU.
    """
    size = 2 * user.shape[-1]
    labels = torch.ones(len(user), 1, device=user.device)
    click = PlayedPrompts(points[:, None], labels, None, size, definite=False)
    chance = torch.rand(1, generator=generator).item()
    if chance < _FIRST[0]:
        return click
    if chance < _FIRST[1]:
        return replace(click, boxes=draw_boxes(user, generator), definite=True)
    if chance < _FIRST[2]:
        nothing = points.new_zeros(len(points), 0, 2)
        return PlayedPrompts(
            nothing, labels[:, :0], draw_boxes(user, generator), size, definite=True
        )
    inside = (user > 0.5).float()
    stroke = _stroke(points, inside, generator)
    empty = inside.flatten(1).sum(1, keepdim=True) == 0
    return click.adding(stroke, torch.where(empty, -1.0, 1.0).expand(-1, stroke.shape[1]))


def pick_points(
    played: PlayedPrompts,
    picked: Tensor,
    probability: Tensor,
    chance: float,
    generator: torch.Generator,
) -> PlayedPrompts:
    """Add the pick's representative point: where it differs most from the mean (paper 3.4).

    ``picked`` and ``probability`` are ``(B, h, w)`` in [0, 1], the picked sample and the mean of
    all; ``chance`` is the share of rows that use it.
    """
    difference = (picked - probability).abs().flatten(1)
    top = difference.topk(_TOP, dim=1).indices
    choice = torch.randint(_TOP, (len(picked), 1), generator=generator).to(picked.device)
    index = top.gather(1, choice)
    value = (picked.flatten(1).gather(1, index) > 0.5).float()
    used = _chance(len(picked), chance, generator, picked.device)[:, None]
    return played.adding(_to_points(index, picked.shape[-1]), torch.where(used, value, -1.0))


def corrective_clicks(
    played: PlayedPrompts,
    probability: Tensor,
    user: Tensor,
    chance: float,
    generator: torch.Generator,
) -> PlayedPrompts:
    """Add clicks, now and then strokes, inside thick errors of the recommendation.

    ``probability`` and ``user`` are ``(B, h, w)`` in [0, 1], the recommendation and the user's
    mask; ``chance`` is the share of rows that use it.
    """
    error = ((probability > 0.5) != (user > 0.5)).float()
    thick = functional.avg_pool2d(error[:, None], 5, 1, 2)[:, 0] * error
    weight = thick.flatten(1) ** 2
    used = _chance(len(user), chance, generator, user.device) & (weight.sum(dim=1) > 0)
    index = _draw_pixels(weight + 1e-9, 1, generator)
    value = (user.flatten(1).gather(1, index) > 0.5).float()
    labels = torch.where(used[:, None], value, -1.0)
    points = _to_points(index, user.shape[-1])
    played = played.adding(points, labels)
    if torch.rand(1, generator=generator).item() < 0.15:
        same = error * ((user > 0.5).float() == value[:, :, None]).float()
        stroke = _stroke(points[:, 0], same, generator)
        played = played.adding(stroke, labels.expand(-1, stroke.shape[1]))
    return played


def draw_boxes(user: Tensor, generator: torch.Generator) -> Tensor:
    """Draw boxes around masks ``(B, h, w)`` at half of the model's resolution, tight and loose.

    They are ``(B, 4)``, (x0, y0, x1, y1) in model pixels, edges of pixels.
    """
    inside = user > 0.5
    size = user.shape[-1]
    steps = torch.arange(size, device=user.device, dtype=torch.float32)
    columns, rows = inside.any(dim=1), inside.any(dim=2)  # (B, w), (B, h)

    def extent(line: Tensor) -> tuple[Tensor, Tensor]:
        low = torch.where(line, steps, float(size)).min(dim=1).values
        high = torch.where(line, steps + 1, -1.0).max(dim=1).values
        none = high < low
        return torch.where(none, 0.0, low), torch.where(none, float(size), high)

    (x0, x1), (y0, y1) = extent(columns), extent(rows)
    box = torch.stack([x0, y0, x1, y1], dim=1) * 2 - 0.5
    span = torch.stack([x1 - x0, y1 - y0, x1 - x0, y1 - y0], dim=1) * 2
    loose = torch.rand(len(user), 1, generator=generator).to(user.device)
    loose = torch.where(loose < 0.4, 0.0, 0.2 * loose)  # two fifths are tight
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=user.device)
    jitter = torch.randn(box.shape, generator=generator).to(user.device)
    return (box + sign * loose * span + 0.02 * span * jitter).clamp(-0.5, 2 * size - 0.5)


def _stroke(start: Tensor, allowed: Tensor, generator: torch.Generator) -> Tensor:
    """Draw points near a start ``(B, 2)`` within an allowed area ``(B, h, w)``."""
    size = allowed.shape[-1]
    steps = torch.arange(size, device=allowed.device, dtype=torch.float32)
    x, y = ((start[:, axis, None] + 0.5) / 2 - 0.5 - steps for axis in (0, 1))
    reach = (0.08 + 0.15 * torch.rand(1, generator=generator).item()) * size
    near = torch.exp(-(y[:, :, None] ** 2 + x[:, None] ** 2) / (2 * reach**2))
    weight = (near * allowed).flatten(1)
    return _to_points(_draw_pixels(weight + 1e-12, _STROKE, generator), size)


def _draw_pixels(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw pixels ``(B, count)`` by weights ``(B, P)``; a GPU is not waited for."""
    total = weight.double().cumsum(dim=1)
    chance = torch.rand(len(weight), count, generator=generator, dtype=torch.float64)
    place = chance.to(weight.device) * total[:, -1:]
    return torch.searchsorted(total, place, right=True).clamp(max=weight.shape[1] - 1)


def _to_points(index: Tensor, width: int) -> Tensor:
    """Turn flat indices at half resolution into ``(..., 2)`` (x, y) in model pixels."""
    row, column = index.div(width, rounding_mode="floor"), index % width
    return torch.stack([column, row], dim=-1).float() * 2 + 0.5


def _chance(count: int, share: float, generator: torch.Generator, device: torch.device) -> Tensor:
    return (torch.rand(count, generator=generator) < share).to(device)
