"""The files of microscopes' own programs, read with bioio and its plugins where installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.errors import InputError
from napari_spa.io.images.faults import needs_extra
from napari_spa.io.images.layout import RawImage, both, length, several

if TYPE_CHECKING:
    from pathlib import Path

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
