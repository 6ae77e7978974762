"""What napari and its drivers need of us: a guard for vispy, quick outlines, early imports."""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import logging
import math
import os
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from vispy.gloo.glir import GlirProgram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari.components import ViewerModel
    from napari.layers import Labels
    from numpy.typing import NDArray


_TILE_SIDE = 256
"""Outlines are looked for in tiles of so many pixels, where a tile holds anything."""
_LEAST_PART = 2**18
"""To draw a part takes as long as for so many pixels of the whole, at least."""


def keep_programs() -> None:
    """Let the graphics driver keep the programs of layers that are gone.

    With vispy 0.17 the process ends with a segmentation fault in the second drawing after
    vispy deleted the programs of a Shapes layer, in napari alone and with no plugin open
    (seen with Mesa's software rendering; the same call fails in reports from Windows).
    Programs that are never deleted cost some kilobytes for each layer until the window
    is closed; work that is lost costs more.
    """
    # Nothing is deleted; the context takes its programs along when it goes.
    GlirProgram.delete = lambda self: None


@contextmanager
def unselected(viewer: ViewerModel) -> Iterator[None]:
    """Let napari not select layers that are added, which takes as long again as adding them.

    A napari that knows nothing of it selects them.
    """
    layers, name = viewer.layers, "_activate_on_insert"  # it is private
    before = getattr(layers, name, True)
    setattr(layers, name, False)
    try:
        yield
    finally:
        setattr(layers, name, before)


def quick_contours(layer: Labels) -> None:
    """Let a Labels layer find its outlines several times as fast as napari does.

    napari dilates and erodes the whole plane for each change of it, which takes 100 to 200 ms
    at 2048 x 2048 pixels, in the window's thread; we look where labels are.  A napari
    that asks another method goes on with its own.
    """
    setattr(layer, "_calculate_contour", partial(_contour_of, layer))  # noqa: B010  it is private


def _contour_of(
    layer: Labels, labels: NDArray[Any], data_slice: tuple[slice, ...]
) -> NDArray[Any] | None:
    """Return the labels of a part with all but their outlines taken out."""
    width = int(layer.contour)
    if width < 1 or labels.ndim > 2:
        return None
    return outlines(labels, width, layer.colormap.background_value, part=data_slice)


def outlines(
    labels: NDArray[Any], width: int, background: int = 0, *, part: tuple[slice, ...] | None = None
) -> NDArray[Any]:
    """Return a copy of labels, (H, W), with what is deeper in them than ``width`` made background.

    The image's own edge has no outline.  Of a part, two slices, if only that is wanted; tiles that
    hold nothing but background are soon done.
    """
    rows, columns = part or (slice(0, labels.shape[0]), slice(0, labels.shape[1]))
    shape = rows.stop - rows.start, columns.stop - columns.start
    found = np.zeros(shape, labels.dtype)  # which takes no time until it is written to
    if background:
        found[:] = background
    for top in range(rows.start, rows.stop, _TILE_SIDE):
        for left in range(columns.start, columns.stop, _TILE_SIDE):
            tile = (
                slice(top, min(top + _TILE_SIDE, rows.stop)),
                slice(left, min(left + _TILE_SIDE, columns.stop)),
            )
            if (labels[tile] != background).any():
                found[_within(tile, (rows, columns))] = _outlines_in(
                    labels, width, background, tile
                )
    return found


def _outlines_in(
    labels: NDArray[Any], width: int, background: int, tile: tuple[slice, ...]
) -> NDArray[Any]:
    around = _grown(tile, width, labels.shape)
    near = labels[around]
    deep = np.ones(near.shape, dtype=bool)
    for values, inside in ((near.T, deep.T), (near, deep)):
        same = values[1:] == values[:-1]
        inside[1:] &= same
        inside[:-1] &= same
    for _ in range(width - 1):
        known = deep.copy()
        for kept, inside in ((known.T, deep.T), (known, deep)):
            inside[1:] &= kept[:-1]
            inside[:-1] &= kept[1:]
    return np.where(deep, labels.dtype.type(background), near)[_within(tile, around)]


def _grown(part: tuple[slice, ...], by: int, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return a part with so many pixels more on each side, within a shape."""
    return tuple(
        slice(max(0, side.start - by), min(length, side.stop + by))
        for side, length in zip(part, shape, strict=True)
    )


def _within(part: tuple[slice, ...], whole: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return where a part lies in what is cut out of the whole."""
    return tuple(
        slice(side.start - out.start, side.stop - out.start)
        for side, out in zip(part, whole, strict=True)
    )


def refresh_parts(layer: Labels, parts: Iterable[tuple[int | slice, ...]]) -> None:
    """Show what changed in parts of a layer's data, given as places in it, as napari's brush does.

    All is drawn again where that takes no longer, or where what is drawn is no view of the data.
    """
    shown = layer._slice
    raw, axes, at = shown.image.raw, shown.slice_input.displayed, layer._get_pt_not_disp()
    if isinstance(layer.data, np.ndarray) and np.may_share_memory(layer.data, raw):
        spans = [
            [range(n)[s if isinstance(s, slice) else slice(s, s + 1)] for n, s in pairs]
            for pairs in (zip(layer.data.shape, part, strict=True) for part in parts)
        ]
        places = [
            tuple(slice(part[axis].start, part[axis].stop) for axis in axes)
            for part in spans
            if all(place in part[axis] for axis, place in at.items())
        ]
        effort = sum(max(_LEAST_PART, math.prod(s.stop - s.start for s in p)) for p in places)
        if layer.visible and layer.loaded and raw.ndim == 2 and 2 * effort <= raw.size:
            for place in places:
                grown = _grown(place, int(layer.contour), raw.shape)
                drawn = layer._raw_to_displayed(raw, data_slice=grown)
                shown.image.view[grown] = drawn
                layer.events.labels_update(data=drawn, offset=[side.start for side in grown])
                if layer._slice is not shown:
                    break  # there was no texture of its size: all was drawn again
            return
    layer.refresh(extent=False, highlight=False, thumbnail=False)


def replay(layer: Labels, *, redo: bool = False) -> None:
    """Let a layer's own undo, or redo, do what is next; nothing is drawn."""
    with layer._block_refresh():
        if redo:
            layer.redo()
        else:
            layer.undo()


def next_in_history(layer: Labels, *, redo: bool = False) -> tuple[Any, ...]:
    """Return the pieces of what a layer's own undo, or redo, is about to do, in any order."""
    history = getattr(layer, "_redo_history" if redo else "_undo_history", ())
    return tuple(history[-1]) if history else ()


_logger = logging.getLogger(__name__)

# What PyTorch's extension module links to, in the order in which each needs those before it.
_LIBRARIES = ("c10", "torch_cpu", "torch", "torch_python")


class OldObjects:
    """Leaves what has been there for long out of Python's searches for garbage.

    Each time the objects have grown by a quarter Python looks at all of them, and no thread
    runs: in a napari with PyTorch for 100 to 400 ms, several times while PyTorch is imported and
    once in some twenty rounds.  What is left out is let go of when nothing refers to it, but not
    in cycles, as removed layers are: so :meth:`search` has to come before a layer is removed.
    napari collects garbage for each, which takes long where all is looked at.
    """

    def __init__(self) -> None:
        self._spared = self._later = False

    def spare(self, *, again: bool = True) -> None:
        """Look at nothing again that is there now, unless someone else spares what they want.

        Without ``again`` what came since the last time stays looked at.
        """
        if again if self._spared else not gc.get_freeze_count():
            gc.freeze()
            self._spared = True

    def search(self, removing: Any = None) -> None:
        """Look at everything again, unless the layer that is removed came since."""
        if self._spared and not self._later and not _is_looked_at(removing):
            gc.unfreeze()
            self._spared = False

    @contextmanager
    def search_later(self) -> Iterator[None]:
        """Remove layers without a search, which napari waits for: the next one finds them."""
        self._later = True
        try:
            yield
        finally:
            self._later = False

    @contextmanager
    def imported(self) -> Iterator[None]:
        """Import much without looking for garbage meanwhile; what is there then is old."""
        if not gc.isenabled():  # someone else does without
            yield
            return
        gc.disable()
        try:
            yield
        finally:
            self.spare()
            gc.enable()


def _is_looked_at(removing: Any) -> bool:
    """Tell whether searches find the layer that an event is about."""
    layer = None if removing is None else removing.source[removing.index]
    return layer is not None and any(each is layer for each in gc.get_objects())


old_objects = OldObjects()
"""Of this process: all windows share them."""


class EarlyImports:
    """Import in the background what would stop the window where it is first asked for.

    For the first layer napari imports pandas, and what numba compiled: half a second.
    """

    def __init__(self) -> None:
        self.done = False

    def __call__(self, _: object = None) -> bool:
        """Make a layer that no one sees; for a background thread."""
        if not self.done:
            with old_objects.imported():
                for name in ("scipy.ndimage", "scipy.special", "napari_spa.io.export"):
                    importlib.import_module(name)
                from napari.layers import Shapes

                Shapes()
            self.done = True
        return True


early_imports = EarlyImports()
"""Of this process: all windows share them."""


def load_torch() -> None:
    """Import PyTorch; for a background thread.

    Python opens an extension module's libraries while it holds its global lock, and
    PyTorch's take the system several hundred milliseconds, in which no other thread runs:
    the window stands still.  Opened by a foreign function, which lets go of the lock, they
    are there already when ``import torch`` asks for them.
    """
    if "torch" in sys.modules:
        return
    found = importlib.util.find_spec("torch")
    if found is not None and found.origin is not None:
        _open_libraries(Path(found.origin).parent / "lib")
    import torch  # noqa: F401


def _open_libraries(folder: Path) -> None:
    """Open the libraries that are there; where that fails, the import will say why."""
    try:
        dlopen = ctypes.CDLL(None).dlopen
        dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
        for name in _LIBRARIES:
            for path in (folder / f"lib{name}.so", folder / f"lib{name}.dylib"):
                if path.exists():
                    dlopen(os.fsencode(path), os.RTLD_NOW)
    except (AttributeError, OSError, TypeError):  # the first or last: a system without dlopen
        _logger.debug("PyTorch's libraries could not be opened ahead", exc_info=True)
