"""Which DICOM files of a folder belong together, by what their headers say."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_spa.io.images.faults import FAULTS
from napari_spa.io.images.layout import needs_extra

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SUFFIXES = {".dcm", ".dicom", ".ima"}
_TAGS = [
    *("SeriesInstanceUID", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel"),
    *("PhotometricInterpretation", "BitsStored", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "InstanceNumber", "FrameTime"),
    *("PixelSpacing", "ImagerPixelSpacing", "SpacingBetweenSlices", "SliceThickness"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
]


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """The header of a file, as far as it matters here.

    Attributes
    ----------
    path : Path
        The file.
    header : mapping
        What its tags say, by their names.
    """

    path: Path
    header: Mapping[str, Any]

    @property
    def series(self) -> str:
        """The series it belongs to; a file of many frames is one of its own."""
        series = str(self.header.get("SeriesInstanceUID", ""))
        return f"{series} {self.path.name}" if self.frames > 1 or not series else series

    @property
    def frames(self) -> int:
        """Number of planes in the file."""
        return int(self.header.get("NumberOfFrames") or 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; zero for what is no image, such as a report."""
        return int(self.header.get("Rows") or 0), int(self.header.get("Columns") or 0)

    def number(self, name: str, default: float) -> float:
        """Return the value of a tag as a number."""
        value = self.header.get(name)
        return default if value in (None, "") else float(value)

    def numbers(self, name: str, count: int) -> tuple[float, ...] | None:
        """Return the values of a tag as numbers; None unless there are so many."""
        value = self.header.get(name)
        if value in (None, "") or isinstance(value, str) or len(value) != count:
            return None
        return tuple(float(part) for part in value)


def looks_like_dicom(path: Path) -> bool:
    """Tell by its name whether a file may be DICOM; without a known suffix by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    # Files are often named by number or unique identifier, as "1.2.840.113619.2".
    if path.name.upper() == "DICOMDIR" or (suffix and not suffix[1:].isdecimal()):
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_header(path: Path) -> Instance:
    """Read the header of a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Instance

    Raises
    ------
    InputError
        When pydicom is not installed.
    ValueError, OSError and others
        When the file is damaged.
    """
    try:
        import pydicom
    except ImportError as error:
        raise needs_extra(path, "pydicom") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values that break the standard in small ways
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        except pydicom.errors.InvalidDicomError as error:
            raise ValueError("it is no DICOM file, or damaged") from error
        return Instance(path, {name: header.get(name) for name in _TAGS})


def grouped(paths: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Group files by series, in the order given.

    Parameters
    ----------
    paths : iterable of Path
        Files that look like DICOM.

    Returns
    -------
    list of tuple of Path
        A file that cannot be read is alone; what holds no pixels, such as a report, is
        left out.  Without pydicom all files are one series.
    """
    try:
        import pydicom  # noqa: F401  whether it is there
    except ImportError:
        together = tuple(paths)
        return [together] if together else []
    groups: dict[str, list[Path]] = {}
    for path in paths:
        try:
            instance = read_header(path)
            if 0 in instance.shape:
                continue
            key = instance.series
        except FAULTS:
            key = f"damaged {path.name}"
        groups.setdefault(key, []).append(path)
    return [tuple(group) for group in groups.values()]
