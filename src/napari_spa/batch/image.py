"""The image of a task, open; whatever fails while it is read is one sentence."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.plane import Plane
from napari_spa.errors import InputError, SpaError
from napari_spa.refine.log.journal import ImageFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_spa.batch.task import BatchTask
    from napari_spa.io.images.open import ImageInfo

# What readers raise while they read a damaged file piece by piece.
_FAULTS = (
    OSError,
    ValueError,
    ArithmeticError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True, eq=False)
class OpenedImage:
    """An image or stack that is read plane by plane.

    Attributes
    ----------
    name : str
        Of the task.
    levels : tuple of array-like
        Full resolution first; of the logical axes, and perhaps colours after them.
    info : ImageInfo
        For writing labels.
    """

    name: str
    levels: tuple[Any, ...]
    info: ImageInfo

    @classmethod
    def open(cls, task: BatchTask) -> OpenedImage:
        """Open the image of a task.

        Parameters
        ----------
        task : BatchTask
            The image.

        Returns
        -------
        OpenedImage

        Raises
        ------
        InputError
            When it cannot be read.
        """
        from napari_spa.io.images.listing import open_image

        image = open_image(task.path)
        levels = tuple(
            level if isinstance(level, np.ndarray) else _Guarded(level, task.name)
            for level in image.levels
        )
        return cls(task.name, levels, image.info)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent along each axis, colours left out."""
        return tuple(int(n) for n in self.levels[0].shape[: len(self.info.axes)])

    @property
    def facts(self) -> ImageFacts:
        """What a log says of it; its place on this machine is no part of the results."""
        dtype = str(np.dtype(self.levels[0].dtype))
        return ImageFacts(self.name, self.shape, dtype, self.name)

    def plane(self, index: tuple[int, ...]) -> Plane:
        """Return the plane of a slice.

        Parameters
        ----------
        index : tuple of int
            One number for each axis before rows and columns; nothing, where there is
            nothing to choose.

        Returns
        -------
        Plane

        Raises
        ------
        InputError
            When there is no such slice.
        """
        sizes = self.shape[:-2]
        if not sizes and index == (0,):
            index = ()
        if not index and all(size == 1 for size in sizes):
            index = (0,) * len(sizes)
        if len(index) != len(sizes):
            raise InputError(_slice_sentence(sizes, index))
        for position, size in zip(index, sizes, strict=True):
            if not 0 <= position < size:
                raise InputError(f"there is no slice {position}; there are 0 to {size - 1}.")
        return Plane((len(sizes), len(sizes) + 1), (*index, 0, 0))

    def planes(self) -> Iterator[Plane]:
        """Go through all planes in order."""
        for index in np.ndindex(*self.shape[:-2]):
            yield self.plane(tuple(int(i) for i in index))


def _slice_sentence(sizes: tuple[int, ...], index: tuple[int, ...]) -> str:
    if not sizes:
        return "the image is no stack; leave the slice out."
    extent = " x ".join(map(str, sizes))
    example = ",".join(str(size // 2) for size in sizes)
    if not index:
        return f"the image is a stack of {extent} slices; say which one, as slice {example}."
    return f"the image is a stack of {extent} slices; a slice is {len(sizes)} numbers: {example}."


class _Guarded:
    """An array that is read as it is asked for, with its faults as sentences."""

    def __init__(self, array: Any, name: str) -> None:  # noqa: ANN401  any lazy array
        self._array, self._name = array, name
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401  as of arrays
        try:
            return np.asarray(self._array[index])
        except SpaError:
            raise
        except _FAULTS as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
            raise InputError(f"{self._name} cannot be read: {reason}.") from error
