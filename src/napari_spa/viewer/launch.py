"""Open a napari window with an image and the dock ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def open_window(image: NDArray[np.generic], *, name: str) -> None:
    """Show an image in napari with the dock *SPA Refine*, until the window is closed.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, 3)
        Any real type.
    name : str
        Of its layer.

    Raises
    ------
    InputError
        When napari is installed without a Qt binding.
    """
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
