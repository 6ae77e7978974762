"""Where docks stand in napari's window: one beside the other, each with the room it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow

from napari_spa.widgets.common.later import later

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

_WIDTH, _POLISHED_MS = 330, 100


class DockPlaces(QObject):
    """Make room for another dock beside the one that a widget is in.

    Parameters
    ----------
    widget : QWidget
        In a dock, once there is another.
    """

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._other: QDockWidget | None = None
        self._share_due = later(self, self._share_height)
        self._widen_due = later(self, self._widen)

    def put_beside(self, other: QDockWidget) -> None:
        """Put a new dock beside ours: one above the other, neither has room."""
        self._other = other
        self._share_due.start()  # before it has been laid out, it has no height to share
        ours, window = self._dock(), self._widget.window()
        if ours is not None and isinstance(window, QMainWindow) and not ours.isFloating():
            window.splitDockWidget(ours, other, Qt.Orientation.Horizontal)
            other.visibilityChanged.connect(self._on_laid_out)

    def close(self) -> None:
        """Leave the docks as they are."""
        self._other = None
        self._share_due.stop()
        self._widen_due.stop()

    def _dock(self) -> QDockWidget | None:
        """Return the dock that the widget is in."""
        parent: QObject | None = self._widget.parent()
        while parent is not None and not isinstance(parent, QDockWidget):
            parent = parent.parent()
        return parent

    def _share_height(self) -> None:
        """Give the dock below as much height as it needs; the list can be scrolled."""
        ours, other = self._dock(), self._other
        window = None if other is None else other.parent()
        if ours is not None and other is not None and isinstance(window, QMainWindow):
            window.resizeDocks([ours, other], [1, 2], Qt.Orientation.Vertical)

    def _on_laid_out(self, visible: bool) -> None:
        """Widen the docks once: Qt hides the new one until it has laid them out."""
        if visible and self._other is not None:
            self._other.visibilityChanged.disconnect(self._on_laid_out)
            self._widen_due.start(_POLISHED_MS)

    def _widen(self) -> None:
        """Give both docks the room they need, once napari's style is on them."""
        docks = [dock for dock in (self._dock(), self._other) if dock is not None]
        window = self._widget.window()
        if isinstance(window, QMainWindow):
            window.resizeDocks(docks, [_WIDTH] * len(docks), Qt.Orientation.Horizontal)
