"""Training sources: objects with the masks of several raters, drawn one at a time."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_spa.core.objects import split_objects
from napari_spa.core.transforms import to_unit_rgb
from napari_spa.datasets import open_folder
from napari_spa.errors import DataError
from napari_spa.train import synthetic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAX_DIAMETER = 96
"""Objects larger than this many pixels are stored reduced: a window never needs more."""

MIN_AREA = 30  # smaller objects of label images, in pixels, are left out

_SUPERPIXELS = 64
_SUPERPIXEL_SIDE = 256

CONTEXT = 10.0  # how many diameters of surroundings a stored object keeps


@dataclass(frozen=True, slots=True)
class RatedObject:
    """One object, its surroundings and what each rater says it is."""

    image: NDArray[np.uint8]  # (H, W, 3)
    masks: NDArray[np.bool_]  # (R, H, W); none is empty
    made_up: bool = False  # whether the masks are a superpixel and not an object


class Source(Protocol):
    """A set of objects that training draws from."""

    def __len__(self) -> int:
        """Return the number of objects."""

    def __getitem__(self, index: int) -> RatedObject:
        """Return one object."""


class SyntheticSource:
    """Procedural objects, made on first use and kept."""

    def __init__(
        self, count: int, *, seed: int = 0, size: int = 192, kind: str | None = None
    ) -> None:
        self.count, self.seed, self.size, self.kind = count, seed, size, kind
        self._made = lru_cache(maxsize=count)(self._make)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> RatedObject:
        return self._made(index)

    def _make(self, index: int) -> RatedObject:
        rng = np.random.default_rng([self.seed, index])
        sample = synthetic.generate(rng, size=self.size, kind=self.kind)
        image = np.clip(sample.image * 255.0, 0, 255).astype(np.uint8)
        return RatedObject(image, sample.masks)


class ObjectSource:
    """Objects that are there already."""

    def __init__(self, items: Sequence[RatedObject]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> RatedObject:
        return self.items[index]


class FolderSource(ObjectSource):
    """The objects of a multi-rater folder."""

    def __init__(self, folder: Path, *, split: str | None = None, objects: bool = False) -> None:
        self.objects = objects
        self.folder = open_folder(folder)
        self.names = self.folder.names(split)
        if not self.names:
            raise DataError(f"{folder} holds no image of the split {split!r}; check split.csv.")
        super().__init__([item for name in self.names for item in self._read(name)])

    def _read(self, name: str) -> list[RatedObject]:
        case = self.folder.read(name)
        rgb = (to_unit_rgb(case.image) * 255).astype(np.uint8)
        targets = split_objects(case.masks) if self.objects else [case.masks]
        marked = [masks[masks.any(axis=(1, 2))] for masks in targets]
        return [cut_object(rgb, masks) for masks in marked if len(masks)]


class LabelSource:
    """Single-rater instance labels as training objects, each image as often as the others.

    Made of pairs of ``(H, W, 3)`` uint8 images and ``(H, W)`` integer labels.
    """

    def __init__(self, pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.generic]]]) -> None:
        self.images: list[NDArray[np.uint8]] = []
        self.labels: list[NDArray[np.generic]] = []
        self._numbers: list[NDArray[np.generic]] = []
        for image, labels in pairs:
            numbers, areas = np.unique(labels, return_counts=True)
            wanted = numbers[(numbers > 0) & (areas >= MIN_AREA)]
            if len(wanted):
                self.images.append(image)
                self.labels.append(labels)
                self._numbers.append(wanted)
        self._most = max((len(numbers) for numbers in self._numbers), default=0)

    def __len__(self) -> int:
        return len(self.images) * self._most

    def __getitem__(self, index: int) -> RatedObject:
        turn, image = divmod(index, len(self.images))
        numbers = self._numbers[image]
        mask = self.labels[image] == numbers[turn % len(numbers)]
        return RatedObject(self.images[image], mask[None])


class SuperpixelSource:
    """Made-up targets: superpixels of the images of other sources (as ScribblePrompt's).

    They teach to follow prompts where no object is known; one click alone cannot tell which of
    them is meant.  Each of the ``(H, W, 3)`` uint8 images is segmented in ``variants`` ways.
    """

    def __init__(self, images: Sequence[NDArray[np.uint8]], *, variants: int = 3) -> None:
        self.images, self.variants = images, variants
        self._cuts: dict[int, tuple[NDArray[np.int16], NDArray[np.int16]]] = {}

    def __len__(self) -> int:
        return len(self.images) * self.variants * _SUPERPIXELS

    def __getitem__(self, index: int) -> RatedObject:
        which, number = divmod(index, _SUPERPIXELS)
        if which not in self._cuts:
            self._cuts[which] = _segment(self.images[which // self.variants], which)
        segments, numbers = self._cuts[which]
        image = self.images[which // self.variants]
        step = _reduction(image)
        mask = segments == numbers[number % len(numbers)]
        return RatedObject(np.ascontiguousarray(image[::step, ::step]), mask[None], made_up=True)

    def prepare(self, processes: int) -> None:
        """Cut all images now, in several processes: workers started later share the result."""
        rest = [n for n in range(len(self.images) * self.variants) if n not in self._cuts]
        images = [self.images[n // self.variants] for n in rest]
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            made = pool.map(_segment, images, rest, chunksize=8)
            self._cuts.update(zip(rest, made, strict=True))


def _segment(image: NDArray[np.uint8], which: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Cut an image into superpixels; return them and the numbers of those not too large."""
    from skimage.segmentation import felzenszwalb

    step = _reduction(image)
    rng = np.random.default_rng([71, which])
    scale = float(np.exp(rng.uniform(np.log(30), np.log(1500))))
    sigma = float(rng.uniform(0.5, 1.5))
    segments = felzenszwalb(image[::step, ::step], scale=scale, sigma=sigma, min_size=40)
    segments = (segments + 1).astype(np.int16)
    numbers, areas = np.unique(segments, return_counts=True)
    fits = areas < 0.5 * segments.size
    return segments, (numbers[fits] if fits.any() else numbers).astype(np.int16)


def _reduction(image: NDArray[np.uint8]) -> int:
    """Return the step that brings an image to about the size superpixels are cut at."""
    height, width = int(image.shape[0]), int(image.shape[1])
    return max(1, max(height, width) // _SUPERPIXEL_SIDE)


def cut_object(image: NDArray[np.uint8], masks: NDArray[np.bool_]) -> RatedObject:
    """Cut an object, (R, H, W) masks of an (H, W, 3) image, with its surroundings.

    It is reduced when it is large.
    """
    union = masks.any(axis=0)
    diameter = 2 * np.sqrt(masks.sum(axis=(1, 2)).mean() / np.pi)
    rows, columns = np.nonzero(union)
    half = int(CONTEXT / 2 * diameter) + 8
    row, column = int(rows.mean()), int(columns.mean())
    cut = (slice(max(row - half, 0), row + half), slice(max(column - half, 0), column + half))
    image, masks = image[cut], masks[:, *cut]
    step = int(diameter // MAX_DIAMETER) + 1
    if step > 1:
        h, w = (side // step * step for side in masks.shape[1:])
        blocks = image[:h, :w].reshape(h // step, step, w // step, step, 3)
        image = blocks.mean(axis=(1, 3)).astype(np.uint8)
        shares = masks[:, :h, :w].reshape(-1, h // step, step, w // step, step).mean(axis=(2, 4))
        masks = shares >= 0.5
    return RatedObject(np.ascontiguousarray(image), np.ascontiguousarray(masks))
