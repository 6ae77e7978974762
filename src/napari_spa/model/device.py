"""How a network runs on its device: calls side by side on a CPU, fewer rows where memory is short.

How much a GPU has free changes while it is used, by other programs too; so nothing is
predicted.  What fails is done again in halves, which are remembered, and a network that
cannot take even one row moves to the CPU, once, in one sentence.

On a CPU one call of a network that sees few pixels keeps one core busy and not two: its
matrices are too small to share.  So several are made at once, which is faster, and gives the
same bits whatever the number of threads.  NumPy's linear algebra takes one thread meanwhile:
OpenBLAS lets its threads spin for some 100 ms after each product, at the cost of the network
and of the window.
"""

from __future__ import annotations

import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from threadpoolctl import OpenBLASController


P = ParamSpec("P")
T = TypeVar("T")
N = TypeVar("N", bound="Network")
R = TypeVar("R")


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
    args, options = each_tensor(lambda tensor: tensor.to(device), given)
    if network.precision == torch.float32:
        return method(network, *args, **options)
    with torch.autocast(device.type, network.precision):
        result = method(network, *args, **options)
    return cast("T", each_tensor(lambda tensor: tensor.float(), result))


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


def each_tensor(function: Callable[[Tensor], Tensor], value: Any) -> Any:  # noqa: ANN401  any nesting
    """Apply a function to every tensor in nested tuples and dictionaries."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {name: each_tensor(function, part) for name, part in value.items()}
    if isinstance(value, tuple):
        parts = [each_tensor(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _rows(value: Any) -> int:  # noqa: ANN401
    most = 1

    def count(tensor: Tensor) -> Tensor:
        nonlocal most
        most = max(most, len(tensor))
        return tensor

    each_tensor(count, value)
    return most


def _part(value: Any, rows: int, low: int, high: int) -> Any:  # noqa: ANN401
    return each_tensor(lambda tensor: tensor[low:high] if len(tensor) == rows else tensor, value)


def _joined(parts: list[Any]) -> Any:  # noqa: ANN401
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([part.to(parts[-1].device) for part in parts])
    if isinstance(first, tuple):
        rows = [_joined(list(some)) for some in zip(*parts, strict=True)]
        return type(first)(*rows) if hasattr(first, "_fields") else tuple(rows)
    return first


_SMALL, _AT_ONCE = 256, 4
"""Networks that see at most so many pixels a side make at most so many calls at once."""


def side_by_side(
    network: Network, side: int, call: Callable[[T], R], items: Iterable[T]
) -> Iterator[R]:
    """Call a network that sees so many pixels a side for each of some items, in order.

    Items are taken in the caller's thread, and one after another where that is quicker.
    """
    threads = min(torch.get_num_threads(), _AT_ONCE)
    if threads == 1 or network.device.type != "cpu" or side > _SMALL:
        return map(call, items)
    return _workers(threads).map(call, items)


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    """Return threads in each of which PyTorch computes alone."""
    before = torch.get_num_threads()
    started = threading.Barrier(count)

    def alone() -> None:
        torch.get_num_threads()  # PyTorch sets up a thread at its first question
        torch.set_num_threads(1)
        started.wait()

    workers = ThreadPoolExecutor(count, "network", alone)
    for _ in workers.map(lambda _: None, range(count)):
        pass
    torch.set_num_threads(before)  # what threads that are to come start with
    return workers


if hasattr(os, "register_at_fork"):  # not on Windows; a fork takes no threads along
    os.register_at_fork(after_in_child=_workers.cache_clear)


class _OneThread:
    """While anyone is in it, OpenBLAS takes one thread, in all of the process."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._usual: dict[str, int] = {}

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._usual = {library.filepath: library.num_threads for library in _openblas()}
                self._limit(dict.fromkeys(self._usual, 1))

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit(self._usual)

    @staticmethod
    def _limit(threads: Mapping[str, int]) -> None:
        for library in _openblas():
            library.clear_controlling_thread(force=True)  # the first in need not be the last
            library.set_num_threads(threads[library.filepath])
            library.clear_controlling_thread()


@cache
def _openblas() -> Sequence[OpenBLASController]:
    """Return the OpenBLAS libraries of the process; PyTorch may share MKL, whose threads sleep."""
    from threadpoolctl import ThreadpoolController

    libraries = ThreadpoolController().select(internal_api="openblas").lib_controllers
    return [library for library in libraries if library.threading_layer != "openmp"]


_one_thread = _OneThread()


def computing(method: Callable[P, R]) -> Callable[P, R]:
    """Let a method compute: without gradients, and with one thread for linear algebra."""

    @wraps(method)
    def run(*args: P.args, **options: P.kwargs) -> R:
        with torch.inference_mode(), _one_thread:
            return method(*args, **options)

    return run
