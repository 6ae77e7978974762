"""Images with the masks of several raters: one reader for each layout on disk."""

from __future__ import annotations

from pathlib import Path

from napari_spa.datasets.folders import (
    Case,
    CaseFolder,
    LidcFolder,
    PlainFolder,
    QubiqFolder,
    Refuge2Folder,
    read_splits,
)
from napari_spa.errors import DataError

__all__ = ["Case", "CaseFolder", "open_folder", "read_splits"]


def open_folder(folder: Path | str) -> CaseFolder:
    """Open a multi-rater data set, telling its layout from what is in it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.")
    if PlainFolder.recognises(folder):
        return PlainFolder(folder)
    if LidcFolder.recognises(folder):
        return LidcFolder(folder)
    if Refuge2Folder.recognises(folder):
        return Refuge2Folder(folder)
    if QubiqFolder.recognises(folder):
        return QubiqFolder(folder)
    raise DataError(
        f"{folder} is not a multi-rater data set: it needs images/NAME.ext and "
        "raters/RATER/NAME.ext (or the layout of REFUGE2, LIDC crops or QUBIQ)."
    )
