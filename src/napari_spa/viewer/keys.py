"""Key bindings that work whichever layer is active, and are released again.

napari gives a key to the active layer first, then to the viewer.  These keys are bound on
the viewer and are free on every layer type, so they always arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.components import ViewerModel

PICK_KEYS = ("G", "H", "J", "K")
TOGGLE_KEYS = ("Alt-1", "Alt-2", "Alt-3", "Alt-4")
ACCEPT_KEY, UNDO_KEY, REDO_KEY, DISCARD_KEY = "N", "U", "W", "Q"


class KeyBindings:
    """Bind keys to acts on a viewer; a key somebody else holds is given back on release.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    acts : mapping of str to callable
        Key, and what it does.
    """

    def __init__(self, viewer: ViewerModel, acts: Mapping[str, Callable[[], object]]) -> None:
        self._viewer = viewer
        self._before: dict[Any, Any] = dict(viewer.keymap)
        for key, act in acts.items():
            viewer.bind_key(key, _ignoring_viewer(act), overwrite=True)

    def release(self) -> None:
        """Put the viewer's own bindings back."""
        for key in set(self._viewer.keymap) - set(self._before):
            self._viewer.keymap.pop(key)
        self._viewer.keymap.update(self._before)
        self._before = dict(self._viewer.keymap)


def _ignoring_viewer(act: Callable[[], object]) -> Callable[[Any], None]:
    def bound(viewer: Any) -> None:
        act()

    return bound
