"""What napari and its drivers need of us: a guard for vispy, imports made early in a thread."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import Any

from vispy.gloo.glir import GlirProgram


def keep_programs() -> None:
    """Let the graphics driver keep the programs of layers that are gone.

    With vispy 0.17 the process ends with a segmentation fault in the second drawing after
    vispy deleted the programs of a Shapes layer, in napari alone and with no plugin open
    (seen with Mesa's software rendering; the same call fails in reports from Windows).
    Programs that are never deleted cost some kilobytes for each layer until the window
    is closed; work that is lost costs more.
    """
    GlirProgram.delete = _keep


def _keep(self: GlirProgram) -> None:
    """Delete nothing; the context takes its programs along when it goes."""


_logger = logging.getLogger(__name__)

# What PyTorch's extension module links to, in the order in which each needs those before it.
_LIBRARIES = ("c10", "torch_cpu", "torch", "torch_python")


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
        open_library = _opener()
        for name in _LIBRARIES:
            for path in (folder / f"lib{name}.so", folder / f"lib{name}.dylib"):
                if path.exists():
                    open_library(os.fsencode(path), os.RTLD_NOW)
    except (AttributeError, OSError, TypeError):
        _logger.debug("PyTorch's libraries could not be opened ahead", exc_info=True)


def _opener() -> Any:
    """Return the system's ``dlopen``; ``AttributeError`` or ``TypeError`` without one."""
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    return dlopen
