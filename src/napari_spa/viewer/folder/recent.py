"""Folders that were worked on lately, and where in them one was."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from napari_spa.errors import DataError
from napari_spa.io.files import atomic_path
from napari_spa.io.strict_json import read_json

if TYPE_CHECKING:
    from pathlib import Path

_logger = logging.getLogger(__name__)
_MOST = 8


@dataclass(frozen=True, slots=True)
class RecentFolder:
    """A folder that was worked on.

    Attributes
    ----------
    source, out : str
        The images, and the project's output folder.
    name : str
        The image that was open; empty for none.
    index : tuple of int
        The slice that was on show.
    """

    source: str
    out: str
    name: str = ""
    index: tuple[int, ...] = ()


def recent_path() -> Path:
    """Return the file that remembers folders, in the person's state folder."""
    from platformdirs import user_state_path

    return user_state_path("napari-spa") / "folders.json"


def recent_folders(path: Path | None = None) -> list[RecentFolder]:
    """Return the folders worked on lately that are there still, the latest first.

    Parameters
    ----------
    path : Path or None
        The file; :func:`recent_path` by default.

    Returns
    -------
    list of RecentFolder
        Empty when nothing is known, or the file is damaged.
    """
    path = path or recent_path()
    try:
        entries = read_json(path)["folders"]
        found = [_read(entry) for entry in entries]
    except FileNotFoundError:
        return []
    except (OSError, DataError, ValueError, TypeError, KeyError, AttributeError) as error:
        _logger.info("%s is passed over: %s", path, error)
        return []
    return [entry for entry in found if os.path.isdir(entry.out)]


def _read(entry: dict[str, object]) -> RecentFolder:
    index = entry.get("index", ())
    if not isinstance(index, list | tuple):
        raise TypeError("index")
    return RecentFolder(
        str(entry["source"]),
        str(entry["out"]),
        str(entry.get("name", "")),
        tuple(int(n) for n in index),
    )


def remember_folder(folder: RecentFolder, path: Path | None = None) -> None:
    """Put a folder first; what cannot be remembered is no reason to fail.

    Parameters
    ----------
    folder : RecentFolder
        The folder; replaces what was known of its output folder.
    path : Path or None
        The file; :func:`recent_path` by default.
    """
    path = path or recent_path()
    others = [entry for entry in recent_folders(path) if entry.out != folder.out]
    content = {"version": 1, "folders": [asdict(entry) for entry in [folder, *others][:_MOST]]}
    try:
        with atomic_path(path, sync=False) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except DataError as error:
        _logger.info("%s", error)


def place_in(out: Path, path: Path | None = None) -> RecentFolder | None:
    """Return where one was in a project.

    Parameters
    ----------
    out : Path
        Its output folder.
    path : Path or None
        The file; :func:`recent_path` by default.

    Returns
    -------
    RecentFolder or None
    """
    return next((entry for entry in recent_folders(path) if entry.out == str(out)), None)
