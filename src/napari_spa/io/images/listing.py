"""The images of a folder: which files there are images, and in which order."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.errors import InputError
from napari_spa.io.images import dicom, tiff, zarr_folder
from napari_spa.io.images.arrays import NUMPY_SUFFIXES, PICTURE_SUFFIXES
from napari_spa.io.images.vendor import VENDOR_SUFFIXES
from napari_spa.io.images.volumes import ITK_SUFFIXES, NIFTI_SUFFIXES, partner
from napari_spa.io.projects.paths import LOG_SUFFIX, is_project

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    try:
        os.scandir(folder).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder} cannot be read: {reason}.") from error
    found = {
        path.relative_to(folder).as_posix(): path for path in _images(folder, recursive, set(), 0)
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
    folder: Path, recursive: bool, seen: set[tuple[int, int]], depth: int
) -> Iterator[Path]:
    """Find images below a folder; ``seen`` are the folders that were gone through."""
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        names = sorted(os.listdir(folder), key=natural_key)
    except OSError:
        return  # a folder inside that cannot be read holds nothing for us
    if here in seen or depth > _DEEPEST:
        return
    seen.add(here)
    names = [name for name in names if not _ignored(name)]
    ours = is_project(folder)
    yield from _files(folder, names, ours)
    for name in names:
        inner = folder / name
        if not os.path.isdir(inner) or (ours and name == "exports"):
            continue
        if zarr_folder.is_zarr(inner):
            yield from zarr_folder.images_in(inner)
        elif not is_project(inner):
            yield from _folder(inner, recursive, seen, depth)


def _folder(
    folder: Path, recursive: bool, seen: set[tuple[int, int]], depth: int
) -> Iterator[Path]:
    """Find what a folder inside brings: a DICOM series, or what lies deeper."""
    try:
        names = sorted(os.listdir(folder), key=natural_key)
    except OSError:
        return
    files = [folder / name for name in names if not _ignored(name)]
    groups = dicom.grouped([path for path in files if is_dicom(path)])
    if len(groups) == 1:
        yield folder
    elif groups and not recursive:
        yield from (group[0] for group in groups)
    if recursive:
        for path in _images(folder, True, seen, depth + 1):
            if len(groups) != 1 or path not in groups[0]:
                yield path


def _files(folder: Path, names: Sequence[str], ours: bool) -> Iterator[Path]:
    """Find the images that are files of a folder."""
    known = set(names)
    series: list[Path] = []
    parts: set[str] = set()  # of images that were listed by their first part
    for name in names:
        path = folder / name
        if os.path.isdir(path) or name in parts:
            continue
        if _is_named_as_image(name):
            if not _is_output(name, known, ours) and not _is_second(path):
                parts.update(_parts(path, known))
                yield path
        elif is_dicom(path):
            series.append(path)
    yield from (group[0] for group in dicom.grouped(series))


def _parts(path: Path, known: set[str]) -> tuple[str, ...]:
    """Return the names of the files that are one image with this one, where all are there."""
    if ".ome." not in path.name.lower():
        return ()
    parts = tiff.ome_parts(path)
    return parts if set(parts) <= known else ()


def _is_second(path: Path) -> bool:
    """Tell whether a file is the ``.img`` of a ``.hdr``, which stands for both."""
    return path.suffix.lower() == ".img" and partner(path) is not None


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
