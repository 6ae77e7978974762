"""The labels of a project, plane by plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_spa.io.images.stack_files import StackFile


def planes_of(labels: StackFile) -> Iterator[tuple[tuple[int, ...], NDArray[np.integer]]]:
    """Yield the planes of an image of labels; one at a time is in memory.

    Parameters
    ----------
    labels : StackFile
        From :func:`~napari_spa.io.images.listing.open_image`.

    Yields
    ------
    index : tuple of int
        Positions along the axes before rows and columns.
    plane : ndarray of shape (H, W)
        Its labels.
    """
    stack = labels.levels[0]
    for index in np.ndindex(*stack.shape[:-2]):
        yield index, np.asarray(stack[index])
