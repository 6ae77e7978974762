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
    case_groups,
    read_splits,
)
from napari_spa.errors import DataError

__all__ = ["Case", "CaseFolder", "case_groups", "open_folder", "read_splits"]


def open_folder(folder: Path | str) -> CaseFolder:
    """Open a multi-rater data set, telling its layout from what is in it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.")
    for layout in (PlainFolder, LidcFolder, Refuge2Folder, QubiqFolder):
        if layout.recognises(folder):
            return layout(folder)
    raise DataError(
        f"{folder} is not a multi-rater data set: it needs images/NAME.ext and "
        "raters/RATER/NAME.ext (or the layout of REFUGE2, LIDC crops or QUBIQ)."
    )
