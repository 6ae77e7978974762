"""Training sources: objects with several raters' masks, drawn one at a time; one packed file."""

from __future__ import annotations

import io
import json
import zipfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image
from skimage.segmentation import relabel_sequential

from napari_spa.core.objects import split_objects
from napari_spa.core.transforms import to_unit_rgb
from napari_spa.datasets import open_folder
from napari_spa.errors import DataError, InputError
from napari_spa.io.files import atomic_path
from napari_spa.train import synthetic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
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


def to_rgb8(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Bring a whole image to (H, W, 3) of 0 to 255."""
    return (to_unit_rgb(image) * 255).astype(np.uint8)


def numbers_of(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers of a label image's objects, without the smallest."""
    numbers, areas = np.unique(labels, return_counts=True)
    return numbers[(numbers > 0) & (areas >= MIN_AREA)]


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


class ObjectSource(list[RatedObject]):
    """Objects that are there already."""


class FolderSource(ObjectSource):
    """The objects of a multi-rater folder."""

    def __init__(self, folder: Path, *, split: str | None = None, objects: bool = False) -> None:
        opened = open_folder(folder)
        names, items = opened.names(split), list[RatedObject]()
        if not names:
            raise DataError(f"{folder} holds no image of the split {split!r}; check split.csv.")
        for name in names:
            case = opened.read(name)
            targets = split_objects(case.masks) if objects else [case.masks]
            items += cut_objects(to_rgb8(case.image), targets)
        super().__init__(items)


class LabelSource:
    """Single-rater labels ``(H, W)`` of ``(H, W, 3)`` uint8 images, each image alike often."""

    def __init__(self, pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.generic]]]) -> None:
        self.images: list[NDArray[np.uint8]] = []
        self.labels: list[NDArray[np.generic]] = []
        self._numbers: list[NDArray[np.generic]] = []
        for image, labels in pairs:
            wanted = numbers_of(labels)
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


def cut_objects(image: NDArray[np.uint8], stacks: Iterable[NDArray[np.bool_]]) -> list[RatedObject]:
    """Cut an image's objects, each by those of its masks that mark it."""
    marked = [masks[masks.any(axis=(1, 2))] for masks in stacks]
    return [cut_object(image, masks) for masks in marked if len(masks)]


def cut_object(image: NDArray[np.uint8], masks: NDArray[np.bool_]) -> RatedObject:
    """Cut (R, H, W) masks of an (H, W, 3) image with surroundings, reduced where large."""
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


FORMAT, VERSION = "napari-spa training data", 1
MEGABYTES = 38.0  # size that a pack has at most, unless asked otherwise
SIDE = 320  # longest side of an image of large objects, and of the surroundings of a rated object
_SMALLEST = 32.0  # an image is reduced only as long as its objects keep this diameter, in pixels
_TILE = 640  # longest side of an image of small objects; larger ones are cut into tiles
_SURROUNDINGS = 5.0  # diameters of surroundings that a rated object keeps
_RATERS = 16  # most raters of an object: bits of a pixel

_MANIFEST = "pack.json"
_LARGEST_PART = 2**26


@dataclass(frozen=True, slots=True)
class Packed:
    """What became of one source."""

    kept: int  # images in the pack, and in the source
    found: int
    size: int  # bytes in the pack


def write_pack(
    path: Path, sources: Sequence[tuple[Source, float]], *, megabytes: float = MEGABYTES
) -> list[Packed]:
    """Write sources and their shares to one file.

    ``InputError`` for a file that is there and no pack, and where there is no image to pack.
    """
    if path.exists() and not _is_pack(path):
        raise InputError(f"{path} is there and is no training data; choose another name.")
    entries = [_entry(source, share, sources) for source, share in sources]
    parts = [list(_encoded(source)) for source, _ in sources]
    if not any(parts):
        raise InputError("there is no image to pack; name a folder of images and masks.")
    # By the square root: a source that is shown more may take more, but not all the room.
    shares = np.sqrt([share for _, share in sources])
    sizes = [[len(image) + len(marks) for image, marks in pairs] for pairs in parts]
    limits = _limits(np.array([sum(row) for row in sizes]), shares, 1e6 * megabytes)
    report = []
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for number, (pairs, entry) in enumerate(zip(parts, entries, strict=True)):
            chosen = _spread(sizes[number], limits[number])
            for new, old in enumerate(chosen):
                image, marks = pairs[old]
                _put(archive, _name(number, new, "webp"), image)
                _put(archive, _name(number, new, "png"), marks)
            entry["images"] = len(chosen)
            size = sum(sizes[number][old] for old in chosen)
            report.append(Packed(len(chosen), len(pairs), size))
        manifest = {"format": FORMAT, "version": VERSION, "sources": entries}
        _put(archive, _MANIFEST, json.dumps(manifest, indent=1).encode())
    return report


def _is_pack(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return _MANIFEST in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_pack(path: Path) -> list[tuple[Source, float]]:
    """Open the sources of a pack."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(_get(archive, _MANIFEST))
            if manifest["format"] != FORMAT or manifest["version"] != VERSION:
                raise DataError(
                    f"{path} is no training data of this version; pack it again with "
                    "'napari-spa train DATA --pack FILE'."
                )
            opened: list[tuple[Source, float]] = []
            for number, entry in enumerate(manifest["sources"]):
                opened.append((_open(archive, number, entry, opened), float(entry["share"])))
    except (
        *(OSError, Image.DecompressionBombError, zipfile.BadZipFile, ArithmeticError),
        *(AttributeError, LookupError, TypeError, ValueError, NotImplementedError, SyntaxError),
    ) as error:
        raise DataError(
            f"{path} cannot be read, is no training data or is damaged ({error}); make it with "
            "'napari-spa train DATA --pack FILE'."
        ) from error
    return opened


def _entry(source: Source, share: float, sources: Sequence[tuple[Source, float]]) -> dict[str, Any]:
    """Describe a source in the manifest."""
    if isinstance(source, LabelSource):
        return {"kind": "labels", "share": share}
    if isinstance(source, ObjectSource):
        return {"kind": "objects", "share": share}
    if isinstance(source, SyntheticSource):
        look = {"count": source.count, "seed": source.seed, "size": source.size}
        return {"kind": "synthetic", "share": share, "look": look | {"kind": source.kind}}
    if isinstance(source, SuperpixelSource):
        own = {id(image) for image in source.images}
        of = [
            number
            for number, (other, _) in enumerate(sources)
            if isinstance(other, LabelSource) and any(id(image) in own for image in other.images)
        ]
        return {"kind": "superpixels", "share": share, "of": of, "variants": source.variants}
    raise InputError(f"a {type(source).__name__} cannot be packed.")


def _open(
    archive: zipfile.ZipFile, number: int, entry: dict[str, Any], before: list[tuple[Source, float]]
) -> Source:
    kind, images = entry["kind"], int(entry["images"])
    if kind == "synthetic":
        look = entry["look"]
        return SyntheticSource(
            int(look["count"]), seed=int(look["seed"]), size=int(look["size"]), kind=look["kind"]
        )
    if kind == "superpixels":
        others = [before[index][0] for index in entry["of"]]
        shown = [image for s in others if isinstance(s, LabelSource) for image in s.images]
        return SuperpixelSource(shown, variants=int(entry["variants"]))
    if kind not in ("labels", "objects"):
        raise ValueError(f"a source of the kind {kind!r}")
    pairs = []
    for index in range(images):
        image = _decode(_get(archive, _name(number, index, "webp")))
        marks = _decode(_get(archive, _name(number, index, "png")))
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        if image.shape[:2] != marks.shape or image.dtype != np.uint8:
            raise ValueError(f"image {index} of source {number} and its labels differ in size")
        pairs.append((image, marks))
    if kind == "labels":
        return LabelSource(pairs)
    return ObjectSource([RatedObject(image, _from_bits(bits)) for image, bits in pairs])


# -- what an image becomes ----------------------------------------------------------------


def _encoded(source: Source) -> Iterator[tuple[bytes, bytes]]:
    """Yield the images and the labels of a source, or none."""
    if isinstance(source, LabelSource):
        for image, labels in zip(source.images, source.labels, strict=True):
            for small, marks in _fitted(image, labels):
                yield _webp(small), _png(_numbered(marks))
    elif isinstance(source, ObjectSource):
        for item in source:
            cut = _near(item)
            yield _webp(cut.image), _png(_to_bits(cut.masks))


def _fitted(
    image: NDArray[np.uint8], labels: NDArray[Any]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Reduce an image of large objects; cut a large one of small objects into tiles."""
    areas = np.unique(labels[labels > 0], return_counts=True)[1]
    diameter = 2 * np.sqrt(np.median(areas[areas >= MIN_AREA]) / np.pi)
    height, width = labels.shape
    shrink = min(max(height, width) / SIDE, float(diameter) / _SMALLEST)
    if shrink > 1:
        height, width = round(height / shrink), round(width / shrink)
        image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
        rows = (np.arange(height) + 0.5) * labels.shape[0] / height
        columns = (np.arange(width) + 0.5) * labels.shape[1] / width
        labels = labels[np.ix_(rows.astype(int), columns.astype(int))]
    down, across = -(-height // _TILE), -(-width // _TILE)
    for row in range(down):
        for column in range(across):
            tile = (
                slice(row * height // down, (row + 1) * height // down),
                slice(column * width // across, (column + 1) * width // across),
            )
            if labels[tile].any():
                yield image[tile], labels[tile]


def _near(item: RatedObject) -> RatedObject:
    """Cut what lies far from an object: no window of the network is as wide."""
    rows, columns = (np.flatnonzero(item.masks.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    diameter = 2 * np.sqrt(item.masks.sum(axis=(1, 2)).mean() / np.pi)
    half = max(
        int(min(_SURROUNDINGS * diameter, SIDE)), 128, int(np.ptp(rows)), int(np.ptp(columns))
    )
    half = half // 2 + 1
    row, column = (int(lines[0] + lines[-1]) // 2 for lines in (rows, columns))
    cut = (slice(max(row - half, 0), row + half), slice(max(column - half, 0), column + half))
    return RatedObject(item.image[cut], item.masks[:, *cut])


def _numbered(labels: NDArray[Any]) -> NDArray[Any]:
    """Renumber objects from 1, in the smallest type that holds them."""
    numbers: NDArray[Any] = relabel_sequential(np.maximum(labels, 0).astype(np.int64))[0]
    return numbers.astype(np.uint8 if numbers.max() < 256 else np.uint16)


def _to_bits(masks: NDArray[np.bool_]) -> NDArray[Any]:
    """Put each rater's mask into a bit."""
    few = masks[:_RATERS]
    bits: NDArray[np.int64] = (few * (1 << np.arange(len(few)))[:, None, None]).sum(axis=0)
    return bits.astype(np.uint8 if len(few) <= 8 else np.uint16)


def _from_bits(bits: NDArray[Any]) -> NDArray[np.bool_]:
    masks: NDArray[np.bool_] = (bits >> np.arange(_RATERS)[:, None, None]) & 1 > 0
    masks = masks[masks.any(axis=(1, 2))]
    if not len(masks):
        raise ValueError("an object without pixels")
    return masks


# -- files in the archive -----------------------------------------------------------------


def _limits(sizes: NDArray[Any], shares: NDArray[np.float64], total: float) -> NDArray[np.float64]:
    """Return the bytes of each source, in proportion to shares where there is not room for all."""
    limits, left = np.zeros(len(sizes)), shares.sum()
    for index in np.argsort(sizes / shares):  # who wants least for its share leaves the rest
        limits[index] = min(sizes[index], total * shares[index] / left)
        total, left = total - limits[index], left - shares[index]
    return limits


def _spread(sizes: Sequence[int], limit: float) -> list[int]:
    """Choose images evenly so that they fit into a limit, at least one."""
    for count in range(len(sizes), 0, -1):
        chosen = [round(step) for step in np.linspace(0, len(sizes) - 1, count)]
        if count == 1 or sum(sizes[index] for index in chosen) <= limit + 1:
            return chosen
    return []


def _webp(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "WEBP", lossless=True, method=4)
    return stream.getvalue()


def _png(marks: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(marks)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _decode(content: bytes) -> NDArray[Any]:
    with Image.open(io.BytesIO(content), formats=("WEBP", "PNG")) as image:
        return np.array(image)


def _name(source: int, index: int, kind: str) -> str:
    return f"{source:03}/{index:05}.{kind}"


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name), content)  # without a date: the same bytes again


def _get(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _LARGEST_PART:
        raise ValueError(f"{name} is too large")
    return archive.read(name)
