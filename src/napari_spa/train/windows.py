"""Training windows: a random field of view on one object, augmented, and the prompts in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from napari_spa.core.objects import agreed_area
from napari_spa.core.transforms import standardise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.model.spa import PromptEmbedding, Spa
    from napari_spa.train.data import RatedObject


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """How fields of view are drawn."""

    size: int = 128  # side of the window in model pixels
    targets: int = 4  # number of user masks drawn per window
    # Window side in object diameters, log-uniform, for most windows.
    near: tuple[float, float] = (1.4, 5.0)
    # The same for the share ``far_share`` of windows, which teach the quality head what a wrong
    # field of view looks like.
    far: tuple[float, float] = (0.5, 12.0)
    far_share: float = 0.25  # share of the latter
    stretch: float = 0.0  # deviation of the logarithm of the window's aspect
    # Share of windows whose look is changed strongly: shapes stay, values do not.
    restyle: float = 0.0
    # Share of windows in which a copy of the object is pasted beside it, behind it.
    neighbour: float = 0.0


class Window(NamedTuple):
    """One training example, or a batch of them: each with one more axis in front."""

    pixels: Tensor  # ``(3, S, S)`` float32, standardised
    # ``(R, S / 2, S / 2)`` in [0, 1]: each user's mask as the covered share of each logit's pixel
    targets: Tensor
    point: Tensor  # ``(2,)``, the first click as (x, y) in model pixels
    visible: Tensor  # scalar, the share of the object that lies in the window
    # ``(R, 4)``, the box of each user's whole object as (x, y) of its middle and the logarithms of
    # its width and height, in shares of the window
    extents: Tensor
    made_up: Tensor  # scalar, 1 where the target is a superpixel and no object


def draw_window(item: RatedObject, config: WindowConfig, rng: np.random.Generator) -> Window:
    """Draw one augmented window on an object."""
    placement = _draw_placement(item, config, rng)
    grid, zoom = placement.grid(config.size), placement.side / config.size
    channels = np.moveaxis(item.image, -1, 0)
    image = _sample(channels, grid, zoom, "border" if rng.random() < 0.7 else "reflection") / 255
    if len(item.masks) == 1:  # all users are alike
        users, repeats = item.masks, config.targets
        seen = agreed = _sample(users, grid, zoom, "zeros")
    else:
        users, repeats = draw_users(item.masks, config.targets, rng), 1
        seen = _sample(np.concatenate([users, agreed_area(item.masks)[None]]), grid, zoom, "zeros")
        seen, agreed = seen[:-1], seen[-1:]
    point = _draw_point(agreed[0].numpy(), seen.mean(0).numpy(), rng)
    targets = functional.avg_pool2d(seen, 2).repeat(repeats, 1, 1)
    area = np.mean([np.count_nonzero(user) for user in users]) / zoom**2
    share = float(seen.sum((1, 2)).mean()) / max(float(area), 1.0)
    visible = torch.tensor(min(1.0, share), dtype=torch.float32)
    boxes = np.stack([placement.extent(user) for user in users])
    extents = torch.from_numpy(boxes).float().repeat(repeats, 1)
    made_up = torch.tensor(float(item.made_up))
    if config.neighbour and rng.random() < config.neighbour:
        image = _with_neighbour(image, seen, rng)
    if config.restyle and rng.random() < config.restyle:
        image = _restyle(image, rng)
    look = torch.from_numpy(point)
    return Window(_augment(image, rng), targets, look, visible, extents, made_up)


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where a window lies: rotated, mirrored, stretched, around a centre (row, column)."""

    centre: tuple[float, float]
    side: float
    angle: float
    flip: float
    stretch: float

    def grid(self, size: int) -> Tensor:
        """Return the ``(size, size, 2)`` float (x, y) image positions of its pixels."""
        steps = (torch.arange(size, dtype=torch.float32) + 0.5) / size * 2 - 1
        v, u = torch.meshgrid(steps / self.stretch, steps * self.stretch, indexing="ij")
        cos, sin = np.cos(self.angle) * self.side / 2, np.sin(self.angle) * self.side / 2
        x = self.centre[1] + self.flip * (cos * u - sin * v)
        y = self.centre[0] + sin * u + cos * v
        return torch.stack([x, y], dim=-1).float()

    def extent(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the box of a mask of the image, in shares of the window."""
        rows = np.flatnonzero(mask.any(axis=1))  # the ends of each row: no other pixel is extreme
        lines = mask[rows]
        ends = lines.argmax(axis=1), mask.shape[1] - 1 - lines[:, ::-1].argmax(axis=1)
        rows, columns = np.tile(rows, 2), np.concatenate(ends)
        x, y = self.flip * (columns - self.centre[1]), rows - self.centre[0]
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        u = (cos * x + sin * y) / self.side / self.stretch + 0.5
        v = (cos * y - sin * x) / self.side * self.stretch + 0.5
        pixel = 1 / self.side
        width, height = (float(np.ptp(w)) + pixel for w in (u, v))
        middle = [(float(w.min()) + float(w.max())) / 2 for w in (u, v)]
        return np.array([*middle, np.log(width), np.log(height)])


def draw_users(masks: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw users, none empty: raters ``(R, H, W)`` and thresholded combinations (paper 3.5)."""
    raters = len(masks)
    order = np.concatenate([rng.permutation(raters) for _ in range(-(-count // raters))])
    users = []
    for index in order[:count]:
        weights = rng.dirichlet(np.full(raters, 0.7)).astype(np.float32)
        level = rng.uniform(0.15, 0.85)
        if rng.random() < 0.6:
            users.append(masks[index])
            continue
        combined = np.einsum("r,rhw->hw", weights, masks) > level
        users.append(combined if combined.any() else masks[index])
    return np.stack(users)


def _draw_placement(
    item: RatedObject, config: WindowConfig, rng: np.random.Generator
) -> _Placement:
    """Draw a rotated, flipped, shifted, stretched square on the object."""
    height, width = item.masks.shape[1:]
    area = np.mean([np.count_nonzero(mask) for mask in item.masks])
    diameter = 2 * np.sqrt(area / np.pi)
    low, high = config.far if rng.random() < config.far_share else config.near
    side = max(diameter * np.exp(rng.uniform(np.log(low), np.log(high))), 12.0)
    side = min(side, 1.3 * max(height, width))
    union: NDArray[np.bool_] = np.asarray(item.masks.any(axis=0))
    if rng.random() < 0.4:
        inside = np.flatnonzero(union)
        place = inside[rng.integers(len(inside))]
        click = np.array(np.unravel_index(place, union.shape), dtype=np.float64)
    else:
        lines = [np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))]
        click = np.array([(line[0] + line[-1]) / 2 for line in lines])
    slack = max(side - diameter, 0.15 * side)
    centre = click + rng.normal(0, 0.18, 2) * slack
    if rng.random() < 0.6:  # like the predictor: keep the window inside the image
        half = side / 2
        for axis, extent in enumerate((height, width)):
            if extent > side:
                centre[axis] = np.clip(centre[axis], half, extent - half)
            else:
                centre[axis] = extent / 2
    angle = rng.choice(4) * np.pi / 2 + (rng.normal(0, 0.25) if rng.random() < 0.3 else 0.0)
    flip = float(rng.choice([-1.0, 1.0]))
    stretch = float(np.exp(rng.normal(0, config.stretch) / 2))
    return _Placement((float(centre[0]), float(centre[1])), float(side), angle, flip, stretch)


def _sample(stack: NDArray[np.generic], grid: Tensor, zoom: float, padding: str) -> Tensor:
    """Sample ``(K, H, W)`` at ``(S, S, 2)`` positions (x, y) in pixels, averaging first."""
    step = int(zoom)
    height, width = stack.shape[1:]
    low = (grid.amin(dim=(0, 1)).floor().long() - 2 * step).tolist()
    high = (grid.amax(dim=(0, 1)).ceil().long() + 2 * step + 1).tolist()
    left, top = (max(0, min(a, n - 2 * step)) for a, n in zip(low, (width, height), strict=True))
    right, bottom = min(width, max(high[0], left + 2)), min(height, max(high[1], top + 2))
    part = torch.from_numpy(np.ascontiguousarray(stack[:, top:bottom, left:right])).float()[None]
    if step > 1:
        h, w = part.shape[-2] // step * step, part.shape[-1] // step * step
        part = functional.avg_pool2d(part[..., :h, :w], step)
    extent = torch.tensor([part.shape[-1], part.shape[-2]]) * max(step, 1)
    place = (grid + 0.5 - torch.tensor([left, top])) / extent * 2 - 1
    return functional.grid_sample(
        part, place[None], mode="bilinear", padding_mode=padding, align_corners=False
    )[0]


def _draw_point(
    agreed: NDArray[np.float32], mean: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a click from the agreed area, or where most agree if that is out of sight."""
    rank = np.where(agreed > 0.5, 2.0, mean)
    inside = np.argwhere(rank >= rank.max() - 1e-6)
    row, column = inside[rng.integers(len(inside))]
    return np.array([column, row], dtype=np.float32)


def _augment(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Vary the look, then standardise as the predictor does."""
    if rng.random() < 0.15:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    if rng.random() < 0.15:
        image = image[torch.from_numpy(rng.permutation(3))]
    if rng.random() < 0.12:
        image = 1 - image
    if rng.random() < 0.4:
        image = image.clamp(0, 1) ** float(np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.2:
        tint = torch.from_numpy(rng.uniform(0.4, 1.0, (3, 1, 1))).float()
        image = image * tint
    if rng.random() < 0.15:
        width = float(rng.uniform(0.5, 1.6))
        image = torch.from_numpy(gaussian_filter(image, (0, width, width), mode="nearest"))
    if rng.random() < 0.3:
        noise = rng.normal(
            0, rng.uniform(0.01, 0.08), (1 if rng.random() < 0.5 else 3, *image.shape[1:])
        )
        image = image + torch.from_numpy(noise).float()
    return torch.from_numpy(standardise(image.permute(1, 2, 0).numpy())).permute(2, 0, 1)


def _with_neighbour(image: Tensor, users: Tensor, rng: np.random.Generator) -> Tensor:
    """Paste a copy of the object, about its own size away, where no user has the object."""
    mask = users.mean(0) > 0.5
    area, size = float(mask.sum()), mask.shape[-1]
    if not 0.002 * size**2 < area < 0.15 * size**2:
        return image
    distance = 2 * np.sqrt(area / np.pi) * rng.uniform(0.8, 1.4)
    angle = rng.uniform(0, 2 * np.pi)
    shift = (round(distance * np.sin(angle)), round(distance * np.cos(angle)))
    copy = image.roll(shift, (1, 2)) * float(rng.uniform(0.85, 1.15))
    place = mask.roll(shift, (0, 1)) & ~(users.amax(0) > 0.5)
    return torch.where(place, copy, image)


def _restyle(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Give a window other values: channels mixed, a random curve, shading, coarser pixels.

    What is seen are the same edges in a look that no training image has, as in style
    randomisation (Xu et al., "Robust and generalizable visual representation learning via random
    convolutions", ICLR 2021).
    """
    if rng.random() < 0.6:
        mix = rng.normal(0, 1, (3, 3)) if rng.random() < 0.5 else rng.normal(0, 0.4, (3, 3)) + 1 / 3
        mix /= np.abs(mix).sum(1, keepdims=True)
        image = torch.einsum("ij,jhw->ihw", torch.from_numpy(mix).float(), image)
        image = image - image.amin((1, 2), keepdim=True)
        image = image / image.amax((1, 2), keepdim=True).clamp_min(1e-3)
    if rng.random() < 0.6:
        knots = np.sort(rng.uniform(0, 1, 6))
        if rng.random() < 0.3:
            knots = knots[::-1]
        if rng.random() < 0.2:  # not monotone: one value of two is brought back
            knots = rng.permutation(knots)
        values = np.interp(image.clamp(0, 1).numpy(), np.linspace(0, 1, 6), knots)
        image = torch.from_numpy(values).float()
    if rng.random() < 0.4:
        field = torch.from_numpy(rng.normal(0, 0.35, (1, 1, 3, 3))).float()
        shade = functional.interpolate(field, image.shape[1:], mode="bicubic", align_corners=True)
        image = image * shade[0].exp()
    if rng.random() < 0.25:
        step = int(rng.integers(2, 4))
        coarse = functional.avg_pool2d(image[None], step)
        image = functional.interpolate(coarse, image.shape[1:], mode="bilinear")[0]
    return image


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
