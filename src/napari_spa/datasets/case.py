"""One case of a multi-rater data set, and what every layout on disk must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_spa.errors import DataError
from napari_spa.io.images.open import read_image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image and what each rater marked on it.

    Attributes
    ----------
    name : str
        Of the case, unique in its folder.
    image : ndarray of shape (H, W) or (H, W, C)
        As stored.
    masks : ndarray of shape (R, H, W)
        bool, one per rater, any of them possibly empty.
    raters : tuple of str
        R names in the order of the masks.
    """

    name: str
    image: NDArray[np.generic]
    masks: BoolArray
    raters: tuple[str, ...]


class CaseFolder(Protocol):
    """A multi-rater data set on disk."""

    def names(self, split: str | None = None) -> list[str]:
        """Return the sorted names of the cases of a split, or of all."""
        ...

    def read(self, name: str) -> Case:
        """Read one case."""
        ...


def read_mask(path: Path, *, half: bool = False) -> BoolArray:
    """Read one rater's mask.

    Parameters
    ----------
    path : Path
        An image; colour channels are joined, alpha is left out.
    half : bool
        The target is what reaches half of 255, instead of all that is not zero: for
        masks stored as JPEG, whose edges ring.

    Returns
    -------
    ndarray of shape (H, W)
        bool.
    """
    values = read_image(path)[0].astype(np.float64)
    if values.ndim == 3:
        colours = 1 if values.shape[-1] == 2 else 3
        values = values[..., :colours].max(axis=-1)
    return np.asarray(values >= 128 if half else values > 0)


def assemble(name: str, image: NDArray[np.generic], masks: Mapping[str, BoolArray]) -> Case:
    """Put a case together and check that its parts fit.

    Parameters
    ----------
    name : str
        Of the case.
    image : ndarray of shape (H, W) or (H, W, C)
        As stored.
    masks : mapping of str to ndarray of shape (H, W)
        bool, by rater.

    Returns
    -------
    Case

    Raises
    ------
    DataError
        When there is no mask or one has another size than the image.
    """
    if not masks:
        raise DataError(f"no rater marked {name}; each image needs at least one mask.")
    for rater, mask in masks.items():
        if mask.shape != image.shape[:2]:
            raise DataError(
                f"the mask of {rater} for {name} has {mask.shape} pixels, "
                f"its image {image.shape[:2]}."
            )
    return Case(name, image, np.stack(list(masks.values())), tuple(masks))
