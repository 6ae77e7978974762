"""What every dock does: start, remember its place, close with the window, debounce."""

from __future__ import annotations

from weakref import WeakSet

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QSizePolicy, QWidget

from napari_spa.viewer.background import later


class MainWindowCloseFilter(QObject):
    """Watch the main window that a widget is in."""

    # The window was closed, and was not kept open by the user's answer to a question.
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
                self._closing = False  # a user was asked, and said no
        return False


_WIDTH, _TAB_WIDTH, _POLISHED_MS = 330, 400, 100
_LAYOUTS = 3
"""So often the docks are widened: before and after Qt has laid both of them out."""
_OURS: WeakSet[QWidget] = WeakSet()  # the open docks of all windows
_NOTE = " · "
_WIDE = 1500
"""Width of a window in pixels from which there is room for two docks beside each other."""
_LETTER = 8
"""Pixels of a letter in a font of the usual size at most; in a larger one docks need more room."""


class DockLayout(QObject):
    """Share the room between the docks of ours, whichever of them came first.

    A dock whose tab is behind another's counts as open in napari's menu, which would hide it
    where a user asks for it: it comes to the front instead.
    """

    toggled = Signal()  # the dock was hidden, or is there again; not: its tab is behind another's

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._watched: QDockWidget | None = None
        self.hidden = False  # as a user wants it
        self._watch_due = later(self, self._watch)
        self._watch_due.start()
        self._front_due = later(self, self.bring_forward)
        _OURS.add(widget)
        self._join_due = later(self, self._join)
        self._join_due.start()  # once napari has put it into a dock
        self._other: QDockWidget | None = None
        self._share_due = later(self, self._share_height)
        self._widen_due = later(self, self._widen)
        self._widened, self._width = 0, _WIDTH

    def put_beside(self, other: QDockWidget) -> None:
        """Put a new dock beside ours, or behind it as a tab: one above the other, none has room."""
        ours, window = self._dock(), self._widget.window()
        if ours is None or not isinstance(window, QMainWindow) or ours.isFloating():
            return
        if self._wide(window):
            self._other = other
            self._share_due.start()  # before it has been laid out, it has no height to share
            window.splitDockWidget(ours, other, Qt.Orientation.Horizontal)
            other.visibilityChanged.connect(self._on_laid_out)
        else:
            self._share_tabs(window, ours, other)
            ours.raise_()

    def bring_forward(self) -> None:
        """Show the dock in front of the tabs that it shares its place with."""
        dock = self._dock()
        if dock is not None:
            dock.show()
            dock.raise_()

    def is_behind(self, widget: QWidget) -> bool:
        """Tell whether ours lies behind the dock of a widget, as a tab of the same place."""
        ours, other = self._dock(), _dock_of(widget)
        window = self._widget.window()
        if ours is None or other is None or not isinstance(window, QMainWindow):
            return False
        return other in window.tabifiedDockWidgets(ours) and _is_behind(ours)

    @property
    def behind(self) -> bool:
        """Whether the dock cannot be seen: it is hidden, or another's tab is in front of it."""
        dock = self._dock()
        return dock is not None and (dock.isHidden() or _is_behind(dock))

    def note(self, words: str) -> None:
        """Say something in the dock's title, which is its tab's too; no words take it back."""
        dock = self._dock()
        if dock is not None:
            name = dock.windowTitle().partition(_NOTE)[0]
            dock.setWindowTitle(f"{name}{_NOTE}{words}" if words else name)

    def stay(self) -> None:
        """Leave ours where it is: someone has found a place for it."""
        self._join_due.stop()

    def _join(self) -> None:
        """Put ours beside another one that was there, or in front of it as a tab."""
        ours, window = self._dock(), self._widget.window()
        if ours is None or not isinstance(window, QMainWindow):
            return
        here = [w for w in _OURS if isalive(w) and w.window() is window]  # type: ignore[no-untyped-call]
        docks = map(_dock_of, here)
        other = next((dock for dock in docks if dock is not None and dock is not ours), None)
        if other is None:
            return
        if ours.isFloating() or window.dockWidgetArea(ours) != window.dockWidgetArea(other):
            return
        if self._wide(window):
            window.splitDockWidget(other, ours, Qt.Orientation.Horizontal)
            self._other = other
            self._widen_due.start(_POLISHED_MS)
        else:
            self._share_tabs(window, other, ours)
            ours.raise_()

    def close(self) -> None:
        """Leave the docks as they are."""
        self._other = None
        _OURS.discard(self._widget)
        self._watch_due.stop()
        self._front_due.stop()
        if self._watched is not None:
            self._watched.removeEventFilter(self)
            self._watched.visibilityChanged.disconnect(self._on_visible)
            self._watched = None
        self._join_due.stop()
        self._share_due.stop()
        self._widen_due.stop()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice that the dock is hidden while its tab is behind."""
        dock = self._watched
        if event is None or dock is None or watched is not dock:
            return False
        if event.type() == QEvent.Type.Hide and dock.isHidden() and _is_behind(dock):
            self._front_due.start()
        return False

    def _watch(self) -> None:
        dock = self._watched = self._dock()
        if dock is not None:
            dock.installEventFilter(self)
            dock.visibilityChanged.connect(self._on_visible)

    def _on_visible(self, _: bool) -> None:
        hidden = self._watched is not None and self._watched.isHidden()
        if hidden != self.hidden:
            self.hidden = hidden
            self.toggled.emit()

    def _wide(self, window: QMainWindow) -> bool:
        labels = self._widget.findChildren(QLabel)  # napari's style gives a plain widget no font
        letter = max([_LETTER, *(each.fontMetrics().averageCharWidth() for each in labels)])
        return window.width() >= _WIDE * letter / _LETTER

    def _dock(self) -> QDockWidget | None:
        return _dock_of(self._widget)

    def _share_height(self) -> None:
        """Give the dock below as much height as it needs; the list can be scrolled."""
        ours, other = self._dock(), self._other
        window = None if other is None else other.parent()
        if ours is not None and other is not None and isinstance(window, QMainWindow):
            window.resizeDocks([ours, other], [1, 2], Qt.Orientation.Vertical)

    def _share_tabs(self, window: QMainWindow, first: QDockWidget, second: QDockWidget) -> None:
        """Make two docks tabs of one place, as wide as the main flow needs."""
        window.tabifyDockWidget(first, second)
        self._width = _TAB_WIDTH
        self._widen_due.start(_POLISHED_MS)

    def _on_laid_out(self, visible: bool) -> None:
        """Widen the docks once: Qt hides the new one until it has laid them out."""
        if visible and self._other is not None:
            self._other.visibilityChanged.disconnect(self._on_laid_out)
            self._widen_due.start(_POLISHED_MS)

    def _widen(self) -> None:
        """Give both docks the room they need, once napari's style is on them.

        Qt lays out docks when it gets to it, and what is new then takes room from the other.
        """
        docks = [dock for dock in (self._dock(), self._other) if dock is not None]
        window = self._widget.window()
        if isinstance(window, QMainWindow):
            window.resizeDocks(docks, [self._width] * len(docks), Qt.Orientation.Horizontal)
        self._widened += 1
        if self._widened < _LAYOUTS:
            self._widen_due.start(_POLISHED_MS)


def _is_behind(dock: QDockWidget) -> bool:
    """Tell whether another dock's tab is in front: Qt moves those behind out of the window."""
    place = dock.geometry()
    return place.right() < 0 or place.bottom() < 0


def _dock_of(widget: QWidget) -> QDockWidget | None:
    """Return the dock that a widget is in."""
    parent: QObject | None = widget.parent()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parent()
    return parent


class DockLifecycle(QObject):
    """Watch a widget that napari puts into a dock."""

    # The widget or its window was closed, or napari took it out of its dock, which closes
    # nothing; may be emitted more than once.
    ended = Signal()

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget, self._docked = widget, False
        self._window = MainWindowCloseFilter(widget)
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
