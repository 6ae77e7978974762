"""Show a round part by part, so that the window may live in between."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_spa.viewer.annotation.round import Shown

_logger = logging.getLogger(__name__)
_STEP_MS = 10  # long enough for the window to paint one part of a round before the next


class RoundShow(QObject):
    """Draw the parts of one round in turn.

    Parameters
    ----------
    parent : QObject or None
        Qt's parent.

    Attributes
    ----------
    done : Signal(object)
        All parts of this ``Shown`` are drawn, or as many as can be.
    failed : Signal(str)
        A part could not be drawn, and why, in one sentence; after ``done``.
    """

    done = Signal(object)
    failed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._under_way: tuple[Iterator[None], Shown] | None = None
        self._next_due = QTimer(self)
        self._next_due.setSingleShot(True)
        self._next_due.setInterval(_STEP_MS)
        self._next_due.timeout.connect(self._on_next)

    @property
    def active(self) -> bool:
        """Whether there are parts to draw."""
        return self._under_way is not None

    def begin(self, parts: Iterator[None], shown: Shown) -> None:
        """Draw a round; one that is being drawn is dropped.

        Parameters
        ----------
        parts : iterator
            Draws a part with each step.
        shown : Shown
            The round.
        """
        self._under_way = parts, shown
        self._next_due.start()

    def drop(self) -> None:
        """Draw no more of it."""
        self._under_way = None
        self._next_due.stop()

    def _on_next(self) -> None:
        if self._under_way is None:
            return
        parts, shown = self._under_way
        try:
            next(parts)
        except StopIteration:
            self._end(shown)
        except Exception as error:
            _logger.exception("a part of a round could not be shown")
            self._end(shown)
            self.failed.emit(f"a part could not be drawn ({error}); the dock shows it.")
        else:
            self._next_due.start()

    def _end(self, shown: Shown) -> None:
        self._under_way = None
        self.done.emit(shown)
