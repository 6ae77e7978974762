"""The size of a pixel, as a TIFF file tells it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tifffile import TiffFile

_MICROMETRES = {
    "m": 1e6,
    "cm": 1e4,
    "centimeter": 1e4,
    "mm": 1e3,
    "millimeter": 1e3,
    "um": 1.0,
    "µm": 1.0,  # micro sign, as OME writes it
    "\u03bcm": 1.0,  # Greek letter mu
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "inch": 25400.0,
}
_RESOLUTION_UNITS = {2: 25400.0, 3: 1e4}  # TIFF's inch and centimetre


def pixel_size(tiff: TiffFile) -> tuple[float, float] | None:
    """Return the size of a pixel, from OME, ImageJ or plain TIFF tags.

    Parameters
    ----------
    tiff : TiffFile
        An open file.

    Returns
    -------
    (height, width) or None
        In micrometres, where the file says so.
    """
    if tiff.ome_metadata:
        return _ome_pixel_size(tiff.ome_metadata)
    tags = tiff.pages.first.tags
    per_pixel = []
    for name in ("YResolution", "XResolution"):
        numerator, denominator = tags.valueof(name, default=(0, 1))
        per_pixel.append(denominator / numerator if numerator else 0.0)
    unit = _MICROMETRES.get(str((tiff.imagej_metadata or {}).get("unit", "")).lower())
    if unit is None:
        unit = _RESOLUTION_UNITS.get(int(tags.valueof("ResolutionUnit", default=1)), 0.0)
    return _positive(per_pixel[0] * unit, per_pixel[1] * unit)


def _ome_pixel_size(xml: str) -> tuple[float, float] | None:
    from xml.etree import ElementTree

    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return None
    sizes = []
    for axis in "YX":
        unit = _MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), 0.0)
        sizes.append(float(pixels.get(f"PhysicalSize{axis}", 0.0)) * unit)
    return _positive(sizes[0], sizes[1])


def _positive(height: float, width: float) -> tuple[float, float] | None:
    usable = all(math.isfinite(side) and side > 0 for side in (height, width))
    return (height, width) if usable else None
