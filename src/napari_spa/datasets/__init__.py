"""Images with the masks of several raters: one reader for each layout on disk."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import DataError
from napari_spa.io.files import read_small
from napari_spa.io.images import open_image, read_image
from napari_spa.io.images.faults import check_size, reading
from napari_spa.io.images.lazy import number_of_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray

_LIDC_PATIENT = re.compile(r"LIDC-IDRI-\d{4}")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image and what each rater marked on it."""

    name: str  # of the case, unique in its folder
    image: NDArray[np.generic]  # (H, W) or (H, W, C), as stored
    masks: BoolArray  # (R, H, W), one per rater, any of them possibly empty
    raters: tuple[str, ...]  # R names in the order of the masks


@dataclass(slots=True, eq=False)
class CaseFolder:
    """A multi-rater data set on disk."""

    reader: Callable[[str, Path], Case]  # reads one, as its layout has it
    paths: dict[str, Path] = field(default_factory=dict)  # by name, in which file or folder it is
    splits: dict[str, str | None] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)  # of cases, where a table says it

    def add(self, name: str, path: Path, split: str | None) -> None:
        """List a case; another part may have the same case number."""
        if self.paths.get(name, path) != path:
            name = f"{split}/{name}"
        self.paths[name], self.splits[name] = path, split

    def names(self, split: str | None = None) -> list[str]:
        """Return the sorted names of the cases of a split, or of all.

        Where nothing tells splits all cases are returned; ``"val"`` means the test part
        where a set was published without a validation part.
        """
        known = {part for part in self.splits.values() if part is not None}
        if split == "val" and "val" not in known and "test" in known:
            split = "test"
        if split is None or not known:
            return sorted(self.paths)
        return sorted(name for name in self.paths if self.splits.get(name) == split)

    def read(self, name: str) -> Case:
        """Read one case."""
        return self.reader(name, self.paths[name])


def read_picture(path: Path) -> NDArray[np.generic]:
    """Read the image of a case, no stack; channels come last, wherever the file has them."""
    image = open_image(path)
    if image.info.axes == "CYX":
        return np.moveaxis(np.asarray(image.levels[0]), 0, -1)
    return read_image(path)[0]


def read_mask(path: Path, *, half: bool = False) -> BoolArray:
    """Read one rater's mask: colour channels are joined, alpha is left out.

    ``half``: the target is what reaches half of 255, instead of all that is not zero, for masks
    stored as JPEG, whose edges ring.
    """
    values = read_picture(path).astype(np.float64)
    if values.ndim == 3:
        values = values[..., :3].max(axis=-1)
    return np.asarray(values >= 128 if half else values > 0)


def assemble(name: str, image: NDArray[np.generic], masks: Mapping[str, BoolArray]) -> Case:
    """Put a case together; ``DataError`` without a mask, or when one is of another size."""
    if not masks:
        raise DataError(f"no rater marked {name}; each image needs at least one mask.")
    for rater, mask in masks.items():
        if mask.shape != image.shape[:2]:
            raise DataError(
                f"the mask of {rater} for {name} has {mask.shape} pixels, "
                f"its image {image.shape[:2]}."
            )
    return Case(name, image, np.stack(list(masks.values())), tuple(masks))


def by_stem(folder: Path) -> dict[str, Path]:
    """List a folder: file stem to path."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DataError(f"{found[path.stem]} and {path.name} have the same name; rename one.")
        found[path.stem] = path
    return found


def read_splits(table: Path) -> list[dict[str, str]] | None:
    """Read a table of names and their splits; None where there is none."""
    try:
        text = read_small(table).decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read: {error}.") from error
    if not all(row.get("name") and row.get("split") for row in rows):
        raise DataError(f"{table} needs the columns name and split, filled in every row.")
    return rows


def case_groups(folder: CaseFolder, names: Sequence[str]) -> dict[str, str]:
    """Return the patient of each case, where the data set or its name says it, else the case."""
    groups = {}
    for name in names:
        match = _LIDC_PATIENT.match(name)
        groups[name] = folder.patients.get(name) or (match[0] if match else name)
    return groups


_PARTS = {"train": ("train", "training"), "val": ("val", "validation"), "test": ("test", "testing")}


def _split_of(folder_name: str) -> str | None:
    """Tell the split from a folder's name, such as ``Training-400``."""
    word = re.split(r"[-_ ]", folder_name.lower())[0]
    return next((split for split, words in _PARTS.items() if word in words), None)


def _plain(folder: Path) -> CaseFolder | None:
    """Open ``images/NAME.ext``, ``raters/RATER/NAME.ext``, optional ``split.csv``.

    Its columns are ``name``, ``split`` and, where cases belong together, ``patient``.
    """
    if not ((folder / "images").is_dir() and (folder / "raters").is_dir()):
        return None
    raters = sorted(path for path in (folder / "raters").iterdir() if path.is_dir())
    files = {rater.name: by_stem(rater) for rater in raters}

    def read(name: str, path: Path) -> Case:
        image = read_picture(path)
        masks = {rater: read_mask(each[name]) for rater, each in files.items() if name in each}
        return assemble(name, image, masks)

    table = read_splits(folder / "split.csv") or ()
    splits: dict[str, str | None] = {row["name"]: row["split"] for row in table}
    patients = {row["name"]: row["patient"] for row in table if row.get("patient")}
    return CaseFolder(read, by_stem(folder / "images"), splits, patients)


def _lidc(folder: Path) -> CaseFolder | None:
    """Open LIDC crops: ``images/PATIENT/X.png`` and ``gt/PATIENT/X_l{0..3}.png``.

    Both folders may lie in ``train``, ``val`` and ``test``.
    """
    roots = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    if not any((root / "images").is_dir() and (root / "gt").is_dir() for root in roots):
        return None

    def read(name: str, path: Path) -> Case:
        root = next(parent for parent in path.parents if parent.name == "images")
        marked = root.parent / "gt" / path.parent.relative_to(root)
        masks = {
            f"reader{number + 1}": read_mask(mask)
            for number in range(4)
            if (mask := marked / f"{path.stem}_l{number}.png").exists()
        }
        return assemble(name, read_picture(path), masks)

    found = CaseFolder(read)
    for root in roots:
        for path in sorted((root / "images").rglob("*.png")):
            name = path.relative_to(root / "images").with_suffix("").as_posix()
            found.add(name, path, _split_of(root.name))
    return found


def refuge2(folder: Path, *, target: str = "cup") -> CaseFolder | None:
    """Open the paper's REFUGE2 crops: ``Training-400/ID/ID_seg_cup_{1..7}_cropped.jpg``."""
    if next(folder.glob("*/*/*_seg_*_cropped.jpg"), None) is None:
        return None

    def read(name: str, case: Path) -> Case:
        pattern = re.compile(rf"{re.escape(case.name)}_seg_{target}_(\d+)_cropped\.jpg")
        masks = {
            f"rater{match[1]}": read_mask(path, half=True)
            for path in sorted(case.iterdir())
            if (match := pattern.fullmatch(path.name))
        }
        return assemble(name, read_picture(case / f"{case.name}_cropped.jpg"), masks)

    found = CaseFolder(read)
    for case in sorted(folder.glob("*/*")):
        if (case / f"{case.name}_cropped.jpg").exists():
            found.add(case.name, case, _split_of(case.parent.name))
    return found


def _qubiq(folder: Path) -> CaseFolder | None:
    """Open QUBIQ: ``caseNN/image.nii.gz`` and ``caseNN/taskTT_segSS.nii.gz``.

    Each task of a case is a case of its own, ``case01_task01``.
    """
    marks = sorted(folder.rglob("task*_seg*.nii.gz"))
    if not marks:
        return None

    def read(name: str, case: Path) -> Case:
        image, masks = _read_nifti(case / "image.nii.gz"), {}
        for path in sorted(case.glob(f"{name.rsplit('_', 1)[1]}_seg*.nii.gz")):
            number = path.name.removesuffix(".nii.gz").rsplit("seg", 1)[1]
            mask = _read_nifti(path)
            masks[f"rater{number}"] = (mask if mask.ndim == 2 else mask[..., 0]) > 0
        return assemble(name, image, masks)

    found = CaseFolder(read)
    for case, task in sorted({(path.parent, path.name.split("_")[0]) for path in marks}):
        found.add(f"{case.name}_{task}", case, _split_of(case.parent.name))
    return found


def _read_nifti(path: Path) -> NDArray[np.float64]:
    """Read a 2D NIfTI image as (rows, columns) or (rows, columns, channels)."""
    try:
        import nibabel
    except ImportError as error:
        raise DataError(f"{path.name} is NIfTI: install nibabel (pip install nibabel).") from error
    with reading(path):
        image: Any = nibabel.load(path, mmap=False)
        check_size(number_of_values(image.shape) * np.dtype(np.float64).itemsize)
        values = np.asarray(image.dataobj, dtype=np.float64)
    longer = [size for size in values.shape[2:] if size > 1]
    if values.ndim < 2 or len(longer) > 1 or any(size > 4 for size in longer):
        raise DataError(f"{path} has {values.shape} voxels; 2D images are needed here.")
    values = values.reshape(*values.shape[:2], *longer)
    return np.moveaxis(values, 0, 1)  # NIfTI stores x first


def open_folder(folder: Path | str) -> CaseFolder:
    """Open a multi-rater data set, telling its layout from what is in it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.")
    for layout in (_plain, _lidc, refuge2, _qubiq):
        if (found := layout(folder)) is not None:
            return found
    raise DataError(
        f"{folder} is not a multi-rater data set: it needs images/NAME.ext and "
        "raters/RATER/NAME.ext (or the layout of REFUGE2, LIDC crops or QUBIQ)."
    )
