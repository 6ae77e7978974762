"""TIFF, OME-TIFF, ImageJ's TIFF and the pyramids of slide scanners."""

from __future__ import annotations

import logging
import os
import struct
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.io.images.faults import check_size, needs_extra
from napari_spa.io.images.layout import RawImage, both, length, several
from napari_spa.io.images.lazy import file_array, in_planes, number_of_values

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from numpy.typing import NDArray
    from tifffile import TiffFile, TiffPage, TiffPageSeries

SUFFIXES = {".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".ndpi", ".qptiff", ".scn"}
_SMALL = 256 * 2**20
"""Compressed images of at most so many bytes are read whole; larger ones bit by bit."""

_RESOLUTION_UNITS = {2: "inch", 3: "cm"}
# Dots an inch that programs write without having measured anything, 1 among them.
_PRINTED = (1, 72, 96, 100, 120, 144, 150, 180, 200, 240, 300, 350, 360, 400, 600, 720, 1200, 2400)
_LOSSY = {6, 7, 33007, 34892, 34712, 33003, 33004, 33005, 34933, 34934, 50001}  # JPEG's kin
_COMPANIONS = ("thumbnail", "label", "macro", "overview")  # series beside that of a slide
_WHITE_IS_ZERO, _PALETTE = 0, 3
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it says, we say


def read_tiff(path: Path, *, as_labels: bool = False) -> RawImage:
    """Open a TIFF file: read in parts where it is large and the format allows."""
    import tifffile

    missing = [name for name in ome_parts(path) if not os.path.exists(path.parent / name)]
    options: dict[str, Any] = {"is_ome": False} if missing else {}
    with tifffile.TiffFile(path, **options) as tiff:
        _check_pages(tiff)
        if not tiff.series:
            raise ValueError("it holds no image")
        images = [
            _image(path, tiff, number, as_labels)
            for number, series in enumerate(tiff.series)
            if not str(series.name).lower().startswith(_COMPANIONS) or len(tiff.series) == 1
        ]
    raw = several(path, images)
    if not missing:
        return raw
    note = (
        f"{path.name} is a part of an image whose other parts are missing "
        f"({', '.join(missing[:3])}); only what this file holds is opened."
    )
    return replace(raw, notes=(*raw.notes, note))


def _check_pages(tiff: TiffFile) -> None:
    """Refuse pages that lead in a circle, without an end, or out of the file, where it ends."""
    file, form = tiff.filehandle, tiff.tiff
    offset, seen = int(tiff.pages.first.offset), set[int]()
    while offset:
        if offset in seen:
            raise ValueError("its pages lead in a circle")
        if offset + form.tagnosize > file.size:  # tifffile would take those before for all
            raise ValueError("it is cut short")
        seen.add(offset)
        try:
            file.seek(offset)
            (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
            file.seek(offset + form.tagnosize + tags * form.tagsize)
            (offset,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
        except (struct.error, OSError, ValueError, OverflowError):
            return  # reading the page says what is wrong


def ome_parts(path: Path) -> tuple[str, ...]:
    """Return the names of all files of a multi-file OME-TIFF, in order; else nothing."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return _ome_parts(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _ome_parts(path: Path, time: int, size: int) -> tuple[str, ...]:
    import tifffile

    try:
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            root = _ome_xml(tiff)
    except Exception:  # noqa: BLE001  opening it says what is wrong
        return ()
    if root is None:
        return ()
    names = dict.fromkeys(
        element.get("FileName", "") for element in root.iterfind(".//{*}TiffData/{*}UUID")
    )
    # Parts lie beside one another; names that lead elsewhere are not followed.
    known = tuple(name for name in names if name and "/" not in name and "\\" not in name)
    return known if len(known) > 1 and path.name in known else ()


def _image(path: Path, tiff: TiffFile, number: int, as_labels: bool) -> RawImage:
    """Open one of the images of a file."""
    series = tiff.series[number]
    first: Any = series.keyframe
    size, distance = _lengths(tiff, first, number)
    big = int(series.size) * np.dtype(series.dtype).itemsize > _SMALL
    pyramid = series.levels if big and len(series.levels) > 1 else [series]
    axes = str(series.axes)
    levels = [_level(path, number, n, level, big) for n, level in enumerate(pyramid)]
    show = _shown_values(tiff, first, as_labels)
    if show is not None and axes.endswith("YX"):
        levels = [_mapped(path, level, *show) for level in levels]
        axes += "S" if show[0].ndim > 1 else ""
    lossy = int(first.compression) in _LOSSY
    return RawImage(tuple(levels), axes, size, distance, lossy=lossy)


def _level(path: Path, number: int, level: int, series: TiffPageSeries, big: bool) -> Any:  # noqa: ANN401
    shape, dtype = tuple(int(n) for n in series.shape), np.dtype(series.dtype)
    if series.dataoffset is not None and shape:
        stored = dtype.newbyteorder(">" if series.keyframe.parent.byteorder == ">" else "<")
        return file_array(path, int(series.dataoffset), shape, stored)
    _check_segments(series.keyframe)
    try:
        if big:
            next(iter(series.keyframe.segments()), None)  # whether it can be decoded
            store = _zarr_store(path, number, level)
            if store is not None:
                return store
        check_size(number_of_values(shape) * dtype.itemsize)
        return np.asarray(series.asarray())
    except (ValueError, ImportError) as error:
        if "imagecodecs" not in str(error):
            raise
        whole = None if big else _by_pillow(path, series)
        if whole is None:
            raise needs_extra(path, "imagecodecs") from error
        return whole


def _check_segments(page: Any) -> None:  # noqa: ANN401  tifffile's page
    """Refuse a page that claims more strips or tiles than its file lists, or too large ones."""
    if number_of_values(page.chunked) > len(page.dataoffsets):
        raise ValueError("it is cut short, or damaged")
    check_size(number_of_values(page.chunks) * np.dtype(page.dtype).itemsize)


def _zarr_store(path: Path, number: int, level: int) -> Any:  # noqa: ANN401  a zarr array
    """Return a level as an array that reads what is asked for; None without zarr."""
    try:
        import tifffile
        import zarr

        store = tifffile.imread(path, series=number, level=level, aszarr=True)
    except ImportError:
        return None
    return zarr.open(store, mode="r")


def _by_pillow(path: Path, series: TiffPageSeries) -> NDArray[np.generic] | None:
    """Read a common compression, such as LZW, with what is always installed."""
    from PIL import Image, ImageSequence

    try:
        with path.open("rb") as stream, Image.open(stream) as picture:
            frames = [np.asarray(frame) for frame in ImageSequence.Iterator(picture)]
    except (OSError, ValueError, RuntimeError, SyntaxError):
        return None
    # Pillow cuts what it does not know, such as 16-bit colours; the type tells.
    dtype = np.dtype(series.dtype).newbyteorder("=")
    if len({(frame.shape, frame.dtype) for frame in frames}) != 1 or frames[0].dtype != dtype:
        return None
    whole = np.stack(frames)
    return whole.reshape(series.shape) if whole.size == series.size else None


def _shown_values(
    tiff: TiffFile, page: TiffPage, as_labels: bool
) -> tuple[NDArray[np.generic], int] | None:
    """Return what stored values stand for, by value, and how many values there are.

    None where they stand for themselves.  ImageJ's and OME's palettes colour measured
    values on screen; elsewhere the palette is the picture.
    """
    bits, kind = int(page.bitspersample), np.dtype(page.dtype or np.uint8).kind
    if kind not in "bu" or bits > 16:
        return None
    count = 2**bits
    measured = bool(tiff.is_imagej or tiff.is_ome)
    # tifffile writes arrays of bool so, without turning them round.
    turned = bits > 1 or not str(page.software).startswith("tifffile")
    if page.photometric == _WHITE_IS_ZERO and not measured and not as_labels and turned:
        dtype = np.dtype(bool if bits == 1 else page.dtype)
        return np.arange(count - 1, -1, -1).astype(dtype), count
    colours = page.colormap
    if page.photometric != _PALETTE or colours is None or measured or as_labels:
        return None
    table: NDArray[Any] = np.asarray(colours, np.uint16).T  # (2**bits, 3)
    if table.shape != (count, 3):
        return None
    if not (table & 0xFF).any() or np.array_equal(table >> 8, table & 0xFF):
        table = (table >> 8).astype(np.uint8)
    if (table == table[:, :1]).all():
        table = table[:, 0]
    return table, count


def _mapped(path: Path, level: Any, table: NDArray[np.generic], count: int) -> Any:  # noqa: ANN401
    if isinstance(level, np.ndarray):
        return table[level.astype(np.intp) % count]

    def read(at: tuple[int, ...], rows: slice, columns: slice) -> NDArray[np.generic]:
        stored = np.asarray(level[(*at, rows, columns)]).astype(np.intp)
        return np.asarray(table[stored % count])

    shape = (*(int(n) for n in level.shape), *table.shape[1:])
    return in_planes(path, shape, table.dtype, read, colours=table.ndim > 1)


def _lengths(
    tiff: TiffFile, page: TiffPage, number: int
) -> tuple[tuple[float, float] | None, float | None]:
    """Return the size of a pixel and the distance of planes in micrometres, if it is known."""
    root = _ome_xml(tiff)
    if root is not None:
        found = root.findall(".//{*}Pixels")
        if not found:
            return None, None
        pixels = found[number] if number < len(found) else found[0]
        z, y, x = (
            length(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
            for axis in "ZYX"
        )
        return both(y, x), z
    facts = tiff.imagej_metadata or {}
    distance = length(facts.get("spacing"), facts.get("unit"))
    unit: object = facts.get("unit")
    if length(1, unit) is None:
        unit = _RESOLUTION_UNITS.get(_whole_number(page.tags.valueof("ResolutionUnit", default=2)))
    sides = [_side(page, name, unit) for name in ("YResolution", "XResolution")]
    return both(*sides), distance


def _side(page: TiffPage, name: str, unit: object) -> float | None:
    """Return a side of a pixel from the tag that counts pixels; not for a print resolution."""
    value = page.tags.valueof(name, default=None)
    try:
        above, below = (float(part) for part in value)  # pixels, lengths
    except (TypeError, ValueError):
        return None
    side = length(below / above if above else 0, unit)
    if side is None:
        return None
    dots = 25400.0 / side
    printed = any(abs(dots - known) <= 0.001 * known for known in _PRINTED)
    return None if printed else side


def _whole_number(value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return 0


def _ome_xml(tiff: TiffFile) -> Element | None:
    """Return what a file says in OME's words; None where it does not, or not in good XML."""
    from xml.etree import ElementTree

    text = tiff.ome_metadata
    if not text:
        return None
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
