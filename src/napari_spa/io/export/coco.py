"""COCO: all objects of all images in one JSON file, masks as run lengths."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.io.projects.classes import ObjectNote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray


class CocoWriter:
    """Collect images and their objects."""

    def __init__(self, title: str, classes: Sequence[str] = ()) -> None:
        self._title = title
        self._categories = {name: number for number, name in enumerate(classes, start=1)}
        # What is of no class; the first category where there are no classes.
        self._categories[""] = len(classes) + 1
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        index: tuple[int, ...],
        labels: NDArray[np.integer],
        notes: Mapping[int, ObjectNote] = MappingProxyType({}),
    ) -> None:
        """Add a plane with its objects.

        Parameters
        ----------
        name : str
            Of the image file.
        index : tuple of int
            The slice of a stack; empty for an image.
        labels : ndarray of shape (H, W)
            0 is background, other numbers are objects.
        notes : mapping of int to ObjectNote
            What was said of them.
        """
        number = len(self._images) + 1
        height, width = labels.shape
        image: dict[str, Any] = {
            "id": number,
            "file_name": name,
            "height": height,
            "width": width,
        }
        if index:
            image["slice"] = list(index)
        self._images.append(image)
        for label, top, left, mask in objects_of(labels):
            rows, columns = mask.shape
            note = notes.get(label, ObjectNote())
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": self._categories[note.class_name],
                    "object": label,
                    **({"name": note.name} if note.name else {}),
                    "bbox": [left, top, columns, rows],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {
                        "size": [height, width],
                        "counts": _run_lengths(mask, top, left, (height, width)),
                    },
                }
            )

    def content(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {
            "info": {"description": self._title},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [
                {"id": number, "name": name or "object", "supercategory": ""}
                for name, number in self._categories.items()
            ],
        }


def objects_of(
    labels: NDArray[np.integer],
) -> Iterator[tuple[int, int, int, NDArray[np.bool_]]]:
    """Yield label, first row, first column and mask within its box of each object."""
    from skimage.measure import regionprops
    from skimage.segmentation import relabel_sequential

    # In its stead small numbers: regionprops takes memory for every number up to the largest.
    small, _, original = relabel_sequential(labels)
    for found in regionprops(small):
        yield int(original[found.label]), int(found.bbox[0]), int(found.bbox[1]), found.image


def _run_lengths(mask: NDArray[np.bool_], top: int, left: int, shape: tuple[int, int]) -> list[int]:
    """Return lengths of runs of 0, 1, 0, ... down the columns of the whole plane."""
    height, width = shape
    rows, columns = np.nonzero(mask)
    places = np.sort((columns.astype(np.int64) + left) * height + rows + top)
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts = places[np.concatenate([[0], breaks + 1])]
    ends = places[np.concatenate([breaks, [len(places) - 1]])] + 1
    edges = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [height * width]])
    counts: list[int] = np.diff(edges).tolist()
    return counts[:-1] if counts[-1] == 0 else counts
