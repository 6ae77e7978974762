"""What every dock does: start, remember its place, close with the window."""

from __future__ import annotations

from typing import TypeVar
from weakref import WeakSet

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QSizePolicy, QWidget

from napari_spa.viewer.background import later

_WIDTH, _TAB_WIDTH, _POLISHED_MS = 330, 400, 100
_LAYOUTS = 3
"""So often the docks are widened: before and after Qt has laid both of them out."""
_OURS: WeakSet[QWidget] = WeakSet()  # the open docks of all windows
_NOTE = " · "
_WIDE = 1500
"""Width of a window in pixels from which there is room for two docks beside each other."""
_LETTER = 8
"""Pixels of a letter in a font of the usual size at most; in a larger one docks need more room."""

Ancestor = TypeVar("Ancestor", bound=QObject)


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
        self._watch_due = later(self, self._watch)
        self._watch_due.start()
        self._front_due = later(self, self.bring_forward)
        _OURS.add(widget)
        self._join_due = later(self, self._join)
        self._join_due.start()  # once napari has put it into a dock
        self._sharing: list[QDockWidget] = []  # those side by side
        self._widen_due = later(self, self._widen, _POLISHED_MS)
        self._widened, self._width = 0, _WIDTH

    def put_beside(self, other: QDockWidget) -> None:
        """Put a new dock beside ours, or behind it as a tab: one above the other, none has room."""
        ours = self._dock()
        if ours is not None and not ours.isFloating():
            self._share(ours, other)
            ours.raise_()

    def bring_forward(self) -> None:
        """Show the dock in front of the tabs that it shares its place with."""
        dock = self._dock()
        if dock is not None:
            dock.show()
            dock.raise_()

    def is_behind(self, widget: QWidget) -> bool:
        """Tell whether ours lies behind the dock of a widget, as a tab of the same place."""
        ours, other = self._dock(), _ancestor(widget, QDockWidget)
        window = self._widget.window()
        if ours is None or other is None or not isinstance(window, QMainWindow):
            return False
        return other in window.tabifiedDockWidgets(ours) and _is_behind(ours)

    @property
    def hidden(self) -> bool:
        """Whether a user hid the dock."""
        dock = self._dock()
        return dock is not None and dock.isHidden()

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

    def close(self) -> None:
        """Leave the docks as they are."""
        _OURS.discard(self._widget)
        for timer in (self._watch_due, self._front_due, self._join_due, self._widen_due):
            timer.stop()
        if self._watched is not None:
            self._watched.removeEventFilter(self)
            self._watched = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notice that the dock is shown or hidden, and that it is while its tab is behind."""
        dock = self._watched
        if dock is not None and event.type() in (QEvent.Type.Hide, QEvent.Type.Show):
            if dock.isHidden() and _is_behind(dock):
                self._front_due.start()
            self.toggled.emit()
        return False

    def _watch(self) -> None:
        dock = self._watched = self._dock()
        if dock is not None:
            dock.installEventFilter(self)

    def _dock(self) -> QDockWidget | None:
        return _ancestor(self._widget, QDockWidget)

    def _join(self) -> None:
        """Put ours beside another one that was there, or in front of it as a tab."""
        ours, window = self._dock(), self._widget.window()
        if ours is None or not isinstance(window, QMainWindow):
            return
        here = [w for w in _OURS if isalive(w) and w.window() is window]  # type: ignore[no-untyped-call]
        docks = (_ancestor(widget, QDockWidget) for widget in here)
        other = next((dock for dock in docks if dock is not None and dock is not ours), None)
        if other is None or ours.isFloating():
            return
        if window.dockWidgetArea(ours) == window.dockWidgetArea(other):
            self._share(other, ours)
            ours.raise_()

    def _share(self, first: QDockWidget, second: QDockWidget) -> None:
        """Put two docks beside each other, or make them tabs of one place in a narrow window."""
        window = self._widget.window()
        if not isinstance(window, QMainWindow):
            return
        labels = self._widget.findChildren(QLabel)  # napari's style gives a plain widget no font
        letter = max([_LETTER, *(each.fontMetrics().averageCharWidth() for each in labels)])
        if window.width() >= _WIDE * letter / _LETTER:
            window.splitDockWidget(first, second, Qt.Orientation.Horizontal)
            self._sharing = [first, second]
        else:
            window.tabifyDockWidget(first, second)
            self._sharing, self._width = [second], _TAB_WIDTH  # as wide as the main flow needs
        self._widen_due.start()

    def _widen(self) -> None:
        """Give both docks the room they need, once napari's style is on them.

        Qt lays out docks when it gets to it, and what is new then takes room from the other.
        """
        window = self._widget.window()
        docks = [dock for dock in self._sharing if isalive(dock)]  # type: ignore[no-untyped-call]
        if isinstance(window, QMainWindow):
            window.resizeDocks(docks, [self._width] * len(docks), Qt.Orientation.Horizontal)
        self._widened += 1
        if self._widened < _LAYOUTS:
            self._widen_due.start()


def _is_behind(dock: QDockWidget) -> bool:
    """Tell whether another dock's tab is in front: Qt moves those behind out of the window."""
    place = dock.geometry()
    return place.right() < 0 or place.bottom() < 0


def _ancestor(widget: QWidget, kind: type[Ancestor]) -> Ancestor | None:
    """Return the nearest one of a kind that a widget is in."""
    parent: QObject | None = widget.parent()
    while parent is not None and not isinstance(parent, kind):
        parent = parent.parent()
    return parent


class DockLifecycle(QObject):
    """Watch a widget that napari puts into a dock, and the main window that it is in."""

    # The widget or its window was closed, or napari took it out of its dock, which closes
    # nothing; may be emitted more than once.
    ended = Signal()

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget, self._docked = widget, False
        self._window: QMainWindow | None = None
        self._closing = False  # the window, unless a user answers that it shall stay open
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notice that the widget is shown, closed or elsewhere, and that its window closes."""
        if not vars(self):  # PySide6 asks once more when Python has let go of it
            return False
        kind = event.type()
        if watched is self._widget:
            if kind == QEvent.Type.Show:
                self._on_shown()
            elif kind == QEvent.Type.Close:
                self.ended.emit()
            elif kind == QEvent.Type.ParentChange:
                self._on_moved()
        elif watched is self._window:
            if kind == QEvent.Type.Close:
                self._closing = True
            elif kind == QEvent.Type.WindowActivate:
                self._closing = False  # a user was asked, and said no
            elif kind == QEvent.Type.Hide and self._closing:
                self._window = None
                self.ended.emit()
        return False

    def _on_shown(self) -> None:
        window = _ancestor(self._widget, QMainWindow)
        if window is not None and window is not self._window:
            self._window = window
            window.installEventFilter(self)
        # napari caps docks at their size hint.
        self._widget.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _on_moved(self) -> None:
        docked = self._widget.parent() is not None
        if self._docked and not docked:
            self.ended.emit()
        self._docked = docked
