"""Our own multi-rater layout: ``images/NAME.ext`` and ``raters/RATER/NAME.ext``."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from napari_spa.datasets.case import Case, assemble, read_mask
from napari_spa.errors import DataError
from napari_spa.io.images.open import read_image

if TYPE_CHECKING:
    from pathlib import Path


class PlainFolder:
    """``images/NAME.ext``, ``raters/RATER/NAME.ext``, optional ``split.csv`` (name,split).

    Parameters
    ----------
    folder : Path
        The data set.

    Raises
    ------
    DataError
        When two images have the same stem or ``split.csv`` has other columns.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images = _by_stem(folder / "images")
        raters = sorted(path for path in (folder / "raters").iterdir() if path.is_dir())
        self._masks = {rater.name: _by_stem(rater) for rater in raters}
        self._splits = _read_splits(folder / "split.csv")

    @staticmethod
    def recognises(folder: Path) -> bool:
        """Return whether a folder has this layout."""
        return (folder / "images").is_dir() and (folder / "raters").is_dir()

    def names(self, split: str | None = None) -> list[str]:
        """Return the sorted names of a split; of all when there is no ``split.csv``."""
        if split is None or self._splits is None:
            return sorted(self._images)
        return [name for name in sorted(self._images) if self._splits.get(name) == split]

    def read(self, name: str) -> Case:
        """Read one case.

        Parameters
        ----------
        name : str
            One of :meth:`names`.

        Returns
        -------
        Case

        Raises
        ------
        DataError
            When no rater marked it or a mask has another size.
        """
        image, _ = read_image(self._images[name])
        masks = {
            rater: read_mask(files[name]) for rater, files in self._masks.items() if name in files
        }
        return assemble(name, image, masks)


def _by_stem(folder: Path) -> dict[str, Path]:
    """List a folder: file stem to path."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DataError(f"{found[path.stem]} and {path.name} have the same name; rename one.")
        found[path.stem] = path
    return found


def _read_splits(table: Path) -> dict[str, str] | None:
    if not table.exists():
        return None
    try:
        with table.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read: {error}.") from error
    if not all(row.get("name") and row.get("split") for row in rows):
        raise DataError(f"{table} needs the columns name and split, filled in every row.")
    return {row["name"]: row["split"] for row in rows}
