"""Open an image, whatever it is: the one way in for every command and both docks.

=====================  =====================================================
TIFF, OME-TIFF, ...    read in parts when large (tifffile; imagecodecs)
PNG, JPEG, ...         what Pillow reads, upright; 16-bit colours by imagecodecs
``.npy``, ``.npz``     one array
NIfTI, Analyze, MGH    with nibabel
NRRD, MetaImage        with SimpleITK
OME-Zarr               a folder, with zarr
DICOM                  a series of files, with pydicom (and pylibjpeg)
CZI, LIF, ND2, ...     with bioio and its plugins
=====================  =====================================================
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.errors import ImageWarning, InputError, printable
from napari_spa.io.files import explained
from napari_spa.io.images import arrays, dicom, tiff, volumes
from napari_spa.io.images.arrays import NUMPY_SUFFIXES, PICTURE_SUFFIXES
from napari_spa.io.images.faults import reading
from napari_spa.io.images.layout import ImageFile, ImageInfo, RawImage, arranged, with_shape
from napari_spa.io.images.volumes import ITK_SUFFIXES, NIFTI_SUFFIXES, VENDOR_SUFFIXES, partner
from napari_spa.io.projects.paths import LOG_SUFFIX, is_project

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_SUFFIXES = tiff.SUFFIXES | PICTURE_SUFFIXES | NUMPY_SUFFIXES | VENDOR_SUFFIXES | set(ITK_SUFFIXES)
_NOT_IMAGES = {"__macosx", "thumbs.db", "desktop.ini", "dicomdir"}
_DEEPEST = 64  # folders in folders


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image of a folder."""

    name: str  # path in the folder, POSIX, with its extension
    # The file, the Zarr folder, the first file of several that are one image, or a DICOM series:
    # its folder when that holds nothing else, otherwise its first file.
    path: Path


def list_images(folder: Path, *, recursive: bool = False) -> list[ImageEntry]:
    """List the images of a folder in natural order: ``a2`` before ``a10``.

    Files are told by their names, so that one which cannot be read is listed as well.
    Hidden files, what operating systems leave behind, and our own outputs are not.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is no folder.")
    with explained("read", folder, InputError):
        os.scandir(folder).close()
    found = {
        path.relative_to(folder).as_posix(): path for path in _images(folder, recursive, set())
    }
    return [ImageEntry(name, found[name]) for name in sorted(found, key=natural_key)]


def natural_key(name: str) -> tuple[object, ...]:
    """Return what to sort a name by: folders first by folder, numbers by value, any case."""
    parts = []
    for part in name.split("/"):
        pieces = re.split(r"([0-9]+)", part.casefold())
        # The length of a number and then its digits: int() refuses very long ones.
        parts.append(tuple(_digits(p) if i % 2 else p for i, p in enumerate(pieces)))
    return (tuple(parts), name)


def _digits(text: str) -> tuple[int, str]:
    value = text.lstrip("0")
    return len(value), value


def series_of(path: Path) -> tuple[Path, ...]:
    """Return the files of a DICOM series, told by its folder or by one of its files."""
    folder = path if path.is_dir() else path.parent
    names = sorted((item.name for item in folder.iterdir()), key=natural_key)
    files = [item for item in (folder / name for name in names) if is_dicom(item)]
    if not path.is_dir():
        mine = (group for group in dicom.grouped(files) if path in group)
        return next(mine, (path,))
    groups = dicom.grouped(files)
    if not groups:
        raise InputError(f"{path} is a folder, and no image.")
    if len(groups) > 1:
        raise InputError(f"{path} holds {len(groups)} DICOM series; open a file of one of them.")
    return groups[0]


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM, which may have any name but those of other images."""
    named = not _is_named_as_image(path.name) and not path.name.startswith(".")
    return named and os.path.isfile(path) and dicom.looks_like_dicom(path)


def _images(
    folder: Path, recursive: bool, seen: set[tuple[int, int]], depth: int = 0
) -> Iterator[Path]:
    """Find images below a folder; in one inside it, if not ``recursive``, series of DICOM only.

    ``seen`` are the folders that were gone through.
    """
    try:
        status = folder.stat()
        names = [name for name in sorted(os.listdir(folder), key=natural_key) if not _ignored(name)]
    except OSError:
        return  # a folder inside that cannot be read holds nothing for us
    here = (status.st_dev, status.st_ino)
    if here in seen or depth > _DEEPEST:
        return
    seen.add(here)
    known, ours, whole = set(names), is_project(folder), recursive or not depth
    series: list[Path] = []
    parts: set[str] = set()  # of images that were listed by their first part
    for name in names:
        path = folder / name
        if os.path.isdir(path):
            if whole and not (ours and name == "exports"):
                yield from _inside(path, recursive, seen, depth)
        elif _is_named_as_image(name):
            second = path.suffix.lower() == ".img" and partner(path) is not None  # of a .hdr
            if whole and name not in parts and not second and not _is_output(name, known, ours):
                parts.update(_parts(path, known))
                yield path
        elif is_dicom(path):
            series.append(path)
    groups = dicom.grouped(series)
    yield from [folder] if depth and len(groups) == 1 else [group[0] for group in groups]


def _inside(
    folder: Path, recursive: bool, seen: set[tuple[int, int]], depth: int
) -> Iterator[Path]:
    """Find images in a folder inside of another."""
    if arrays.is_zarr(folder):
        yield from arrays.images_in(folder)
    elif not is_project(folder):
        yield from _images(folder, recursive, seen, depth + 1)


def _parts(path: Path, known: set[str]) -> tuple[str, ...]:
    """Return the names of the files that are one image with this one, where all are there."""
    if ".ome." not in path.name.lower():
        return ()
    parts = tiff.ome_parts(path)
    return parts if set(parts) <= known else ()


def _is_named_as_image(name: str) -> bool:
    lower = name.lower()
    return os.path.splitext(lower)[1] in _SUFFIXES or lower.endswith(NIFTI_SUFFIXES)


def _ignored(name: str) -> bool:
    lower = name.lower()
    return lower.startswith(".") or lower in _NOT_IMAGES or lower.endswith(LOG_SUFFIX)


def _is_output(name: str, known: set[str], ours: bool) -> bool:
    """Tell whether a file is the labels of the image beside it."""
    image = name.removesuffix(".tif")
    return image != name and image in known and (ours or image + LOG_SUFFIX in known)


def open_image(path: Path | str) -> ImageFile:
    """Open an image, whatever it is; pixels are read late where the format allows.

    ``ImageWarning`` where the file holds more than is opened, or should hold more than it does; the
    same sentences are the ``notes`` of the result.
    """
    path = Path(path)
    with reading(path):
        file = arranged(path, read_raw(path))
    for note in file.notes:
        warnings.warn(printable(note), ImageWarning, stacklevel=2)
    return file


def open_stack(path: Path, shape: tuple[int, ...]) -> ImageFile:
    """Open an image of known extent; see :func:`open_image`."""
    file = open_image(path)
    fitting = with_shape(file, shape)
    if fitting is None:
        found = extent(file.levels[0].shape)
        raise InputError(f"{path} is of {found} pixels, not {extent(shape)}.")
    return fitting


def read_image(
    path: Path | str, *, index: Sequence[int] | None = None
) -> tuple[NDArray[np.generic], ImageInfo]:
    """Read one plane, (H, W) or (H, W, C) as stored, of an image; see :func:`open_image`.

    ``index`` is the slice of a stack: one number for each axis before rows and columns, as
    (time, plane); negative numbers count from the end.  ``InputError`` where it is a stack and no
    slice was given, or the slice does not exist.
    """
    file = open_image(path)
    taken = _checked_index(file, index)
    plane = np.asarray(file.levels[0][taken])
    info = file.info
    axes = "YX" if plane.ndim == 2 else "YXC"
    return plane, ImageInfo(axes, info.shape, info.pixel_size, taken)


def axes_in_file(path: Path | str, shape: tuple[int, ...]) -> str:
    """Return what a file calls the axes of an array of its pixels; nothing where they do not fit.

    ``"TZCYX"``; ``Q`` is an axis without a name.  Colours are left out, and axes of length one
    may be in the file alone, or in the array alone.
    """
    path = Path(path)
    with reading(path):
        raw = read_raw(path)
    sizes = [(axis, int(n)) for axis, n in zip(raw.axes, raw.levels[0].shape, strict=True)]
    longer = [(axis, n) for axis, n in sizes if axis != "S" and n > 1]
    if [n for _, n in longer] != [n for n in shape if n > 1]:
        return ""
    names = iter(axis for axis, _ in longer)
    return "".join(next(names) if n > 1 else "Q" for n in shape)


def image_parts(path: Path) -> tuple[Path, ...]:
    """Return all files that make up an image, in an order that is always the same."""
    path = Path(path)
    _check_existence(path)
    with reading(path):
        if path.is_dir() and arrays.is_zarr(path):
            return tuple(sorted(part for part in path.rglob("*") if part.is_file()))
        if path.is_dir() or is_dicom(path):
            return series_of(path)
        if path.suffix.lower() in tiff.SUFFIXES:
            parts = [path.parent / name for name in tiff.ome_parts(path)]
            return tuple(part for part in parts if os.path.exists(part)) or (path,)
        return (path, *volumes.data_files(path))


def read_raw(path: Path, *, as_labels: bool = False) -> RawImage:
    """Read a file as it is; called inside :func:`~napari_spa.io.images.faults.reading`."""
    _check_existence(path)
    if path.is_dir():
        if arrays.is_zarr(path):
            return arrays.read_zarr(path)
        return dicom.read_series(path, series_of(path))
    if not path.is_file():
        raise ValueError("it is no file")
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    name, suffix = path.name.lower(), path.suffix.lower()
    if suffix in tiff.SUFFIXES:
        return tiff.read_tiff(path, as_labels=as_labels)
    if suffix in arrays.NUMPY_SUFFIXES:
        return arrays.read_numpy(path)
    if name.endswith(volumes.NIFTI_SUFFIXES):
        return volumes.read_nifti(path)
    if suffix in volumes.ITK_SUFFIXES:
        return volumes.read_itk(path)
    if suffix in volumes.VENDOR_SUFFIXES:
        return volumes.read_vendor(path)
    if is_dicom(path):
        return dicom.read_series(path, series_of(path))
    return arrays.read_picture(path, as_labels=as_labels)


def extent(shape: Sequence[int]) -> str:
    """Return a shape in words: ``5 x 40 x 50``."""
    return " x ".join(str(int(n)) for n in shape)


def _check_existence(path: Path) -> None:
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist.")


def _checked_index(file: ImageFile, index: Sequence[int] | None) -> tuple[int, ...]:
    """Return the slice that was asked for, where there is something to choose."""
    sizes, given = file.shape[:-2], tuple(index or ())
    if not sizes and given in ((), (0,)):
        return ()
    if len(given) != len(sizes):
        raise InputError(_stack_sentence(file.path, sizes, given))
    for number, size in zip(given, sizes, strict=True):
        if not -size <= number < size:
            raise InputError(f"{file.path} has slices 0 to {size - 1}, not {number}.")
    return given


def _stack_sentence(path: Path, sizes: tuple[int, ...], given: tuple[int, ...]) -> str:
    if not sizes:
        return f"{path} is a single image; leave the slice out."
    if given:
        return f"{path} is a stack of {extent(sizes)} slices; choose one with {len(sizes)} numbers."
    example = ",".join(str(size // 2) for size in sizes)
    return (
        f"{path} is a stack of {extent(sizes)} slices; choose one, for example --slice {example}."
    )
