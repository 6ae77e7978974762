"""Which threads compute on a CPU.

One call of a network that sees few pixels keeps one core busy and not two: its matrices are
too small to share.  So several are made at once, which is faster, and gives the same bits
whatever the number of threads.  NumPy's linear algebra takes one thread meanwhile: OpenBLAS
lets its threads spin for some 100 ms after each product, at the cost of the network and of
the window.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from threadpoolctl import OpenBLASController

    from napari_spa.model.spa import Spa

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

_SMALL, _AT_ONCE = 256, 4
"""Networks that see at most so many pixels a side make at most so many calls at once."""


def side_by_side(spa: Spa, call: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Call a network for each of some items, in order; one after another where that is quicker.

    Parameters
    ----------
    spa : Spa
        The network.
    call : callable
        Uses it, for one item.
    items : iterable
        What to call it for; taken in the caller's thread.

    Yields
    ------
    What the calls return, in the order of the items.
    """
    threads = min(torch.get_num_threads(), _AT_ONCE)
    if threads == 1 or spa.device.type != "cpu" or spa.config.image_size > _SMALL:
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
