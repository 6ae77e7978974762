"""Key bindings that work whichever layer is active, and are released again.

napari gives a key to the active layer first, then to the viewer.  These keys are bound on
the viewer and are free on every layer type, so they always arrive.  On layouts that have no
Latin letters, or digits only with Shift, :class:`LayoutFilter` finds them by their place.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from app_model.types import KeyCode, KeyMod
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QApplication, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from napari.utils.key_bindings import KeymapProvider

_NOBODY = object()
UNDO_KEYS = {
    False: KeyMod.CtrlCmd | KeyCode.KeyZ,
    True: KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ,
}
"""Keys for undo, and for redo (True), that every program has."""


class KeyBindings:
    """Bind keys to acts on a viewer or layer; released, a key does what it did before."""

    def __init__(self, viewer: KeymapProvider, actions: Mapping[Any, Callable[[], Any]]) -> None:
        self._viewer = viewer
        before = dict(viewer.keymap)
        for key, action in actions.items():
            viewer.bind_key(key, _bound(action), overwrite=True)
        # What each key did before, and does now.
        self._bound = {
            binding: (before.get(binding, _NOBODY), ours)
            for binding, ours in viewer.keymap.items()
            if before.get(binding, _NOBODY) is not ours
        }

    def release(self) -> None:
        """Give the keys back, but for those that someone else has bound since."""
        for binding, (before, ours) in self._bound.items():
            if self._viewer.keymap.get(binding) is not ours:
                continue
            if before is _NOBODY:
                self._viewer.keymap.pop(binding)
            else:
                self._viewer.keymap[binding] = before
        self._bound.clear()


def _bound(action: Callable[[], Any]) -> Callable[[Any], Any]:
    """Return an act as napari calls it: one that yields goes on when the key is let go."""

    def held(viewer: Any) -> Generator[None, None, None]:
        yield from action()

    def pressed(viewer: Any) -> None:
        action()

    return held if inspect.isgeneratorfunction(action) else pressed


# Where the keys of a US keyboard are: X11 and Wayland; Windows counts eight less; macOS has codes
# of its own, which Qt gives as virtual keys.
_X11 = {
    **{10 + place: sign for place, sign in enumerate("1234567890")},
    **{24 + place: sign for place, sign in enumerate("QWERTYUIOP")},
    **{38 + place: sign for place, sign in enumerate("ASDFGHJKL")},
    **{52 + place: sign for place, sign in enumerate("ZXCVBNM")},
}
_WINDOWS_BEHIND = 8
_MACOS_LETTERS = "ASDFHGZXCV?BQWERYT123465?97?80?OU?IP?LJ?K????NM"
_MACOS = {code: sign for code, sign in enumerate(_MACOS_LETTERS) if sign != "?"}
_WRITTEN_WITH_SHIFT = {*range(Qt.Key.Key_0, Qt.Key.Key_9 + 1), Qt.Key.Key_Comma, Qt.Key.Key_Period}
_KEYS = {QEvent.Type.KeyPress, QEvent.Type.KeyRelease, QEvent.Type.ShortcutOverride}


class LayoutFilter(QObject):
    """Let keys arrive on any keyboard layout, except where text is written.

    On a Cyrillic or Greek layout a letter is taken for the Latin one at its place, and on a
    French one the digits need no Shift.  A layout's own Latin letters stay what they are.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        application = QApplication.instance()
        if application is not None:
            application.installEventFilter(self)

    def release(self) -> None:
        """Leave keys as they are."""
        application = QApplication.instance()
        if application is not None:
            application.removeEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Send another key where this one would not be understood."""
        if (
            event is None
            or event.type() not in _KEYS
            or not isinstance(event, QKeyEvent)
            or not isinstance(watched, QWidget)
            or watched.testAttribute(Qt.WidgetAttribute.WA_InputMethodEnabled)
            or watched.window() is not self._window.window()
        ):
            return False
        meant = meant_key(event)
        if meant is None:
            return False
        key, modifiers = meant
        other = QKeyEvent(
            event.type(), key, modifiers, chr(key), event.isAutoRepeat(), event.count()
        )
        QApplication.sendEvent(watched, other)
        event.setAccepted(other.isAccepted())
        return True


def meant_key(
    event: QKeyEvent, platform: str = sys.platform
) -> tuple[int, Qt.KeyboardModifier] | None:
    """Return the key and modifiers that are meant, where they are not what they seem."""
    key, modifiers, shift = event.key(), event.modifiers(), Qt.KeyboardModifier.ShiftModifier
    if key in _WRITTEN_WITH_SHIFT and modifiers & shift:
        return key, modifiers & ~shift  # no US keyboard writes these with Shift
    sign = _sign_at(event, platform)
    if sign.isdigit() and not chr(key).isdigit() and not modifiers & shift:
        return ord(sign), modifiers
    if sign.isalpha() and 0x7F < key < 0x110000:
        return ord(sign), modifiers
    return None


def _sign_at(event: QKeyEvent, platform: str) -> str:
    """Return what a US keyboard has where the key is; empty when that is unknown."""
    if platform == "darwin":
        return _MACOS.get(event.nativeVirtualKey(), "") if event.text() else ""
    behind = _WINDOWS_BEHIND if platform == "win32" else 0
    return _X11.get(event.nativeScanCode() + behind, "")
