"""Where the files of a project folder lie: one layout for the dock and for batch.

::

    OUT/manifest.json        what a batch did
    OUT/project.json         what a user decided
    OUT/NAME.EXT.tif         labels of the image NAME.EXT
    OUT/NAME.EXT.spa.jsonl   its decision log
    OUT/classes.json         the classes that objects can be of
    OUT/NAME.EXT.objects.json  classes and names of its objects, where there are any
    OUT/exports/KIND/...     what was written for other programs
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from napari_spa.errors import DataError, InputError
from napari_spa.io.files import read_small

LOG_SUFFIX, NOTES_SUFFIX = ".spa.jsonl", ".objects.json"
MANIFEST_NAME, PROJECT_NAME, LOCK_NAME = "manifest.json", "project.json", ".project.lock"


def labels_path(out: Path, name: str) -> Path:
    """Return where the labels of an image lie."""
    return _beside(out, name, ".tif")


def log_path(out: Path, name: str) -> Path:
    """Return where the decision log of an image lies; see :func:`labels_path`."""
    return _beside(out, name, LOG_SUFFIX)


def notes_path(out: Path, name: str) -> Path:
    """Return where the classes and names of an image's objects lie; see :func:`labels_path`."""
    return _beside(out, name, NOTES_SUFFIX)


def manifest_path(out: Path) -> Path:
    """Return where a batch writes what it did."""
    return out / MANIFEST_NAME


def project_path(out: Path) -> Path:
    """Return where the project keeps what a user decided."""
    return out / PROJECT_NAME


def exports_path(out: Path) -> Path:
    """Return where exports go unless another folder is asked for."""
    return out / "exports"


def default_output(source: Path) -> Path:
    """Return the project folder of a folder of images: its sibling ``SOURCE-spa``."""
    folder = source.resolve()
    if folder.parent == folder:
        raise InputError(f"{source} has no folder beside it; choose an output folder.")
    return folder.parent / f"{folder.name}-spa"


def is_project(folder: Path) -> bool:
    """Tell whether a folder holds a project or the outputs of a batch."""
    # Not of ``Path``, whose answer about a folder that may not be entered is an error.
    if os.path.isfile(project_path(folder)) or os.path.isdir(folder / ".spa-batch"):
        return True
    try:
        return b'"napari-spa batch"' in read_small(manifest_path(folder))
    except (OSError, DataError):
        return False


def inside(name: str) -> str:
    """Return a name that leads nowhere but into a folder, as it is."""
    path = Path(name)
    if not path.name or path.is_absolute() or path.drive or ".." in path.parts or "\0" in name:
        raise InputError(f"{name!r} names no file of the folder.")
    return name


def check_no_way_out(folder: Path, path: Path) -> Path:
    """Refuse a path below a folder that a link leads out of it; a file itself may be one.

    A file is replaced, never written through, where it is a link; a folder would be entered.
    """
    if path.parent == folder:
        return path
    root = os.path.realpath(folder)
    place = os.path.realpath(path.parent)
    if place != root and not place.startswith(root.rstrip(os.sep) + os.sep):
        raise DataError(f"{path.parent} is a link out of {folder}; remove it, or move {folder}.")
    return path


def _beside(out: Path, name: str, suffix: str) -> Path:
    parts = PurePosixPath(inside(name))
    return check_no_way_out(out, out / parts.with_name(parts.name + suffix))
