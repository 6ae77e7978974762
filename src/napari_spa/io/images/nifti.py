"""NIfTI volumes, as SimpleITK turns them: the file's last axis first, so (Z, Y, X).

Nothing is flipped: index (z, y, x) of the labels is voxel (x, y, z) of the file.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.io.images.layout import Opened, needs_extra
from napari_spa.io.images.lazy import plane_by_plane

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIXES = (".nii", ".nii.gz")
_UNITS = {"meter": 1e6, "mm": 1e3, "micron": 1.0}
_AXES = "XYZTC"


def read_nifti(path: Path) -> Opened:
    """Open a NIfTI file: plane by plane, or whole when it is compressed.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Opened
        Scaled values are float32, others as stored.

    Raises
    ------
    InputError
        When nibabel is not installed.
    OSError, ValueError and others
        When the file is damaged.
    """
    try:
        import nibabel
    except ImportError as error:
        raise needs_extra(path, "nibabel") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image: Any = nibabel.load(path)
        except nibabel.filebasedimages.ImageFileError as error:
            raise ValueError("it is no NIfTI file, or damaged") from error
        proxy, header = image.dataobj, image.header
        if len(proxy.shape) > len(_AXES) or len(proxy.shape) < 2:
            raise ValueError(f"it has {len(proxy.shape)} axes")
        array = _whole(proxy) if path.suffix.lower() == ".gz" else _planes(path, proxy)
    size, distance = _lengths(header)
    axes = _AXES[: len(proxy.shape)][::-1]
    if len(array.shape) > len(axes):
        axes += "S"
    return Opened((array,), axes, size, distance)


def _dtype(proxy: Any) -> np.dtype[Any]:  # noqa: ANN401  nibabel's ArrayProxy
    """Return the type of the values: as stored unless they are scaled."""
    unscaled = (float(proxy.slope), float(proxy.inter)) == (1.0, 0.0)
    return np.dtype(proxy.dtype if unscaled else np.float32)


def _whole(proxy: Any) -> NDArray[np.generic]:  # noqa: ANN401  nibabel's ArrayProxy
    values = np.asanyarray(proxy)
    dtype = _dtype(proxy)
    return _colours(values if dtype.fields else values.astype(dtype, copy=False))


def _planes(path: Path, proxy: Any) -> Any:  # noqa: ANN401  an array
    """Return an array that reads a plane when it is asked for."""
    stored = _dtype(proxy)
    colours = bool(stored.fields)
    dtype = np.dtype(np.uint8) if colours else stored

    def read(at: tuple[int, ...]) -> NDArray[np.generic]:
        plane = np.asanyarray(proxy[(slice(None), slice(None), *reversed(at))])
        return _colours(plane) if colours else plane.T.astype(dtype, copy=False)

    shape = tuple(int(n) for n in reversed(proxy.shape))
    if colours:
        shape = (*shape, len(stored.names or ()))
    if 0 not in shape:
        read(tuple(n - 1 for n in shape[: len(proxy.shape) - 2]))  # a file cut short says so here
    return plane_by_plane(path, shape, dtype, read, colours=colours)


def _colours(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Turn the axes round; the fields of an RGB voxel become a last axis."""
    turned: Any = values.transpose()
    if values.dtype.names is None:
        return np.asarray(turned)
    return np.stack([turned[name] for name in values.dtype.names], axis=-1)


def _lengths(header: Any) -> tuple[tuple[float, float] | None, float | None]:  # noqa: ANN401
    """Return the size of a pixel and the distance of planes in micrometres.

    A file that names no unit means millimetres, as all tools take it, unless every length
    is one: then nobody has set them.
    """
    zooms = [float(zoom) for zoom in header.get_zooms()[:3]]
    unit = str(header.get_xyzt_units()[0])
    if unit == "unknown" and all(zoom == 1 for zoom in zooms):
        return None, None
    lengths = [zoom * _UNITS.get(unit, 1e3) for zoom in zooms]
    if not all(math.isfinite(length) and length > 0 for length in lengths):
        return None, None
    return (lengths[1], lengths[0]), (lengths[2] if len(lengths) > 2 else None)
