"""DICOM: which files belong together, and a series as a stack sorted by position.

A series is a list of frames: each file brings one, or many (enhanced multi-frame), and each
frame's facts are looked up where the standard lets them stand: in its own functional groups,
in the shared ones, and in the header.
"""

from __future__ import annotations

import math
import warnings
from collections import ChainMap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.images.faults import import_extra, needs_extra, reading
from napari_spa.io.images.layout import RawImage, both, length
from napari_spa.io.images.lazy import plane_by_plane

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIXES = {".dcm", ".dicom", ".ima"}
_SAME_PLACE = 1e-3  # millimetres
_GAP = 1.5  # a step so many times the usual one is a missing slice
_FRAME_TAGS = [
    *("RescaleSlope", "RescaleIntercept", "FrameTime", "TemporalPositionIndex"),
    *("PixelSpacing", "ImagerPixelSpacing", "SpacingBetweenSlices", "SliceThickness"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
]
_TAGS = [
    *("SeriesInstanceUID", "SOPInstanceUID", "NumberOfFrames", "Rows", "Columns"),
    *("BitsStored", "PixelRepresentation"),
    *("InstanceNumber", "GridFrameOffsetVector"),
    *_FRAME_TAGS,
]
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """A plane of a file, without its pixels."""

    path: Path  # its file
    index: int | None  # which of the file's frames; None where the file has but one
    # What tags say of it, by their names: its own, those of all frames, those of the file.
    facts: ChainMap[str, Any]

    def number(self, name: str, default: float) -> float:
        """Return the value of a tag as a number."""
        numbers = self.numbers(name, 1)
        return default if numbers is None else numbers[0]

    def numbers(self, name: str, count: int) -> tuple[float, ...] | None:
        """Return the values of a tag as finite numbers; None unless there are so many."""
        value = self.facts.get(name)
        values = [value] if isinstance(value, str | int | float) else list(value or ())
        try:
            numbers = tuple(float(part) for part in values)
        except (TypeError, ValueError):
            return None
        fits = len(numbers) == count and all(math.isfinite(number) for number in numbers)
        return numbers if fits else None

    @property
    def place(self) -> float | None:
        """Where it lies along the normal of its plane, in millimetres."""
        position = self.numbers("ImagePositionPatient", 3)
        sides = self.numbers("ImageOrientationPatient", 6)
        if position is None or sides is None:
            return None
        along = float(np.dot(np.cross(sides[:3], sides[3:]), position))
        own = any("ImagePositionPatient" in said for said in self.facts.maps[:2])
        if self.index is None or own:
            return along
        offsets = self.facts.get("GridFrameOffsetVector")  # doses
        return None if offsets is None else along + float(offsets[self.index])

    @property
    def rescale(self) -> tuple[float, float]:
        """What stored values are multiplied by, and what is added."""
        return self.number("RescaleSlope", 1.0), self.number("RescaleIntercept", 0.0)

    @property
    def stored_range(self) -> tuple[int, int]:
        """The least and the highest value that can be stored."""
        bits = min(max(int(self.number("BitsStored", 16)), 1), 32)
        signed = self.number("PixelRepresentation", 0) == 1
        low = -(2 ** (bits - 1)) if signed else 0
        return low, low + 2**bits - 1


def looks_like_dicom(path: Path) -> bool:
    """Tell by its name whether a file may be DICOM; without a known suffix by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    # Files are often named by number or unique identifier, as "1.2.840.113619.2".
    if path.name.upper() == "DICOMDIR" or (suffix and not suffix[1:].isdecimal()):
        return False
    return _starts_as_dicom(path)


def _read_frames(path: Path) -> list[_Frame]:
    """Read what the header of a file says of each of its planes."""
    import_extra(path, "pydicom")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values that break the standard in small ways
        header = _dataset(path, specific_tags=[*_TAGS, *_GROUPS], stop_before_pixels=True)
        facts = {name: header.get(name) for name in _TAGS}
        shared = _flat(next(iter(header.get(_GROUPS[0]) or ()), None))
        own = [_flat(group) for group in header.get(_GROUPS[1]) or ()]
        count = int(facts["NumberOfFrames"] or 1)
    if count > path.stat().st_size:
        raise ValueError("it claims more frames than it has bytes")
    own = [*own, *[{}] * (count - len(own))][:count]
    return [
        _Frame(path, number if count > 1 else None, ChainMap(frame, shared, facts))
        for number, frame in enumerate(own)
    ]


def _shape(frame: _Frame) -> tuple[int, int]:
    """Return rows and columns; zero for what is no image, such as a report."""
    return int(frame.facts.get("Rows") or 0), int(frame.facts.get("Columns") or 0)


def grouped(paths: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Group files by series, in the order given."""
    try:
        import pydicom  # noqa: F401  whether it is there
    except ImportError:
        together = tuple(paths)
        return [together] if together else []
    groups: dict[str, list[Path]] = {}
    for path in paths:
        try:
            with reading(path):
                first, *others = _read_frames(path)
                if 0 in _shape(first):
                    continue
                key = str(first.facts.get("SeriesInstanceUID") or "")
                if others or not key:  # a file of many frames is a series of its own
                    key += f" {path.name}"
        except InputError:
            key = f"damaged {path.name}"
        groups.setdefault(key, []).append(path)
    return [tuple(group) for group in groups.values()]


def read_series(path: Path, files: Sequence[Path]) -> RawImage:
    """Open a series."""
    instances: dict[str, list[_Frame]] = {}
    for file in files:
        found = _read_frames(file)
        # A copy of a file has its identifier.
        instances.setdefault(str(found[0].facts.get("SOPInstanceUID") or file), found)
    if not instances:
        raise InputError(f"{path} holds no DICOM image.")
    sizes = sorted({_shape(first) for first, *_ in instances.values()})
    if len(sizes) > 1:
        listed = " and ".join(f"{rows} x {columns}" for rows, columns in sizes[:3])
        raise InputError(f"{path} holds images of several sizes ({listed}); sort them apart.")
    frames = [frame for found in instances.values() for frame in found]
    return _stack(path, *_sorted(path, frames))


def _stack(
    path: Path, order: list[list[_Frame]], distance: float | None, notes: tuple[str, ...]
) -> RawImage:
    """Return the frames, by time and place, as one array."""
    flat = [frame for row in order for frame in row]
    dtype = _dtype(flat)
    one = flat[0]
    first = _decoded(path, one, dtype)  # what it is; a damaged one says so here
    shape = (*((len(order), len(order[0])) if len(flat) > 1 else ()), *first.shape)
    names = ("TZ" if len(flat) > 1 else "") + ("YXS" if first.ndim > 2 else "YX")

    def read(at: tuple[int, ...]) -> NDArray[np.generic]:
        time, place = at
        frame = order[time][place]
        plane = _decoded(path, frame, dtype)
        if plane.shape != first.shape:
            raise InputError(f"{frame.path} differs from the rest of its series.")
        return plane.astype(first.dtype, copy=False)

    array: Any = first
    if len(flat) > 1:
        array = plane_by_plane(path, shape, first.dtype, read, colours=first.ndim > 2)
    spacing = one.numbers("PixelSpacing", 2) or one.numbers("ImagerPixelSpacing", 2)
    size = None if spacing is None else both(length(spacing[0], "mm"), length(spacing[1], "mm"))
    return RawImage((array,), names, size, distance, notes)


def _sorted(
    path: Path, frames: Sequence[_Frame]
) -> tuple[list[list[_Frame]], float | None, tuple[str, ...]]:
    """Return the frames by time and place, the distance of places, and notes."""
    counted = sorted(
        frames, key=lambda f: (f.number("InstanceNumber", 0), f.path.name, f.index or 0)
    )
    placed = [(frame.place, frame) for frame in counted]
    if any(place is None for place, _ in placed):
        moving = frames[0].number("FrameTime", 0) > 0
        if moving:
            return [[frame] for frame in counted], None, ()
        return [counted], _said_distance(frames[0]), ()
    groups: list[tuple[float, list[_Frame]]] = []
    for place, frame in sorted(placed, key=lambda pair: pair[0] or 0.0):
        where = place or 0.0
        if groups and abs(groups[-1][0] - where) < _SAME_PLACE:
            groups[-1][1].append(frame)
        else:
            groups.append((where, [frame]))
    for _, group in groups:
        group.sort(key=lambda frame: frame.number("TemporalPositionIndex", 0))
    times = {len(group) for _, group in groups}
    if len(times) > 1:  # some places twice: what is twice is no time
        note = f"{path.name} holds some places more often than others, one after another."
        return [[frame for _, group in groups for frame in group]], None, (note,)
    steps = np.diff([where for where, _ in groups])
    if not len(steps):
        return [[frame] for frame in groups[0][1]], _said_distance(frames[0]), ()
    distance = float(np.median(steps))
    missing = int(np.round(steps / distance - 1)[steps > _GAP * distance].sum())
    note = f"{path.name} lacks about {missing} of its slices; the others are shown."
    stack = [[group[time] for _, group in groups] for time in range(times.pop())]
    return stack, length(distance, "mm"), ((note,) if missing else ())


def _said_distance(frame: _Frame) -> float | None:
    distance = frame.number("SpacingBetweenSlices", 0) or frame.number("SliceThickness", 0)
    return length(distance, "mm")


def _dtype(frames: Sequence[_Frame]) -> np.dtype[Any] | None:
    """Return the type of rescaled values; None where nothing is rescaled."""
    scales = {(*frame.rescale, *frame.stored_range) for frame in frames}
    if {scale[:2] for scale in scales} == {(1.0, 0.0)}:
        return None
    if not all(value.is_integer() for scale in scales for value in scale[:2]):
        return np.dtype(np.float32)
    ends = [
        end * slope + intercept for slope, intercept, low, high in scales for end in (low, high)
    ]
    if not -(2**63) <= min(ends) <= max(ends) < 2**63:
        return np.dtype(np.float32)
    kinds = [np.min_scalar_type(int(end)) for end in (min(ends), max(ends))]
    return np.result_type(*kinds)


def _decoded(path: Path, frame: _Frame, dtype: np.dtype[Any] | None) -> NDArray[np.generic]:
    """Decode one plane, black as the least value, and rescale it."""
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = _dataset(frame.path)
            plane: NDArray[Any] = pixel_array(data, index=frame.index)
            plane = plane.astype(plane.dtype.newbyteorder("="), copy=False)
        except RuntimeError as error:  # pydicom names the decoders that it misses
            if "install" in str(error) or "missing dependencies" in str(error):
                raise needs_extra(path, "pylibjpeg") from error
            raise
        meaning = str(data.get("PhotometricInterpretation")).strip()
        if meaning == "PALETTE COLOR":
            return apply_color_lut(plane, data)
    if plane.ndim > 2:
        return plane
    if meaning == "MONOCHROME1":  # the least value is white
        low, high = frame.stored_range
        plane = (low + high - plane.astype(np.int64)).astype(plane.dtype)
    if dtype is None:
        return plane
    slope, intercept = frame.rescale
    if dtype.kind == "f":
        return (plane.astype(np.float64) * slope + intercept).astype(dtype)
    return (plane.astype(np.int64) * int(slope) + int(intercept)).astype(dtype)


def _dataset(path: Path, **options: Any) -> Any:  # noqa: ANN401  pydicom's Dataset
    """Read a file, also one that begins with its first tag instead of the preamble."""
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not _starts_as_dicom(path):
        raise ValueError("it is no DICOM file, or damaged")
    data: Any = pydicom.dcmread(path, force=True, **options)
    meta = data.file_meta
    if not meta.get("TransferSyntaxUID"):
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return data


def _starts_as_dicom(path: Path) -> bool:
    """Tell whether a file begins as the standard says, or with a tag of group 2 or 8."""
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError:
        return False
    if head[128:] == b"DICM":
        return True
    group, element = head[:2], head[2:4]
    plausible = element in (b"\0\0", b"\x01\0", b"\x02\0", b"\x05\0", b"\x08\0", b"\x16\0")
    return len(head) >= 12 and group in (b"\x02\0", b"\x08\0") and plausible


def _flat(groups: Any) -> dict[str, Any]:  # noqa: ANN401  pydicom's Dataset, or None
    """Return the tags of the functional groups of a frame, whichever group they stand in."""
    found: dict[str, Any] = {}
    for element in groups or ():
        if element.VR == "SQ" and element.value:
            inner = element.value[0]
            found |= {name: inner.get(name) for name in _FRAME_TAGS if name in inner}
    return found
