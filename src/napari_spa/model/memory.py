"""Go on when a device's memory is short: fewer rows at once, then the CPU.

How much a GPU has free changes while it is used, by other programs too; so nothing is
predicted.  What fails is done again in halves, which are remembered, and a network that
cannot take even one row moves to the CPU, once, in one sentence.
"""

from __future__ import annotations

import warnings
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")
N = TypeVar("N", bound="Network")


class DeviceMemoryWarning(UserWarning):
    """A network moved to the CPU."""


class Network(nn.Module):
    """A network whose methods of :func:`within_memory` go on when memory is short."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name  # what the user is told
        self.precision = torch.float32  # of its computing outside of training; it returns float32
        self.most_rows: dict[str, int] = {}  # by method, the rows that fit where all did not

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device


def within_memory(method: Callable[Concatenate[N, P], T]) -> Callable[Concatenate[N, P], T]:
    """Let a method of a network in evaluation go on when its device is out of memory.

    Its tensors, and named tuples of tensors, have one row, or as many as the longest of
    them; rows do not depend on each other.  They are brought to the network's device, and
    computed in its precision.
    """

    @wraps(method)
    def run(network: N, /, *args: P.args, **options: P.kwargs) -> T:
        if network.training:
            return method(network, *args, **options)
        given = (args, options)
        rows = _rows(given)
        most = network.most_rows.get(method.__name__, rows)
        if rows > most:
            parts = [_part(given, rows, low, low + most) for low in range(0, rows, most)]
            return cast("T", _joined([run(network, *some, **more) for some, more in parts]))
        try:
            return _computed(method, network, given)
        except torch.cuda.OutOfMemoryError:
            pass  # outside of this block the failed call's tensors are released
        if rows > 1:
            network.most_rows[method.__name__] = rows // 2
        elif on_accelerator(network):
            _move_to_cpu(network)
        else:
            raise MemoryError("one row of the network does not fit into memory")
        return run(network, *args, **options)

    return run


def on_accelerator(network: Network) -> bool:
    """Return whether a network computes elsewhere than on the CPU."""
    return network.device.type != "cpu"


def _computed(method: Callable[..., T], network: Network, given: tuple[Any, Any]) -> T:
    device = network.device
    args, options = _each(lambda tensor: tensor.to(device), given)
    if network.precision == torch.float32:
        return method(network, *args, **options)
    with torch.autocast(device.type, network.precision):
        result = method(network, *args, **options)
    return cast("T", _each(lambda tensor: tensor.float(), result))


def _move_to_cpu(network: Network) -> None:
    name, device = network.name, network.device
    with torch.inference_mode(mode=False):  # its weights may be trained later
        network.to("cpu")
    network.most_rows.clear()
    network.precision = torch.float32
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    warnings.warn(
        f"{name} does not fit into the memory of {device} and goes on on the CPU, which is slower; "
        "close other programs that use the GPU, or take a smaller model.",
        DeviceMemoryWarning,
        stacklevel=4,
    )


# -- rows of nested arguments -------------------------------------------------------------


def _each(function: Callable[[Tensor], Tensor], value: Any) -> Any:  # noqa: ANN401  any nesting
    """Apply a function to every tensor in nested tuples and dictionaries."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {name: _each(function, part) for name, part in value.items()}
    if isinstance(value, tuple):
        parts = [_each(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _rows(value: Any) -> int:  # noqa: ANN401
    most = 1

    def count(tensor: Tensor) -> Tensor:
        nonlocal most
        most = max(most, len(tensor))
        return tensor

    _each(count, value)
    return most


def _part(value: Any, rows: int, low: int, high: int) -> Any:  # noqa: ANN401
    return _each(lambda tensor: tensor[low:high] if len(tensor) == rows else tensor, value)


def _joined(parts: list[Any]) -> Any:  # noqa: ANN401
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([part.to(parts[-1].device) for part in parts])
    if isinstance(first, tuple):
        rows = [_joined(list(some)) for some in zip(*parts, strict=True)]
        return type(first)(*rows) if hasattr(first, "_fields") else tuple(rows)
    return first
