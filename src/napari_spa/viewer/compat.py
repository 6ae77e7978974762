"""Keep the window from crashing after a Shapes layer that was drawn is removed."""

from __future__ import annotations

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
