"""Tell a dock that the window it is in was closed: napari closes none of its docks then."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QMainWindow, QWidget


class WindowEnd(QObject):
    """Watch the main window that a widget is in.

    Parameters
    ----------
    widget : QWidget
        In a dock, sooner or later.

    Attributes
    ----------
    closed : Signal()
        The window was closed, and was not kept open by the person's answer to a question.
    """

    closed = Signal()

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._window: QMainWindow | None = None
        self._closing = False

    def look(self) -> None:
        """Find the window; called when the widget is shown."""
        parent: QObject | None = self._widget
        while parent is not None and not isinstance(parent, QMainWindow):
            parent = parent.parent()
        if parent is not None and parent is not self._window:
            self.leave()
            self._window = parent
            parent.installEventFilter(self)

    def leave(self) -> None:
        """Watch no more."""
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice that the window is hidden because it closes."""
        if event is not None and watched is self._window:
            if event.type() == QEvent.Type.Close:
                self._closing = True
            elif event.type() == QEvent.Type.Hide and self._closing:
                self.leave()
                self.closed.emit()
            elif event.type() == QEvent.Type.WindowActivate:
                self._closing = False  # a person was asked, and said no
        return False
