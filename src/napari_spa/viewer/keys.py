"""The actions that have a key, and bindings that work whichever layer is active.

napari gives a key to the active layer first, then to the viewer.  These keys are bound on
the viewer and are free on every layer type, so they always arrive.  On layouts that have no
Latin letters, or digits only with Shift, :class:`LayoutFilter` finds them by their place.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.utils.key_bindings import KeymapProvider


# Title and default key of each act.  Every key is free on all of napari's layer types, on the
# viewer and in its menus.  Alt with a letter would open menus; Shift with a digit or a point
# arrives as another character; so letters carry Shift at most, and only digits carry Alt.
_ACTIONS = {
    "pick_1": ("Pick difference 1", "G"),
    "pick_2": ("Pick difference 2", "H"),
    "pick_3": ("Pick difference 3", "J"),
    "pick_4": ("Pick difference 4", "K"),
    "toggle_1": ("Show or hide difference 1", "Alt+1"),
    "toggle_2": ("Show or hide difference 2", "Alt+2"),
    "toggle_3": ("Show or hide difference 3", "Alt+3"),
    "toggle_4": ("Show or hide difference 4", "Alt+4"),
    "smaller": ("Shrink the recommended mask", ";"),
    "larger": ("Grow the recommended mask", "'"),
    "accept": ("Accept", "N"),
    "undo": ("Undo", "U"),
    "redo": ("Redo", "W"),
    "discard": ("Discard", "Q"),
    "carry_next": ("Carry to the next slice", "."),
    "carry_previous": ("Carry to the previous slice", ","),
    "propagate": ("Propagate through the stack", "Shift+N"),
    "next_object": ("Next object", "9"),
    "previous_object": ("Previous object", "8"),
    "reopen": ("Reopen the object", "Shift+U"),
    "delete_object": ("Delete the object", "Shift+Q"),
    "edit_by_hand": ("Edit the object by hand", "Shift+E"),
    "merge_objects": ("Merge with another object", "Shift+M"),
    "split_object": ("Split the object along a line", "Shift+S"),
    "next_class": ("Next class for new objects", "Shift+T"),
    "prompt_sign": ("Switch between add and remove", "Shift+X"),
    "box": ("Draw a box", "Shift+B"),
    "brush": ("Draw with the brush", "Shift+D"),
    "lasso": ("Draw a lasso or polygon", "Shift+O"),
    "side_by_side": ("Show candidates side by side", "Shift+C"),
    "hide_overlays": ("Hide overlays while held", "0"),
    "flip": ("Show the difference in place of the mask while held", "F2"),
    "hover": ("Preview under the pointer, on or off", "Shift+H"),
    "fill": ("Fill objects, or outline them", "Shift+F"),
    "export": ("Accept the current object and export", "Shift+W"),
    "help": ("Help", "F1"),
    "previous_image": ("Previous image of the folder", "Alt+8"),
    "next_image": ("Next image of the folder", "Alt+9"),
    "done_next": ("Done, and the next image", "Shift+J"),
    "skip_image": ("Skip this image", "Shift+K"),
    "flag_image": ("Flag this image", "Shift+G"),
}
ACTION_TITLES: Mapping[str, str] = MappingProxyType(
    {action: title for action, (title, _) in _ACTIONS.items()}
)
DEFAULT_KEYS: Mapping[str, str] = MappingProxyType(
    {action: key for action, (_, key) in _ACTIONS.items()}
)


def parse_key(text: object) -> str:
    """Write a key the one way it is kept and shown."""
    from app_model.types import KeyBinding  # comes with napari

    parts = KeyBinding.from_str(text).parts if isinstance(text, str) else []
    if len(parts) != 1 or parts[0].key is None or parts[0].is_modifier_key():
        raise InputError(f"{text!r:.80} is no key; write one such as G, Shift+N or Alt+1.")
    return str(parts[0])


def changed_keys(value: object, now: Mapping[str, str]) -> dict[str, str]:
    """Check new keys for some acts beside the keys of the others."""
    if not isinstance(value, Mapping):
        raise InputError(f"the setting keys must be keys by act, not {value!r:.80}.")
    keys = dict(now)
    for action, text in value.items():
        if action not in DEFAULT_KEYS:
            raise InputError(f"there is no act {action!r:.80} that could have a key.")
        keys[action] = parse_key(text)
    clash = _find_clash(keys)
    if clash is not None:
        one, other = (ACTION_TITLES[action] for action in clash)
        raise InputError(f"{keys[clash[0]]} cannot be the key of both {one!r} and {other!r}.")
    return {action: keys[action] for action in value}


def read_keys(entries: Mapping[str, object]) -> tuple[dict[str, str], list[str]]:
    """Make the keys of what was kept; a damaged or doubled one becomes its default."""
    keys: dict[str, str] = {}
    problems: list[str] = []
    for action, default in DEFAULT_KEYS.items():
        try:
            keys[action] = parse_key(entries.get(action, default))
        except InputError as error:
            keys[action] = default
            problems.append(f"{error} {ACTION_TITLES[action]!r} keeps {default}.")
    # Of two acts with one key, one was given it: that one goes back.  Its own default may
    # be taken by now, so look again; defaults never clash, so this ends.
    while (clash := _find_clash(keys)) is not None:
        action = next(a for a in reversed(clash) if keys[a] != DEFAULT_KEYS[a])
        problems.append(
            f"{keys[action]} is the key of two actions, so "
            f"{ACTION_TITLES[action]!r} keeps {DEFAULT_KEYS[action]}."
        )
        keys[action] = DEFAULT_KEYS[action]
    return keys, problems


def _find_clash(keys: Mapping[str, str]) -> tuple[str, str] | None:
    seen: dict[str, str] = {}
    for action, key in keys.items():
        if key in seen:
            return seen[key], action
        seen[key] = action
    return None


_NOBODY = object()


class KeyBindings:
    """Bind keys to acts on a viewer or layer; released, a key does what it did before."""

    def __init__(self, viewer: KeymapProvider, actions: Mapping[str, Callable[[], Any]]) -> None:
        self._viewer = viewer
        self._bound: dict[Any, tuple[Any, Any]] = {}
        for key, action in actions.items():
            before = dict(viewer.keymap)
            ours = _held(action) if inspect.isgeneratorfunction(action) else _pressed(action)
            viewer.bind_key(key, ours, overwrite=True)
            for binding, now in viewer.keymap.items():
                if before.get(binding, _NOBODY) is not now:
                    self._bound[binding] = before.get(binding, _NOBODY), now

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


def _pressed(action: Callable[[], Any]) -> Callable[[Any], None]:
    def bound(viewer: Any) -> None:
        action()

    return bound


def _held(action: Callable[[], Generator[None, None, None]]) -> Callable[[Any], Any]:
    def bound(viewer: Any) -> Generator[None, None, None]:
        yield from action()

    return bound


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
