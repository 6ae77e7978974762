"""The Qt widgets and docks: they show and ask, nothing else."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QLabel, QStackedWidget

from napari_spa.errors import sentence_of
from napari_spa.viewer.background import later
from napari_spa.viewer.compat import old_objects
from napari_spa.widgets.common.docks import DockLifecycle

if TYPE_CHECKING:
    from typing import Any

    import napari.viewer

    from napari_spa.widgets.refine.dock import RefineDock


_SIZE = QSize(400, 500)
_LETTERS = 39
"""What the dock is wide at least, in a font of any size."""


class OpeningDock(QStackedWidget):
    """The dock *SPA Refine* as napari opens it: in steps, between which the window lives.

    It is placed empty; then the dock is imported, made and shown.  Whoever asks for a part of it
    before, or clicks into the image, has it at once.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.made = self.closed = False  # whether the dock itself is there, and was closed
        self._viewer = getattr(viewer, "__wrapped__", viewer)  # napari gives plugins a proxy
        self._import_due, self._make_due = later(self, self._begin), later(self, self._make)
        self._show_due = later(self, self._show)
        self._import_due.start()
        self._life = DockLifecycle(self)
        self._life.ended.connect(self._end)
        self._viewer.mouse_drag_callbacks.append(self._on_pressed)
        self._words = QLabel("Opening…")
        self._words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._words.setWordWrap(True)
        self.addWidget(self._words)

    @cached_property
    def dock(self) -> RefineDock:
        """The dock itself."""
        if self.closed:
            raise RuntimeError("SPA Refine was closed; open it again.")
        try:
            dock = _refine_dock()(self._viewer)
        except Exception as error:  # whatever it is: it would come again with each click
            self._end()
            self._words.setText(f"SPA Refine cannot be opened: {sentence_of(error)}")
            raise RuntimeError(self._words.text()) from error
        self.made = True
        self.addWidget(dock)
        self._show_due.start()
        return dock

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Ask the dock itself, for scripts that drive it; napari's questions can wait."""
            if name.startswith("_") or name in ("native", "reset_choices", "dock"):
                raise AttributeError(name)
            return getattr(self.dock, name)

    def sizeHint(self) -> QSize:
        """Take the room at once that the dock will want."""
        width = _LETTERS * self._words.fontMetrics().averageCharWidth()
        return _SIZE.expandedTo(QSize(width, 0))

    def _begin(self) -> None:
        _refine_dock()
        self._make_due.start()

    def _make(self) -> None:
        _ = self.dock
        self._listen_no_more()

    def _show(self) -> None:
        self.setCurrentWidget(self.dock)

    def _on_pressed(self, *press: object) -> None:
        """Make the dock: what it does with the mouse comes after this, for the same press."""
        _ = self.dock

    def _listen_no_more(self) -> None:
        if self._on_pressed in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_pressed)

    def _end(self) -> None:
        self.closed = True
        for step in (self._import_due, self._make_due, self._show_due):
            step.stop()
        self._listen_no_more()
        if self.made:
            self.dock.release()


def _refine_dock() -> type[RefineDock]:
    # The search for garbage that so large an import would set off stops the window; the dock
    # searches when layers are removed and when it is closed.
    with old_objects.imported():
        from napari_spa.widgets.refine.dock import RefineDock
    return RefineDock
