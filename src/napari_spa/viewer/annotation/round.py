"""A round on show: computed in the worker, drawn in the window's thread."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import counted, describe_difference
from napari_spa.core.types import LocalMask
from napari_spa.viewer.layers.candidates import DrawnCandidate, draw_candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_spa.core.types import Proposal
    from napari_spa.refine.engine.view import ImageSampler
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.refine.session.state import Timeline
    from napari_spa.viewer.layers.planes import DisplaySettings


@dataclass(frozen=True, slots=True, eq=False)
class RenderedRound:
    """One round, ready to be shown.

    Attributes
    ----------
    session : RefinementSession
        Where it comes from.
    proposal : Proposal
        The recommendation and candidates.
    timeline : Timeline
        The states of the object.
    mask : LocalMask
        The recommended mask.
    drawn : tuple of DrawnCandidate
        The candidates' polygons.
    pictures : tuple of ndarray of shape (S, S, 3)
        uint8: the recommendation, then the candidates.
    words : tuple of str
        What each candidate would change.
    shares : tuple of float
        How much of the model's samples each candidate stands for.
    order : tuple of int
        A shuffled order of candidates and, as -1, the recommendation, for blind reading; it
        follows from the round's seed and the image.
    blind : bool
        Whether it is made for blind reading: the pictures are outlines, nothing is drawn into
        the image, and there are no words.
    """

    session: RefinementSession
    proposal: Proposal
    timeline: Timeline
    mask: LocalMask
    drawn: tuple[DrawnCandidate, ...]
    pictures: tuple[NDArray[np.uint8], ...]
    words: tuple[str, ...]
    shares: tuple[float, ...]
    order: tuple[int, ...]
    blind: bool = False


def render_round(
    session: RefinementSession, proposal: Proposal, *, blind: bool = False
) -> RenderedRound:
    """Make a session's present round ready; for the worker."""
    from napari_spa.refine.engine.previews import round_images  # brings torch

    timeline = session.timeline
    if timeline is None:
        raise RuntimeError("a session that proposes has a timeline")
    count = len(proposal.candidates)
    # With the image, or the first round of each image's first object would be in one order.
    entropy = (timeline.state.seed, int(session.sampler.fingerprint, 16))
    shuffled = np.random.default_rng(entropy).permutation(count + 1) - 1
    offered = () if blind else proposal.candidates
    return RenderedRound(
        session=session,
        proposal=proposal,
        timeline=timeline,
        mask=LocalMask.crop(proposal.local_mask, proposal.region),
        drawn=tuple(draw_candidate(candidate) for candidate in offered),
        pictures=round_images(session.sampler, proposal, blind=blind),
        words=tuple(describe_difference(candidate) for candidate in offered),
        shares=tuple(candidate.weight for candidate in offered),
        order=tuple(int(k) for k in shuffled),
        blind=blind,
    )


def display_record(look: DisplaySettings, sampler: ImageSampler) -> dict[str, Any]:
    """Say for the log which plane was looked at, and how."""
    channels = look.channels
    return {
        "image": sampler.fingerprint,
        "look": {
            "channels": channels.chosen,
            "axis": channels.axis,
            "limits": sampler.intensity.logged,
            **({"layers": [str(o.name) for o in channels.others]} if channels.others else {}),
        },
    }


MOST_WAITING = 20
"""Acts that wait for a round; who did more would not know any more what is going to happen."""


class WaitingActs(QObject):
    """What a user did while a round was computed: done in its order, each after the one before.

    A pick does not wait: it is about the candidates that are seen.
    """

    changed = Signal(str)  # another act waits, or one was done; how many wait, in a sentence

    def __init__(self, working: Callable[[], bool], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._working = working
        self._acts: deque[tuple[Callable[[], object], bool]] = deque()  # whether it is an undo
        self._doing = False
        self._next_due = QTimer(self)
        self._next_due.setSingleShot(True)
        self._next_due.timeout.connect(self._on_next)

    @property
    def due(self) -> bool:
        """Whether what a user does now comes after an act that waits."""
        return bool(self._acts) and not self._doing

    def put(self, act: Callable[[], object], *, undo: bool = False) -> bool:
        """Let an act wait, where it has to; tell whether it has."""
        if not self._working() and not self.due:
            return False
        full = len(self._acts) == MOST_WAITING
        if not full:
            self._acts.append((act, undo))
        self._say("; this one was not taken" if full else "")
        return True

    def take_back(self) -> bool:
        """Drop the latest act that waits, unless it takes something back itself."""
        if not self.due or self._acts[-1][1]:
            return False
        self._acts.pop()
        self._say()
        return True

    def clear(self) -> str:
        """Let nothing wait; return what was dropped, in a sentence."""
        count = len(self._acts)
        self._acts.clear()
        self._next_due.stop()
        were = "were" if count > 1 else "was"
        return f"{counted(count, 'act')} that waited {were} dropped. " if count else ""

    def go_on(self, _: object = None) -> None:
        """Do the next act, once all that hear of the round have heard of it."""
        if self._acts:
            self._next_due.start()

    def _on_next(self) -> None:
        if not self._acts or self._working():
            return
        act, _ = self._acts.popleft()
        self._doing = True
        try:
            act()
        finally:
            self._doing = False
        self._say()
        self.go_on()

    def _say(self, also: str = "") -> None:
        count = len(self._acts)
        waits = f"{counted(count, 'act')} {'waits' if count == 1 else 'wait'}{also}."
        self.changed.emit(waits if count else "")


_logger = logging.getLogger(__name__)
_STEP_MS = 10  # long enough for the window to paint one part of a round before the next


class RoundRenderer(QObject):
    """Draw the parts of one round in turn."""

    done = Signal(object)  # all parts of this ``RenderedRound`` are drawn, or as many as can be
    failed = Signal(str)  # A part could not be drawn, and why, in one sentence; after ``done``

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._under_way: tuple[Iterator[None], RenderedRound] | None = None
        self._next_due = QTimer(self)
        self._next_due.setSingleShot(True)
        self._next_due.setInterval(_STEP_MS)
        self._next_due.timeout.connect(self._on_next)

    @property
    def active(self) -> bool:
        """Whether there are parts to draw."""
        return self._under_way is not None

    def begin(self, parts: Iterator[None], shown: RenderedRound) -> None:
        """Draw a round; one that is being drawn is dropped."""
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

    def _end(self, shown: RenderedRound) -> None:
        self._under_way = None
        self.done.emit(shown)
