"""Digests of what goes into an image's results, and of what comes out."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_spa.batch.task import BatchTask


def input_digest(task: BatchTask) -> str:
    """Digest an image's file or files, prompts and rough mask; its name and place do not count.

    Parameters
    ----------
    task : BatchTask
        The image.

    Returns
    -------
    str
        64 hexadecimal digits, SHA-256.

    Raises
    ------
    InputError
        When a file cannot be read.
    """
    whole = hashlib.sha256()
    for path in (task.path, *(() if task.mask is None else (task.mask,))):
        for name, digest in _contents(path):
            whole.update(f"{name}\0{digest}\n".encode())
        whole.update(b"\n")
    for prompt in task.prompts:
        whole.update(repr((prompt.number, prompt.points, prompt.labels, prompt.index)).encode())
    return whole.hexdigest()


def file_digest(path: Path) -> str:
    """Digest one file.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    str
        64 hexadecimal digits, SHA-256.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error


def _contents(path: Path) -> Iterator[tuple[str, str]]:
    """Go through the files of an image: its own, or all of its folder or series, in order."""
    from napari_spa.io.images.listing import image_parts

    for part in image_parts(path):
        if part == path:
            yield "", file_digest(part)
        else:
            name = part.relative_to(path).as_posix() if path in part.parents else part.name
            yield name, file_digest(part)
