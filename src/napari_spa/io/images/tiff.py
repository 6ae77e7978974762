"""TIFF, OME-TIFF, ImageJ's TIFF and the pyramids of slide scanners."""

from __future__ import annotations

import logging
import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.io.images.layout import Opened, micrometres, needs_extra
from napari_spa.io.images.pixel_size import pixel_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from tifffile import TiffFile, TiffPageSeries

SUFFIXES = {".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".ndpi", ".qptiff", ".scn"}
_CUT = "invalid page offset"
_SMALL = 256 * 2**20
"""Compressed images of at most so many bytes are read whole; larger ones bit by bit."""


def read_tiff(path: Path) -> Opened:
    """Open a TIFF file: mapped when it is not compressed, through zarr when it is large.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Opened

    Raises
    ------
    InputError
        When its compression needs a package that is not installed.
    OSError, ValueError and others
        When the file is damaged.
    """
    import tifffile

    with _heard() as said, tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise ValueError("it holds no image")
        series = tiff.series[0]
        if any(_CUT in sentence for sentence in said):  # else fewer planes would be all
            raise ValueError("it is cut short")
        axes, size, distance = str(series.axes), pixel_size(tiff), _plane_distance(tiff)
        big = int(series.size) * np.dtype(series.dtype).itemsize > _SMALL
        pyramid = series.levels if big and len(series.levels) > 1 else [series]
        levels: list[Any] = []
        for number, level in enumerate(pyramid):
            levels.append(_level(path, level, number, big))
    return Opened(tuple(levels), axes, size, distance)


def _level(path: Path, level: TiffPageSeries, number: int, big: bool) -> Any:  # noqa: ANN401
    import tifffile

    if level.dataoffset is not None:
        if path.stat().st_size < level.dataoffset + level.nbytes:
            raise ValueError("it is cut short")
        return tifffile.memmap(path, series=0, level=number, mode="r")
    if big:
        store = _zarr_store(path, number)
        if store is not None:
            return store
    try:
        return np.asarray(level.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        whole = _by_pillow(path, level)
        if whole is None:
            raise needs_extra(path, "imagecodecs") from error
        return whole


class _Listener(logging.Handler):
    """Keeps what is said in the thread that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        if record.thread == self._thread:
            self.said.append(record.getMessage())


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Listen to tifffile, which reads what it can of a damaged file and logs the rest."""
    logger, listener = logging.getLogger("tifffile"), _Listener()
    logger.addHandler(listener)
    try:
        yield listener.said
    finally:
        logger.removeHandler(listener)


def _zarr_store(path: Path, number: int) -> Any:  # noqa: ANN401  a zarr array
    """Return a level as an array that reads what is asked for; None without zarr."""
    try:
        import tifffile
        import zarr

        store = tifffile.imread(path, series=0, level=number, aszarr=True)
    except ImportError:
        return None
    opened: Any = zarr.open(store, mode="r")
    return opened


def _by_pillow(path: Path, level: TiffPageSeries) -> NDArray[np.generic] | None:
    """Read a common compression, such as LZW, with what is always installed."""
    import imageio.v3 as iio

    try:
        array = np.asarray(iio.imread(path, plugin="pillow"))
    except (OSError, ValueError, RuntimeError):
        return None
    same = array.shape == level.shape and array.dtype == np.dtype(level.dtype).newbyteorder("=")
    return array if same else None


def _plane_distance(tiff: TiffFile) -> float | None:
    """Return the distance of planes in micrometres, from OME or ImageJ."""
    if tiff.ome_metadata:
        from xml.etree import ElementTree

        pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
        if pixels is None:
            return None
        unit, length = pixels.get("PhysicalSizeZUnit", "µm"), pixels.get("PhysicalSizeZ", "0")
    else:
        facts = tiff.imagej_metadata or {}
        unit, length = str(facts.get("unit", "")), str(facts.get("spacing", "0"))
    distance = float(length) * (micrometres(unit) or 0.0)
    return distance if math.isfinite(distance) and distance > 0 else None
