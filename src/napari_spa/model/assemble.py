"""Put tensors into a network: exactly the ones it has, or one sentence saying what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from napari_spa.errors import CheckpointError
from napari_spa.model.spa import Spa, SpaConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_SHOWN = 3
_FILLING = frozenset({torch.Tensor.normal_, torch.Tensor.uniform_})


def assemble(config: SpaConfig, state: Mapping[str, Tensor]) -> Spa:
    """Build a network around tensors.

    The network is laid out unfilled and then takes the tensors themselves, so nothing is
    drawn at random and a network of gigabytes is held once.

    Parameters
    ----------
    config : SpaConfig
        The network's shape.
    state : mapping of str to Tensor
        Tensors of any floating type on the CPU; they become float32.

    Returns
    -------
    Spa
        In evaluation mode, float32, no gradients, on the CPU.

    Raises
    ------
    CheckpointError
        When the shape is impossible, when a tensor is missing, left over, of another
        shape or type, or when a weight is not finite.
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
