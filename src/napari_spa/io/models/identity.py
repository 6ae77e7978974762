"""What identifies a model's numbers: the digest of its files, and the device."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from napari_spa.errors import CheckpointError, DeviceError
from napari_spa.io.files import explained

if TYPE_CHECKING:
    from pathlib import Path

    import torch


_NAMES = re.compile(r"auto|cpu|mps|cuda(?::(\d{1,4}))?")


def resolve_device(device: str) -> torch.device:
    """Turn a device's name into a device of this machine."""
    import torch

    found = _NAMES.fullmatch(str(device).strip().lower())
    if found is None:
        raise DeviceError(f"unknown device {device!r}; use auto, cpu, cuda, cuda:N or mps.")
    name = found[0]
    if name == "auto":
        name = _best()
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(
                f"PyTorch finds no CUDA device here, so {name!r} cannot be used; "
                "use device 'cpu' or 'auto', or install a CUDA build of PyTorch."
            )
        if int(found[1] or 0) >= count:
            raise DeviceError(
                f"there is no {name!r} here; the last CUDA device is 'cuda:{count - 1}'."
            )
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("this machine has no 'mps' device; use device 'cpu' or 'auto'.")
    return torch.device(name)


def device_in_turn(device: str, process: int) -> torch.device:
    """Give each of several processes a device, where a name leaves open which."""
    import torch

    found = resolve_device(device)
    if found.type == "cuda" and found.index is None:
        return torch.device("cuda", process % torch.cuda.device_count())
    return found


def _best() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What tells one model from another."""

    name: str  # the name it was loaded by
    sha256: str  # hexadecimal digest of the weights file
    head: str  # ``"latent"``, ``"logit"`` or ``"both"``
    sampler: str  # ``"mixture"`` or ``"weighted-sum"``
    latent_dim: int  # number of latent channels; 0 without a latent head

    def interchangeable(self, other: ModelIdentity) -> bool:
        """Tell whether what was learnt with one holds for the other."""
        mine = (self.sha256, self.head, self.sampler, self.latent_dim)
        return mine == (other.sha256, other.head, other.sampler, other.latent_dim)


def weights_sha256(path: Path) -> str:
    """Digest a weights file, once per process unless it changes."""
    return file_digest(path, "sha256")


def file_digest(path: Path, kind: str) -> str:
    """Digest a file by ``sha256``, ``md5`` or ``xxh128``, once per process unless it changes."""
    with explained("read", path, CheckpointError):
        status = path.stat()
        return _digest(path, kind, (status.st_mtime_ns, status.st_size, status.st_ino))


@lru_cache(maxsize=64)
def _digest(path: Path, kind: str, version: tuple[int, int, int]) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, partial(_hasher, kind)).hexdigest()


def _hasher(kind: str) -> Any:  # noqa: ANN401  the two libraries share no type
    if kind == "xxh128":
        import xxhash

        return xxhash.xxh128()
    return hashlib.new(kind, usedforsecurity=False)
