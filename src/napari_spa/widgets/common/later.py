"""Do something once after many events that come in a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QObject


def later(owner: QObject, act: Callable[[], None]) -> QTimer:
    """Return what does something when it is started, as soon as no event waits.

    Parameters
    ----------
    owner : QObject
        It goes with this object, as a single shot would not.
    act : callable
        What to do.

    Returns
    -------
    QTimer
        Started again before then, it acts once.
    """
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(0)
    timer.timeout.connect(act)
    return timer
