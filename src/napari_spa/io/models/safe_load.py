"""Read a weights file without running anything that is in it.

Two formats are read: safetensors, which cannot hold code, and what ``torch.save`` writes,
through PyTorch's restricted unpickler (``weights_only=True``).  NumPy arrays inside the
latter become our own plain stand-ins: NumPy's functions for restoring arrays trust the
file with memory layouts, so they stay locked out.
"""

from __future__ import annotations

import pickle
import re
import struct
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_PICKLE_FAULTS = (
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)
_UNSAFE = re.compile(
    "not an allowed global|is blocked|TorchScript|unrecognized function|Can only (create|build)|"
    "must be imported to load"
)
_NUMBERS = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])
_LOCK = threading.Lock()  # PyTorch keeps its list of allowed globals for the whole process


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """What a weights file holds."""

    # Tensors by name, or whatever mapping was saved; arrays are ``StoredArray``.
    content: Mapping[str, object]
    # The text beside the tensors of a safetensors file.
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_weights_file(path: Path) -> WeightsFile:
    """Read a weights file."""
    start = _first_bytes(path)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(path)
    if not start.startswith((b"PK\x03\x04", b"\x80")):
        raise CheckpointError(
            f"{path} is no weights file; give a .safetensors file or one written by torch.save."
        )
    return _read_torch(path)


def _first_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            reason = "is a folder; give the file" if path.is_dir() else "does not exist"
            raise CheckpointError(f"the weights file {path} {reason}.")
        with path.open("rb") as stream:
            start = stream.read(16)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from error
    if not start:
        raise CheckpointError(f"the weights file {path} is empty; download or copy it again.")
    return start


def _read_safetensors(path: Path) -> WeightsFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            # Copied, because a mapped file that is replaced later would end the process.
            tensors = {name: stream.get_tensor(name).clone() for name in stream.keys()}  # noqa: SIM118
            return WeightsFile(tensors, stream.metadata() or {})
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is a damaged or half-written safetensors file ({_first_line(error)}); "
            "download or copy it again."
        ) from error


def _read_torch(path: Path) -> WeightsFile:
    import torch

    try:
        with warnings.catch_warnings(), _array_stand_ins():
            warnings.simplefilter("ignore")  # about old formats; what matters is raised
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _PICKLE_FAULTS as error:
        raise CheckpointError(_torch_fault(path, str(error))) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no tensors by name; save a state dict instead.")
    return WeightsFile({str(name): value for name, value in content.items()})


def _torch_fault(path: Path, message: str) -> str:
    if _UNSAFE.search(message):
        return (
            f"{path} holds code besides numbers and was not read, because reading it would run "
            "that code; save the network's state_dict() alone, or as safetensors."
        )
    return f"{path} is damaged, cut off or not written by torch.save; download or copy it again."


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class StoredArray:
    """Stands in for ``numpy.ndarray`` while a file is read."""

    values: NDArray[np.generic] = np.zeros(0)  # the stored numbers

    def __init__(self, *_: object) -> None:
        """Ignore what NumPy would make an empty array of."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], StoredType, bool, bytes]) -> None:
        _, shape, kind, by_columns, raw = state
        flat = np.frombuffer(raw, dtype=kind.dtype())
        self.values = flat.reshape(shape, order="F" if by_columns else "C").copy()


class StoredType:
    """Stands in for ``numpy.dtype``; plain numbers only."""

    order = "="

    def __init__(self, code: str = "", *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.order = str(state[1])

    def dtype(self) -> np.dtype[np.generic]:
        """Return the type of numbers it stands for."""
        if self.code not in _NUMBERS or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"arrays of {self.code} are not read")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class _StoredScalar:
    def __new__(cls, kind: StoredType, raw: bytes) -> object:  # type: ignore[misc]
        return np.frombuffer(raw, dtype=kind.dtype())[0].item()


class _NoBytes:
    def __new__(cls) -> bytes:  # type: ignore[misc]  # how an empty array's content is written
        return b""


@contextmanager
def _array_stand_ins() -> Iterator[None]:
    import torch

    add, listed = torch.serialization.add_safe_globals, torch.serialization.get_safe_globals
    stand_ins = _named_stand_ins()
    with _LOCK:
        before = listed()
        add(stand_ins)
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            add(before)


def _named_stand_ins() -> list[Any]:
    # PyTorch finds an allowed class by the module and name it says it has.  NumPy 1 and 2
    # write different modules.
    named: list[tuple[str, str, type]] = [
        ("numpy", "ndarray", StoredArray),
        ("numpy", "dtype", StoredType),
        ("builtins", "bytes", _NoBytes),
    ]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        named += [(module, "_reconstruct", StoredArray), (module, "scalar", _StoredScalar)]
    return [type(name, (base,), {"__module__": module}) for module, name, base in named]
