"""Sample images of the plugin, and opening the dock on one."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import DataError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SampleStack:
    """A procedural stack of slices with its objects known."""

    # (Z, Y, X): Hounsfield units, cut to [-200, 400], or grey values
    image: NDArray[np.int16] | NDArray[np.uint8]
    # (Z, Y, X), 0 where no object is; one number in all slices of an object
    labels: NDArray[np.uint8]
    names: dict[int, str]  # what each number is
    scale: tuple[float, float, float]  # size of a voxel along z, y, x
    units: str  # of ``scale``
    contrast_limits: tuple[float, float]  # values to show as black and as white
    first_click: tuple[int, int, int]  # a voxel well inside object 1, on the middle slice


def sample_stack(name: str) -> SampleStack:
    """Read ``"ct"`` (an abdomen) or ``"em"`` (neuropil), made by a script of the repository."""
    import imageio.v3 as iio

    content = resources.files("napari_spa").joinpath("samples", f"{name}.npz").read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        labels, facts = archive["labels"], json.loads(str(archive["facts"]))
        picture = iio.imread(archive["picture"].tobytes(), extension=".webp")
    _, height, width = labels.shape
    grey = picture[..., 0] if picture.ndim == 3 else picture
    tiles = grey.reshape(-1, height, grey.shape[1] // width, width)
    low, high = facts["range"]
    image = low + tiles.swapaxes(1, 2).reshape(labels.shape) * ((high - low) / 255)
    return SampleStack(
        image=np.rint(image).astype(facts["dtype"]),
        labels=labels,
        names={int(number): text for number, text in facts["names"].items()},
        scale=tuple(facts["scale"]),
        units=facts["units"],
        contrast_limits=tuple(facts["contrast_limits"]),
        first_click=tuple(facts["first_click"]),
    )


def open_window(image: NDArray[np.generic], *, name: str) -> None:
    """Show an image, (H, W) or (H, W, 3), with *SPA Refine* until the window is closed."""
    import napari

    try:
        viewer = napari.Viewer(title="napari-spa")
    except (ImportError, RuntimeError) as error:
        raise InputError(
            "napari cannot open a window here; install it with Qt: pip install 'napari-spa[all]'."
        ) from error
    viewer.add_image(image, name=name, rgb=image.ndim == 3)
    viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
    napari.run()


LayerData = tuple["NDArray[np.generic]", dict[str, Any], str]
"""Data, arguments of the layer and its type, as napari takes them."""

METADATA_KEY = "napari-spa"
"""Where a sample layer's metadata holds ``first_click`` and ``hint``."""


def fundus() -> list[LayerData]:
    """Open a fundus photograph."""
    return _image(
        read_picture("retina"),
        "Fundus",
        (620, 200),
        "Click on the optic disc, the bright round spot on the left.",
        rgb=True,
    )


def cell() -> list[LayerData]:
    """Open a quantitative phase image of a cell."""
    return _image(
        read_picture("cell"),
        "Cell",
        (375, 425),
        "Click on the cell, the bright disc on the right.",
        scale=(0.107, 0.107),
        units=("um", "um"),
        contrast_limits=(20, 230),
    )


def tissue() -> list[LayerData]:
    """Open a section of stained tissue."""
    return _image(
        read_picture("immunohistochemistry"),
        "Tissue",
        (251, 300),
        "Click on a nucleus, for example the dark blue oval in the middle.",
        rgb=True,
    )


def ct() -> list[LayerData]:
    """Open a stack that looks like a CT of the abdomen."""
    hint = "Click on the kidney, the bright oval left of the spine; then propagate it."
    return _stack(sample_stack("ct"), "Abdomen CT (synthetic)", hint)


def em() -> list[LayerData]:
    """Open a stack that looks like neuropil in the electron microscope."""
    hint = "Click on the large mitochondrion, the dark body at the top; then propagate it."
    return _stack(sample_stack("em"), "Neuropil EM (synthetic)", hint)


def read_picture(name: str) -> NDArray[np.generic]:
    """Read a picture of scikit-image, (H, W) or (H, W, 3) uint8."""
    from skimage import data

    try:
        # Those that we name are in its wheel; some distributions leave them out, and then
        # scikit-image tries a download.
        picture: NDArray[np.generic] = getattr(data, name)()
    except (ImportError, OSError, ValueError) as error:
        raise DataError(
            f"scikit-image's picture {name!r} is not installed and cannot be downloaded."
        ) from error
    return picture


def _stack(stack: SampleStack, name: str, hint: str) -> list[LayerData]:
    return _image(
        stack.image,
        name,
        stack.first_click,
        hint,
        scale=stack.scale,
        units=(stack.units,) * 3,
        axis_labels=("z", "y", "x"),
        contrast_limits=stack.contrast_limits,
    )


def _image(
    data: NDArray[np.generic], name: str, first_click: tuple[int, ...], hint: str, **arguments: Any
) -> list[LayerData]:
    metadata = {METADATA_KEY: {"first_click": first_click, "hint": hint}}
    return [(data, {"name": name, "metadata": metadata, **arguments}, "image")]
