"""Key bindings that work whichever layer is active, and are released again.

napari gives a key to the active layer first, then to the viewer.  These keys are bound on
the viewer and are free on every layer type, so they always arrive.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from napari.components import ViewerModel

_NOBODY = object()


class KeyBindings:
    """Bind keys to acts on a viewer; what a key did before, it does again after release."""

    def __init__(self, viewer: ViewerModel, acts: Mapping[str, Callable[[], Any]]) -> None:
        self._viewer = viewer
        self._bound: dict[Any, tuple[Any, Any]] = {}
        for key, act in acts.items():
            before = dict(viewer.keymap)
            ours = _held(act) if inspect.isgeneratorfunction(act) else _pressed(act)
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


def _pressed(act: Callable[[], Any]) -> Callable[[Any], None]:
    def bound(viewer: Any) -> None:
        act()

    return bound


def _held(act: Callable[[], Generator[None, None, None]]) -> Callable[[Any], Any]:
    def bound(viewer: Any) -> Generator[None, None, None]:
        yield from act()

    return bound
