"""What napari and its drivers need of us: a guard for vispy, quick outlines, early imports."""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import logging
import os
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from vispy.gloo.glir import GlirProgram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Labels
    from numpy.typing import NDArray


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
    at 2048 x 2048 pixels, in the window's thread.  A napari that asks another method goes on
    with its own.
    """
    setattr(layer, "_calculate_contour", partial(_contour_of, layer))  # noqa: B010  it is private


def _contour_of(
    layer: Labels, labels: NDArray[Any], data_slice: tuple[slice, ...]
) -> NDArray[Any] | None:
    """Return the labels of a part with all but their outlines taken out."""
    width = int(layer.contour)
    if width < 1 or labels.ndim > 2:
        return None
    around = tuple(
        slice(max(0, part.start - width), min(length, part.stop + width))
        for part, length in zip(data_slice, labels.shape, strict=True)
    )
    inside = tuple(
        slice(part.start - out.start, part.stop - out.start)
        for part, out in zip(data_slice, around, strict=True)
    )
    return outlines(labels[around], width, layer.colormap.background_value)[inside]


def outlines(labels: NDArray[Any], width: int, background: int = 0) -> NDArray[Any]:
    """Return labels with what is deeper in them than ``width`` pixels made background.

    Parameters
    ----------
    labels : ndarray of shape (H, W)
        Of any integer type.
    width : int
        Of the outlines, in pixels; the image's own edge has none.
    background : int
        The label of what is no object.

    Returns
    -------
    ndarray of shape (H, W)
        A copy.
    """
    found = labels.copy()
    used = labels != background
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    if not len(rows):
        return found
    box = tuple(slice(max(0, at[0] - 1), at[-1] + 2) for at in (rows, columns))
    part = labels[box]
    deep = np.ones(part.shape, dtype=bool)
    for axis in (0, 1):
        before, after = _neighbours(axis)
        same = part[before] == part[after]
        deep[before] &= same
        deep[after] &= same
    for _ in range(width - 1):
        known = deep.copy()
        for axis in (0, 1):
            before, after = _neighbours(axis)
            deep[before] &= known[after]
            deep[after] &= known[before]
    found[box][deep] = background
    return found


def next_in_history(layer: Labels, *, redo: bool = False) -> tuple[Any, ...]:
    """Return the pieces of what a layer's own undo, or redo, is about to do, in any order."""
    history = getattr(layer, "_redo_history" if redo else "_undo_history", ())
    return tuple(history[-1]) if history else ()


def _neighbours(axis: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return all pixels but the last along an axis, and all but the first."""
    every = slice(None)
    before, after = slice(None, -1), slice(1, None)
    return ((before, every), (after, every)) if axis == 0 else ((every, before), (every, after))


_logger = logging.getLogger(__name__)

# What PyTorch's extension module links to, in the order in which each needs those before it.
_LIBRARIES = ("c10", "torch_cpu", "torch", "torch_python")


class OldObjects:
    """Leaves what has been there for long out of Python's searches for garbage.

    Each time the objects have grown by a quarter Python looks at all of them, and no thread
    runs: in a napari with PyTorch for 100 to 400 ms, several times while PyTorch is imported and
    once in some twenty rounds.  What is left out is let go of when nothing refers to it, but not
    in cycles, as removed layers are: so :meth:`search` has to come before a layer is removed.
    """

    def __init__(self) -> None:
        self._spared = self._later = False

    def spare(self) -> None:
        """Look at nothing again that is there now, unless someone else spares what they want."""
        if self._spared or not gc.get_freeze_count():
            gc.freeze()
            self._spared = True

    def search(self, _: object = None) -> None:
        """Look at everything again."""
        if self._spared and not self._later:
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
