"""The images of a folder, and how each is opened.

=====================  =====================================================
TIFF, OME-TIFF, ...    as stored; mapped, or in pieces when large
PNG, JPEG, ...         what Pillow reads
``.npy``, ``.npz``     one array
NIfTI                  with nibabel
OME-Zarr               a folder, with zarr
DICOM                  a series of files, with pydicom
=====================  =====================================================
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.errors import InputError
from napari_spa.io.images import arrays, dicom, dicom_files, nifti, tiff, zarr_folder
from napari_spa.io.images.faults import FAULTS, reason
from napari_spa.io.images.layout import Opened, arranged
from napari_spa.io.projects.paths import LOG_SUFFIX, is_project

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_spa.io.images.stack_files import StackFile

_SUFFIXES = tiff.SUFFIXES | arrays.PICTURE_SUFFIXES | arrays.NUMPY_SUFFIXES
_NOT_IMAGES = {"__macosx", "thumbs.db", "desktop.ini", "dicomdir"}


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image of a folder.

    Attributes
    ----------
    name : str
        Path in the folder, POSIX, with its extension.
    path : Path
        The file, the Zarr folder, or a DICOM series: its folder when that holds nothing
        else, otherwise its first file.
    """

    name: str
    path: Path


def list_images(folder: Path, *, recursive: bool = False) -> list[ImageEntry]:
    """List the images of a folder in natural order: ``a2`` before ``a10``.

    Files are told by their names, so that one which cannot be read is listed as well.
    Hidden files, what operating systems leave behind, and our own outputs are not.

    Parameters
    ----------
    folder : Path
        Where to look.  A folder in it that is a Zarr image or holds a DICOM series is an
        image.
    recursive : bool
        Look into other folders too; links that lead in circles are followed once.

    Returns
    -------
    list of ImageEntry

    Raises
    ------
    InputError
        When the folder cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder.")
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}.") from error
    found = {path.relative_to(folder).as_posix(): path for path in _images(folder, recursive, ())}
    return [ImageEntry(name, found[name]) for name in sorted(found, key=natural_key)]


def natural_key(name: str) -> tuple[object, ...]:
    """Return what to sort a name by: folders first by folder, numbers by value, any case.

    Parameters
    ----------
    name : str
        POSIX.

    Returns
    -------
    tuple
        Comparable with those of other names; names that differ have different keys.
    """
    parts = []
    for part in name.split("/"):
        pieces = re.split(r"([0-9]+)", part.casefold())
        parts.append(tuple(int(p) if i % 2 else p for i, p in enumerate(pieces)))
    return (tuple(parts), name)


def open_image(path: Path) -> StackFile:
    """Open an image, whatever it is; pixels are read late where the format allows.

    Parameters
    ----------
    path : Path
        Of an :class:`ImageEntry`.

    Returns
    -------
    StackFile
        Levels of the axes ``info.axes``, which end in rows and columns, and perhaps three
        or four colours after them.  Axes of length one are left out.

    Raises
    ------
    InputError
        When it cannot be read; one sentence.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist.")
    try:
        if not path.is_dir() and not path.is_file():
            raise ValueError("it is no file")
        if path.is_file() and path.stat().st_size == 0:
            raise ValueError("the file is empty")
        return arranged(path, _read(path))
    except InputError:
        raise
    except FAULTS as error:
        raise InputError(f"{path} cannot be read as an image: {reason(error)}.") from error


def image_parts(path: Path) -> tuple[Path, ...]:
    """Return all files that make up an image, in an order that is always the same.

    Parameters
    ----------
    path : Path
        Of an :class:`ImageEntry`.

    Returns
    -------
    tuple of Path
        The file; or all of a Zarr folder; or all of a DICOM series.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist.")
    try:
        if path.is_dir() and zarr_folder.is_zarr(path):
            parts = sorted(part for part in path.rglob("*") if part.is_file())
            return tuple(parts)
        if path.is_dir() or dicom_files.looks_like_dicom(path):
            return _series(path)
    except InputError:
        raise
    except FAULTS as error:
        raise InputError(f"{path} cannot be read as an image: {reason(error)}.") from error
    return (path,)


def _read(path: Path) -> Opened:
    if path.is_dir():
        if zarr_folder.is_zarr(path):
            return zarr_folder.read_zarr(path)
        return dicom.read_series(path, _series(path))
    suffix = path.suffix.lower()
    if suffix in tiff.SUFFIXES:
        return tiff.read_tiff(path)
    if suffix in arrays.NUMPY_SUFFIXES:
        return arrays.read_numpy(path)
    if path.name.lower().endswith(nifti.SUFFIXES):
        return nifti.read_nifti(path)
    if suffix not in _SUFFIXES and dicom_files.looks_like_dicom(path):
        return dicom.read_series(path, _series(path))
    return arrays.read_picture(path)


def _series(path: Path) -> tuple[Path, ...]:
    """Return the files of a DICOM series, told by its folder or by one of its files."""
    folder = path if path.is_dir() else path.parent
    names = sorted((item.name for item in folder.iterdir()), key=natural_key)
    files = [item for item in (folder / name for name in names) if _is_dicom(item)]
    if not path.is_dir():
        mine = (group for group in dicom_files.grouped(files) if path in group)
        return next(mine, (path,))
    groups = dicom_files.grouped(files)
    if not groups:
        raise InputError(f"{path} is a folder, and no image.")
    if len(groups) > 1:
        raise InputError(f"{path} holds {len(groups)} DICOM series; open a file of one of them.")
    return groups[0]


def _is_dicom(path: Path) -> bool:
    named = path.suffix.lower() not in _SUFFIXES and not path.name.startswith(".")
    return named and os.path.isfile(path) and dicom_files.looks_like_dicom(path)


def _images(folder: Path, recursive: bool, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Find images below a folder; ``above`` are the folders that led here."""
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        names = sorted(os.listdir(folder), key=natural_key)
    except OSError:
        return  # a folder inside that cannot be read holds nothing for us
    if here in above:
        return
    names = [name for name in names if not _ignored(name)]
    ours = is_project(folder)
    yield from _files(folder, names, ours)
    for name in names:
        inner = folder / name
        if not os.path.isdir(inner) or (ours and name == "exports"):
            continue
        if zarr_folder.is_zarr(inner):
            yield inner
        elif not is_project(inner):
            yield from _folder(inner, recursive, (*above, here))


def _folder(folder: Path, recursive: bool, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Find what a folder inside brings: a DICOM series, or what lies deeper."""
    try:
        names = sorted(os.listdir(folder), key=natural_key)
    except OSError:
        return
    files = [folder / name for name in names if not _ignored(name)]
    groups = dicom_files.grouped([path for path in files if _is_dicom(path)])
    if len(groups) == 1:
        yield folder
    elif groups and not recursive:
        yield from (group[0] for group in groups)
    if recursive:
        for path in _images(folder, True, above):
            if len(groups) != 1 or path not in groups[0]:
                yield path


def _files(folder: Path, names: Sequence[str], ours: bool) -> Iterator[Path]:
    """Find the images that are files of a folder."""
    known = set(names)
    series: list[Path] = []
    for name in names:
        path = folder / name
        if os.path.isdir(path):
            continue
        if _is_named_as_image(name):
            if not _is_output(name, known, ours):
                yield path
        elif _is_dicom(path):
            series.append(path)
    yield from (group[0] for group in dicom_files.grouped(series))


def _is_named_as_image(name: str) -> bool:
    lower = name.lower()
    return os.path.splitext(lower)[1] in _SUFFIXES or lower.endswith(nifti.SUFFIXES)


def _ignored(name: str) -> bool:
    lower = name.lower()
    return lower.startswith(".") or lower in _NOT_IMAGES or lower.endswith(LOG_SUFFIX)


def _is_output(name: str, known: set[str], ours: bool) -> bool:
    """Tell whether a file is the labels of the image beside it."""
    image = name.removesuffix(".tif")
    return image != name and image in known and (ours or image + LOG_SUFFIX in known)
