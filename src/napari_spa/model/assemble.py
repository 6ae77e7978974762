"""Put tensors into a network: exactly the ones it has, or one sentence saying what differs.

What depends on position is resized first where another input size is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_spa.errors import CheckpointError, InputError
from napari_spa.model.spa import Spa, SpaConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
_SHOWN = 3
_FILLING = frozenset({torch.Tensor.normal_, torch.Tensor.uniform_})


def assemble(config: SpaConfig, state: Mapping[str, Tensor]) -> Spa:
    """Build a network around tensors: in evaluation mode, float32, without gradients, on the CPU.

    The network is laid out unfilled and then takes the tensors themselves, so nothing is
    drawn at random and a network of gigabytes is held once.  ``CheckpointError`` when the shape is
    impossible, when a tensor is missing, left over, of another shape or type, or not finite.
    """
    try:
        with _Unfilled():
            spa = Spa(config)
    except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"its configuration describes no network ({error})") from error
    expected = spa.state_dict()
    _compare(expected, state)
    ready = {name: _usable(name, state[name]) for name in expected}
    spa.load_state_dict(ready, strict=True, assign=True)
    return spa.requires_grad_(requires_grad=False).eval()


class _Unfilled(TorchFunctionMode):
    """Leave new tensors unfilled: no time, no random numbers, no memory until it is used.

    (The meta device would do the same, but imports a compiler, which takes a second.)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  whatever the intercepted function returns
        named = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **named)
        if func in _FILLING or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def _compare(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    common = expected.keys() & found.keys()
    faults = [
        ("lacks", sorted(expected.keys() - found.keys())),
        ("has unknown", sorted(found.keys() - expected.keys())),
        ("differs in shape in", sorted(n for n in common if not _fits(expected[n], found[n]))),
    ]
    sentences = [f"{verb} {_shorten(names)}" for verb, names in faults if names]
    if sentences:
        raise CheckpointError(f"it is of another network: it {', '.join(sentences)}")


def _fits(expected: Tensor, found: Tensor) -> bool:
    strided = not found.is_nested and found.layout == torch.strided and not found.is_meta
    return strided and found.is_floating_point() and found.shape == expected.shape


def _shorten(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _usable(name: str, tensor: Tensor) -> Tensor:
    value = tensor.detach().to(torch.float32).contiguous()
    if not bool(torch.isfinite(value).all()):
        raise CheckpointError(f"it holds numbers that are not finite (in {name})")
    return value


_LARGEST = 4096


def at_image_size(
    config: SpaConfig, state: Mapping[str, Tensor], image_size: int
) -> tuple[SpaConfig, dict[str, Tensor]]:
    """Adapt weights to another side of the square input, in pixels; unchanged tensors are shared.

    Absolute positions are resized bicubically, the relative positions of global
    attention blocks linearly.  Relative positions that a checkpoint keeps at another
    length than its grid needs are brought to it as well, which SAM itself does again at
    every image.  ``InputError`` when the network cannot have this size.
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
