"""Which image of a viewer a click is meant for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image

if TYPE_CHECKING:
    from napari.components import LayerList

    from napari_spa.viewer.annotation.image import AnnotatedImage


def click_target(layers: LayerList, current: AnnotatedImage | None) -> Image | None:
    """Return the image a click is meant for.

    The one with an active object; else, of those that can be seen, the selected one; else the
    last one annotated; else the topmost.
    """
    if current is not None and current.at_hand is not None:
        return current.image
    active = layers.selection.active
    shown = [layer for layer in layers if isinstance(layer, Image) and layer.visible]
    if active in shown:
        return active
    if current is not None and current.image in shown:
        return current.image
    return shown[-1] if shown else None
