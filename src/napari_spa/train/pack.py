"""All training data of a recipe in one small file that can be carried to another machine.

A pack is a ZIP file: lossless WebP images, PNG labels, and ``pack.json`` that names the
sources and their shares.  Images are reduced and cut to what a window of the network can
show, and a source that takes more than its part of the file keeps every so manieth image;
pixels that are kept are kept without loss.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from napari_spa.errors import DataError, InputError
from napari_spa.io.files import atomic_path
from napari_spa.train.data import (
    MIN_AREA,
    LabelSource,
    ObjectSource,
    RatedObject,
    Source,
    SuperpixelSource,
    SyntheticSource,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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
    """Write sources and their shares to one file."""
    entries = [_entry(source, share, sources) for source, share in sources]
    parts = [list(_encoded(source)) for source, _ in sources]
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
    except OSError as error:
        if isinstance(error, UnidentifiedImageError) or error.strerror is None:
            raise DataError(f"{path} holds an image that cannot be read; pack it again.") from error
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    except (
        *(Image.DecompressionBombError, zipfile.BadZipFile, ArithmeticError, AttributeError),
        *(LookupError, TypeError, ValueError, NotImplementedError, SyntaxError),
    ) as error:
        raise DataError(
            f"{path} is no training data or is damaged ({error}); make it with "
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
        for item in source.items:
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
    _, inverse = np.unique(np.where(labels > 0, labels, 0), return_inverse=True)
    numbers = inverse.reshape(labels.shape) + (0 if (labels <= 0).any() else 1)
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
    low, high = 0.0, float(total / shares.min()) if len(shares) else 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if np.minimum(sizes, middle * shares).sum() <= total else (low, middle)
        )
    limits: NDArray[np.float64] = np.minimum(sizes, low * shares)
    return limits


def _spread(sizes: Sequence[int], limit: float) -> list[int]:
    """Choose images evenly so that they fit into a limit, at least one."""
    count = len(sizes)
    while count:
        chosen = [round(step) for step in np.linspace(0, len(sizes) - 1, count)]
        if count == 1 or sum(sizes[index] for index in chosen) <= limit + 1:
            return chosen
        count -= 1
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
