"""Volumes of medicine: NIfTI and Analyze with nibabel, NRRD and MetaImage with SimpleITK.

The file's last axis comes first, so (Z, Y, X), as SimpleITK turns them.  Nothing is flipped:
index (z, y, x) of the labels is voxel (x, y, z) of the file.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.images.faults import check_size, import_extra, needs_extra
from napari_spa.io.images.layout import RawImage, both, length, several
from napari_spa.io.images.lazy import number_of_values, plane_by_plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_PAIRS = {".hdr": ".img", ".img": ".hdr"}
_AXES = "XYZTC"
_HEADER_BYTES = 2**16


def read_nifti(path: Path) -> RawImage:
    """Open a NIfTI or Analyze file: plane by plane, or whole when it is compressed."""
    nibabel = import_extra(path, "nibabel")
    other = _PAIRS.get(path.suffix.lower())
    if other is not None and partner(path) is None:
        raise ValueError(f"the other file of the pair, {path.stem}{other}, is missing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # Not mapped: see io/images/lazy.py.
            image = nibabel.load(path, mmap=False)
        except nibabel.filebasedimages.ImageFileError as error:
            raise ValueError("it is no NIfTI file, or damaged") from error
        proxy, header = image.dataobj, image.header
        if not 2 <= len(proxy.shape) <= len(_AXES):
            raise ValueError(f"it has {len(proxy.shape)} axes")
        packed = path.suffix.lower() in (".gz", ".mgz")
        array = _whole(proxy) if packed else _planes(path, proxy)
    size, distance = _nifti_lengths(header)
    axes = _AXES[: len(proxy.shape)][::-1]
    if len(array.shape) > len(axes):
        axes += "S"
    return RawImage((array,), axes, size, distance)


def read_itk(path: Path) -> RawImage:
    """Read a NRRD or MetaImage file whole."""
    itk = import_extra(path, "SimpleITK")
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    data_files(path)  # before ITK opens what a header names
    try:
        reader.ReadImageInformation()
        size = [int(n) for n in reader.GetSize()]
        check_size(number_of_values(size) * int(reader.GetNumberOfComponents()) * 8)
        image = reader.Execute()
    except RuntimeError as error:
        raise ValueError(_itk_reason(error)) from error
    if image.GetDimension() > 4:
        raise ValueError(f"it has {image.GetDimension()} axes")
    array = np.asarray(itk.GetArrayFromImage(image))
    axes = "XYZT"[: image.GetDimension()][::-1]
    if array.ndim > len(axes):
        axes += "S" if array.shape[-1] in (3, 4) else "C"
    zooms = [float(step) for step in image.GetSpacing()[:3]]
    key = "NRRD_space units"
    said = str(image.GetMetaData(key)) if image.HasMetaDataKey(key) else ""
    unit = re.sub(r"[^a-zµ]", "", said.split(" ")[0].lower()) or "mm"
    pixel, distance = _sizes(zooms, unit, said=any(zoom != 1 for zoom in zooms))
    return RawImage((array,), axes, pixel, distance)


def partner(path: Path) -> Path | None:
    """Return the other file of a pair, ``.hdr`` and ``.img``; None where there is none."""
    other = _PAIRS.get(path.suffix.lower())
    if other is None:
        return None
    beside = (path.with_suffix(other), path.with_suffix(other.upper()))
    return next((file for file in beside if file.is_file()), None)


def data_files(path: Path) -> tuple[Path, ...]:
    """Return the other files that hold the pixels of a header, as it names them."""
    suffix = path.suffix.lower()
    if suffix in _PAIRS:
        other = partner(path)
        return () if other is None else (other,)
    if suffix not in ITK_SUFFIXES:
        return ()
    with path.open("rb") as stream:
        text = stream.read(_HEADER_BYTES).decode("utf-8", "replace")
    if suffix in (".mha", ".mhd"):
        found = re.search(r"^\s*ElementDataFile[ \t]*[=:][ \t]*([^\r\n]+)", text, re.I | re.M)
        end = found
    else:
        end = re.search(r"\r?\n\r?\n|\Z" if len(text) < _HEADER_BYTES else r"\r?\n\r?\n", text)
        text = text[: end.start()] if end else text
        found = re.search(r"^data ?file: *([^\r\n]+)", text, re.I | re.M)
    if end is None:
        raise ValueError("its header does not end")
    name = "LOCAL" if found is None else found[1].strip()
    if found is None or name.upper() == "LOCAL":
        return ()
    names = text[found.end() :].split() if name.upper().startswith("LIST") else [name]
    for name in names:
        out = Path(name).is_absolute() or ".." in Path(name).parts
        if out or not (path.parent / name).is_file():
            raise ValueError(f"its pixels lie in {name}, which is no file beside it")
    return tuple(path.parent / name for name in names)


def _itk_reason(error: RuntimeError) -> str:
    """Return the last of the lines that SimpleITK writes, without where in ITK it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[-1] if lines else "it cannot be decoded"
    return re.sub(r"^(?:sitk|ITK) ?::?ERROR: *(?:\S+\(0x[0-9a-f]+\): *)?", "", said)


def _dtype(proxy: Any) -> np.dtype[Any]:  # noqa: ANN401  nibabel's ArrayProxy
    """Return the type of the values: as stored unless they are scaled."""
    slope, inter = getattr(proxy, "slope", 1.0), getattr(proxy, "inter", 0.0)
    unscaled = (float(slope), float(inter)) == (1.0, 0.0)
    return np.dtype(proxy.dtype if unscaled else np.float32).newbyteorder("=")


def _whole(proxy: Any) -> NDArray[np.generic]:  # noqa: ANN401  nibabel's ArrayProxy
    dtype = _dtype(proxy)
    check_size(number_of_values(proxy.shape) * max(dtype.itemsize, proxy.dtype.itemsize))
    values = np.asanyarray(proxy)
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
        check_size(number_of_values(shape[len(proxy.shape) - 2 :]) * dtype.itemsize)
        read(tuple(n - 1 for n in shape[: len(proxy.shape) - 2]))  # a file cut short says so here
    return plane_by_plane(path, shape, dtype, read, colours=colours)


def _colours(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Turn the axes round; the fields of an RGB voxel become a last axis."""
    turned: Any = values.transpose()
    if values.dtype.names is None:
        return np.asarray(turned)
    return np.stack([turned[name] for name in values.dtype.names], axis=-1)


def _nifti_lengths(header: Any) -> tuple[tuple[float, float] | None, float | None]:  # noqa: ANN401
    """Return the size of a pixel and the distance of planes in micrometres.

    A file that names no unit means millimetres, as all tools take it, unless every length
    is one: then no one has set them.
    """
    try:
        zooms = [float(zoom) for zoom in header.get_zooms()[:3]]
        unit = str(header.get_xyzt_units()[0]) if hasattr(header, "get_xyzt_units") else "unknown"
    except (KeyError, ValueError, TypeError):
        return None, None
    known = unit != "unknown"
    return _sizes(zooms, unit if known else "mm", said=known or any(zoom != 1 for zoom in zooms))


def _sizes(
    zooms: Sequence[float], unit: str, *, said: bool
) -> tuple[tuple[float, float] | None, float | None]:
    """Turn distances along X, Y and Z into the size of a pixel and the distance of planes."""
    if not said:
        return None, None
    lengths = [length(zoom, unit) for zoom in zooms]
    pixel = both(lengths[1], lengths[0]) if len(lengths) > 1 else None
    return pixel, (lengths[2] if len(lengths) > 2 and pixel is not None else None)


# Which plugin of bioio reads it; bioformats reads all, and needs Java.
_PLUGINS = {
    ".czi": "bioio-czi",
    ".lif": "bioio-lif",
    ".nd2": "bioio-nd2",
    **dict.fromkeys((".oib", ".oif", ".vsi", ".ims", ".dv", ".mrxs"), "bioio-bioformats"),
}
_IN_EXTRA = {"bioio-czi", "bioio-lif", "bioio-nd2"}
VENDOR_SUFFIXES = frozenset(_PLUGINS)


def read_vendor(path: Path) -> RawImage:
    """Open a microscope's file; pixels are read as they are asked for."""
    plugin = _PLUGINS[path.suffix.lower()]
    try:
        from bioio import BioImage
        from bioio_base.exceptions import UnsupportedFileFormatError
    except ImportError as error:
        raise _needs(path, plugin) from error
    try:
        file = BioImage(path)
    except UnsupportedFileFormatError as error:
        raise _needs(path, plugin) from error
    scenes = []
    for scene in file.scenes:
        file.set_scene(scene)
        sizes = file.physical_pixel_sizes
        z, y, x = (length(value, "um") for value in (sizes.Z, sizes.Y, sizes.X))
        scenes.append(RawImage((file.dask_data,), str(file.dims.order), both(y, x), z))
    return several(path, scenes, "scenes")


def _needs(path: Path, plugin: str) -> InputError:
    if plugin in _IN_EXTRA:
        return needs_extra(path, "bioio")
    return InputError(
        f"to read {path}, install bioio and {plugin} (pip install bioio {plugin}), or "
        "save it as OME-TIFF."
    )
