"""Another input size for the same weights: resize what depends on position."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_spa.model.spa import SpaConfig

_LARGEST = 4096


def at_image_size(
    config: SpaConfig, state: Mapping[str, Tensor], image_size: int
) -> tuple[SpaConfig, dict[str, Tensor]]:
    """Adapt weights to another side of the square input.

    Absolute positions are resized bicubically, the relative positions of global
    attention blocks linearly.  Relative positions that a checkpoint keeps at another
    length than its grid needs are brought to it as well, which SAM itself does again at
    every image.

    Parameters
    ----------
    config : SpaConfig
        Of the weights as they are.
    state : mapping of str to Tensor
        The weights.
    image_size : int
        Side S in pixels.

    Returns
    -------
    config : SpaConfig
        With the new size.
    state : dict
        The adapted weights; unchanged tensors are shared.

    Raises
    ------
    InputError
        When the network cannot have this size.
    """
    stride = {"conv": 8, "efficientnet": 32, "vit": 16, "tiny-vit": 16, "hiera": 32}[config.encoder]
    if type(image_size) is not int or image_size % stride or not stride < image_size <= _LARGEST:
        raise InputError(
            f"image_size must be a multiple of {stride} from {2 * stride} to {_LARGEST}, "
            f"not {image_size}."
        )
    new = replace(config, image_size=image_size)
    adapted = dict(state)
    if config.encoder in ("tiny-vit", "hiera"):
        return new, adapted  # theirs are within a window, or resized at every image
    if config.encoder != "vit":
        _resize_sequence(adapted, "image_encoder.position", config.grid, new.grid)
        return new, adapted
    _resize_map(adapted, "image_encoder.pos_embed", new.grid)
    for block in config.vit_global:
        for axis in ("h", "w"):
            _resize_relative(adapted, f"image_encoder.blocks.{block}.attn.rel_pos_{axis}", new.grid)
    return new, adapted


def _resize_map(state: dict[str, Tensor], name: str, grid: int) -> None:
    position = state.get(name)  # (1, g, g, C); a missing one is reported when assembled
    if position is None or position.ndim != 4 or position.shape[1] == grid:
        return
    state[name] = _bicubic(position.permute(0, 3, 1, 2), grid).permute(0, 2, 3, 1)


def _resize_sequence(state: dict[str, Tensor], name: str, old: int, grid: int) -> None:
    position = state.get(name)  # (1, g * g, C)
    if position is None or position.ndim != 3 or position.shape[1] != old * old or old == grid:
        return
    square = position.transpose(1, 2).reshape(1, -1, old, old)
    state[name] = _bicubic(square, grid).flatten(2).transpose(1, 2)


def _bicubic(position: Tensor, grid: int) -> Tensor:
    return nn.functional.interpolate(
        position.float(), size=(grid, grid), mode="bicubic", align_corners=False
    )


def _resize_relative(state: dict[str, Tensor], name: str, grid: int) -> None:
    table = state.get(name)  # (2 g - 1, C / heads)
    if table is None or table.ndim != 2 or len(table) == 2 * grid - 1:
        return
    resized = nn.functional.interpolate(table.float().T[None], size=2 * grid - 1, mode="linear")
    state[name] = resized[0].T
