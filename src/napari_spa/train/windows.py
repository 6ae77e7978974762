"""Draw a training window: a random field of view on one object, augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_spa.core.transforms import standardise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.train.data import RatedObject


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """How fields of view are drawn.

    Attributes
    ----------
    size : int
        Side of the window in model pixels.
    targets : int
        Number of user masks drawn per window.
    near : (float, float)
        Window side in object diameters, log-uniform, for most windows.
    far : (float, float)
        The same for the share ``far_share`` of windows, which teach the quality head
        what a wrong field of view looks like.
    far_share : float
        Share of the latter.
    """

    size: int = 128
    targets: int = 4
    near: tuple[float, float] = (1.4, 5.0)
    far: tuple[float, float] = (0.5, 12.0)
    far_share: float = 0.25


@dataclass(frozen=True, slots=True)
class Window:
    """One training example.

    Attributes
    ----------
    pixels : Tensor
        ``(3, S, S)`` float32, standardised.
    targets : Tensor
        ``(R, S / 2, S / 2)`` float32 in [0, 1]: each user's mask as the covered share
        of each logit's pixel.
    point : Tensor
        ``(2,)`` float32, the first click as (x, y) in model pixels.
    visible : Tensor
        Scalar float32, the share of the object that lies in the window.
    """

    pixels: Tensor
    targets: Tensor
    point: Tensor
    visible: Tensor


def draw_window(item: RatedObject, config: WindowConfig, rng: np.random.Generator) -> Window:
    """Draw one augmented window on an object.

    Parameters
    ----------
    item : RatedObject
        The object and its surroundings.
    config : WindowConfig
        Size and zoom.
    rng : numpy Generator
        All randomness.

    Returns
    -------
    Window
    """
    grid, zoom, agreed = _draw_grid(item, config, rng)
    users = draw_users(item.masks, config.targets, rng)
    channels = np.moveaxis(item.image, -1, 0)
    image = _sample(channels, grid, zoom, "border" if rng.random() < 0.7 else "reflection") / 255
    masks = _sample(np.concatenate([users, agreed[None]]), grid, zoom, "zeros")
    point = _draw_point(masks[-1].numpy(), masks[:-1].mean(0).numpy(), rng)
    targets = functional.avg_pool2d(masks[:-1], 2)
    area = users.sum(axis=(1, 2)).mean() / zoom**2
    visible = torch.tensor(min(1.0, float(masks[:-1].sum((1, 2)).mean()) / max(area, 1.0)))
    return Window(_augment(image, rng), targets, torch.from_numpy(point), visible)


def draw_users(masks: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw users: single raters, and thresholded random combinations (paper 3.5).

    Parameters
    ----------
    masks : ndarray of shape (R, H, W)
        bool, one per rater.
    count : int
        Number of users.
    rng : numpy Generator
        All randomness.

    Returns
    -------
    ndarray of shape (count, H, W)
        bool, none empty.
    """
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


def _draw_grid(
    item: RatedObject, config: WindowConfig, rng: np.random.Generator
) -> tuple[Tensor, float, NDArray[np.bool_]]:
    """Draw a rotated, flipped, shifted square; return its grid, zoom and the agreed area."""
    height, width = item.masks.shape[1:]
    agreed: NDArray[np.bool_] = np.asarray(item.masks.all(axis=0))
    if not agreed.any():
        votes = item.masks.sum(axis=0)
        agreed = votes == votes.max()
    diameter = 2 * np.sqrt(item.masks.sum(axis=(1, 2)).mean() / np.pi)
    low, high = config.far if rng.random() < config.far_share else config.near
    side = max(diameter * np.exp(rng.uniform(np.log(low), np.log(high))), 12.0)
    union = np.argwhere(item.masks.any(axis=0))
    middle = (union.min(axis=0) + union.max(axis=0)) / 2
    click = union[rng.integers(len(union))] if rng.random() < 0.4 else middle
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
    flip = rng.choice([-1.0, 1.0])
    cos, sin = np.cos(angle) * side / 2, np.sin(angle) * side / 2
    steps = (torch.arange(config.size, dtype=torch.float32) + 0.5) / config.size * 2 - 1
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    x = centre[1] + flip * (cos * u - sin * v)
    y = centre[0] + sin * u + cos * v
    return torch.stack([x, y], dim=-1).float(), float(side / config.size), agreed


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
    inside = np.argwhere(agreed > 0.5)
    if not len(inside):
        inside = np.argwhere(mean >= max(mean.max() - 1e-6, 1e-3))
    if not len(inside):
        inside = np.argwhere(np.ones_like(mean))
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
        image = _blur(image, width)
    if rng.random() < 0.3:
        noise = rng.normal(
            0, rng.uniform(0.01, 0.08), (1 if rng.random() < 0.5 else 3, *image.shape[1:])
        )
        image = image + torch.from_numpy(noise).float()
    return torch.from_numpy(standardise(image.permute(1, 2, 0).numpy())).permute(2, 0, 1)


def _blur(image: Tensor, width: float) -> Tensor:
    steps = torch.arange(-3, 4, dtype=torch.float32)
    kernel = torch.exp(-(steps**2) / (2 * width**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(image[:, None], (3, 3, 3, 3), mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, 7, 1))
    return functional.conv2d(rows, kernel.view(1, 1, 1, 7))[:, 0]
