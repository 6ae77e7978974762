"""Live in a dock of napari's window: take the height there is, and notice when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QSizePolicy

from napari_spa.widgets.common.window_end import WindowEnd

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


class DockLife(QObject):
    """Watch a widget that napari puts into a dock.

    Parameters
    ----------
    widget : QWidget
        In a dock, sooner or later.

    Attributes
    ----------
    ended : Signal()
        The widget or its window was closed, or napari took it out of its dock, which closes
        nothing; may be emitted more than once.
    """

    ended = Signal()

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget, self._docked = widget, False
        self._window = WindowEnd(widget)
        self._window.closed.connect(self.ended)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice that the widget is shown, closed, or has another parent."""
        if event is not None and watched is self._widget:
            kind = event.type()
            if kind == QEvent.Type.Show:
                self._on_shown()
            elif kind == QEvent.Type.Close:
                self.ended.emit()
            elif kind == QEvent.Type.ParentChange:
                self._on_moved()
        return False

    def _on_shown(self) -> None:
        self._window.look()
        # napari caps docks at their size hint.
        self._widget.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _on_moved(self) -> None:
        docked = self._widget.parent() is not None
        if self._docked and not docked:
            self.ended.emit()
        self._docked = docked
