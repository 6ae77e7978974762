"""Which weights made something: a model's name, content and head."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_spa.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What tells one model from another.

    Attributes
    ----------
    name : str
        The name it was loaded by.
    sha256 : str
        Hexadecimal digest of the weights file.
    head : str
        ``"latent"``, ``"logit"`` or ``"both"``.
    sampler : str
        ``"mixture"`` or ``"weighted-sum"``.
    latent_dim : int
        Number of latent channels; 0 without a latent head.
    """

    name: str
    sha256: str
    head: str
    sampler: str
    latent_dim: int

    def interchangeable(self, other: ModelIdentity) -> bool:
        """Tell whether what was learnt with one holds for the other.

        Parameters
        ----------
        other : ModelIdentity
            Another model.

        Returns
        -------
        bool
            True when all but the name agrees: a copied file is the same model.
        """
        mine = (self.sha256, self.head, self.sampler, self.latent_dim)
        return mine == (other.sha256, other.head, other.sampler, other.latent_dim)


def file_sha256(path: Path) -> str:
    """Digest a file, once per process unless it changes.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    CheckpointError
        When the file cannot be read.
    """
    try:
        status = path.stat()
        return _digest(path, (status.st_mtime_ns, status.st_size, status.st_ino))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from error


@lru_cache(maxsize=64)
def _digest(path: Path, version: tuple[int, int, int]) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
