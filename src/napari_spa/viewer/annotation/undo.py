"""Undo and redo: rounds of the active object, acts on objects, and what was painted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_spa.core.presentation import counted
from napari_spa.refine.session.state import known_of
from napari_spa.viewer.annotation.display import taken_up
from napari_spa.viewer.annotation.round import DroppedObject, same_acts
from napari_spa.viewer.layers.planes import show_plane

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_spa.core.types import Proposal
    from napari_spa.refine.annotation.objects import AnnotatedObject, Change, Part
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.controller import AnnotationController, SessionCall
    from napari_spa.viewer.annotation.image import AnnotatedImage, Choice


class UndoActions(QObject):
    """Take back what was done last, a round or an act on objects, and do it again."""

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        controller.undo_requested.connect(self.undo)
        controller.redo_requested.connect(self.redo)

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier round, or an act on the objects to take back."""
        controller, choice = self._controller, self._controller.choice
        if choice is not None:
            can_undo = choice.shown.session.can_undo
            return controller.follows or choice.active.looked_again or can_undo
        if controller.current is None:
            return False
        back = self.returns is not None or controller.current.unpaints()
        return back or controller.current.annotation.last_change is not None

    @property
    def returns(self) -> DroppedObject | None:
        """The discarded object that undo brings back: nothing was done or painted since."""
        controller = self._controller
        annotated = controller.current
        dropped = None if annotated is None else annotated.acts.discarded
        if annotated is None or dropped is None or annotated.active or annotated.edited:
            return None
        since = annotated.unpaints() and annotated.mask.strokes > dropped.strokes
        return dropped if dropped.after is annotated.annotation.last_change and not since else None

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone round or act."""
        controller, choice = self._controller, self._controller.choice
        if choice is not None:
            can_redo = choice.shown.session.can_redo
            return self.accepts_again or choice.active.looks_again is not None or can_redo
        annotated = controller.current
        return annotated is not None and (
            annotated.unpaints(redo=True) or annotated.annotation.last_undone is not None
        )

    @property
    def accepts_again(self) -> bool:
        """Whether redo accepts the current object, which undo took back, as it was accepted."""
        controller = self._controller
        choice = controller.choice
        change = None if choice is None else choice.annotated.annotation.last_undone
        part = None if change is None else change.accepted
        if choice is None or change is None or part is None:
            return False
        timeline, there = choice.shown.timeline, (choice.active.number, choice.active.plane)
        return (
            change.group is None
            and not timeline.future
            and there == (change.number, part.plane)
            and same_acts(timeline.state.decisions, part.decisions)
        )

    def undo(self) -> None:
        """Go back one round; with no current object, take the last act on objects back.

        In the first round of an object whose click accepted the one before, take both back.
        An object that was discarded last comes back.  Of acts that wait, the latest is dropped.
        """
        controller = self._controller
        if controller.waiting.take_back() or controller.waits(self.undo, undo=True):
            return
        choice = controller.choice
        if choice is not None and choice.shown.session.can_undo:
            controller.run(lambda session, progress: session.undo(progress=progress))
        elif choice is not None and choice.active.looked_again:
            self._look_back(choice)
        elif choice is not None and controller.follows:
            dropped = controller.drop_active()
            if dropped is not None:
                choice.annotated.acts.keep_ahead(dropped, choice.annotated.annotation)
            self.undo_act()
        elif choice is not None:
            choice.annotated.acts.stopped_at = choice.shown
            goes_on = choice.annotated.annotation.last_change is not None
            then = " After that, Undo takes back what was done before it." if goes_on else ""
            controller.status_message.emit(
                f"This is the first round: only Discard takes the object away.{then}"
            )
        elif self.returns is not None:
            self._bring_back(self.returns)
        else:
            self.undo_act()

    def redo(self) -> None:
        """Take an undone round, or act on objects, again: an object is accepted as it was."""
        controller = self._controller
        if controller.waits(self.redo):
            return
        choice = controller.choice
        if choice is not None and choice.shown.session.can_redo:
            controller.run(lambda session, progress: session.redo(progress=progress))
        elif choice is not None and choice.active.looks_again is not None:
            self._play(choice.active.looks_again, known=True)
        elif choice is not None and self.accepts_again:
            dropped = controller.drop_active()
            if dropped is not None:
                choice.annotated.acts.follow(dropped)
            self.redo_act()
        elif choice is None:
            self.redo_act()

    def _bring_back(self, dropped: DroppedObject) -> None:
        """Make an object the active one again, in the round it was in."""
        controller = self._controller
        annotated, active = controller.current, dropped.active
        if annotated is None:
            return
        if active.reopened:
            annotated.journal.reopen(active.number, active.plane, ())
        show_plane(controller.viewer, annotated.image, active.plane, active.look)
        annotated.acts.follow(dropped)
        self._play(dropped)

    def _look_back(self, choice: Choice) -> None:
        """Take the latest ``look`` of the active object back: it is seen as before."""
        ahead = choice.annotated.active_again()
        if ahead is not None:
            *looks, look = choice.active.looks
            before = replace(ahead.active, look=look, looks=tuple(looks), ahead=ahead)
            undone = 1 + ahead.undone
            self._play(replace(ahead, active=before, undone=undone), known=True)

    def _play(self, dropped: DroppedObject, *, known: bool = False) -> None:
        """Begin an object in the round it was in; the log may know its decisions."""
        controller, active = self._controller, dropped.active
        if controller.current is not None:
            controller.begin(
                controller.current,
                active,
                lambda session, progress: session.restore(
                    dropped.decisions,
                    undone=dropped.undone,
                    learnt=active.learnt,
                    progress=progress,
                ),
                known=known,
            )

    def undo_act(self) -> None:
        """Take the last act on objects back; an object just accepted is active again."""
        controller, annotated = self._controller, self._controller.current
        controller.images.painting.flush()
        if annotated is not None and annotated.unpaints():
            self._paint(annotated, redo=False)
            return
        if annotated is not None:
            annotated.end_edit()  # which may be the last act itself
        change = None if annotated is None else annotated.annotation.last_change
        if annotated is None or change is None:
            controller.status_message.emit("There is nothing to undo.")
            return
        part = change.accepted
        if change.group is None and part is not None and part.decisions:
            before = change.before.get(change.number)
            annotated.journal.reopen(change.number, part.plane, part.decisions)
            self._replay(annotated)
            known = before is not None and before.on(part.plane) is not None
            self.restore(annotated, change.number, part, reopened=known, undone=change)
            return
        objects = annotated.annotation.objects
        self._replay(annotated)
        controller.classes.follow(change.group)
        act = _act_of(change, objects, annotated.annotation.objects)
        controller.objects_did(f"Taken back: {act}.")

    def redo_act(self) -> None:
        """Do the last act on objects again that was taken back."""
        controller, annotated = self._controller, self._controller.current
        controller.images.painting.flush()
        if annotated is not None and annotated.unpaints(redo=True):
            self._paint(annotated, redo=True)
            return
        if annotated is not None:
            annotated.end_edit()
        if annotated is None or annotated.annotation.last_undone is None:
            controller.status_message.emit("There is nothing to redo.")
            return
        objects = annotated.annotation.objects
        change = self._replay(annotated, redo=True)
        controller.classes.follow(change.group, redo=True)
        taught = annotated.acts.untaught.pop(change, None)
        if taught is not None:
            annotated.acts.taught[change] = controller.profiles.learn_again(taught)
        act = _act_of(change, objects, annotated.annotation.objects)
        controller.objects_did(f"Done again: {act}.")
        following = annotated.acts.ahead.pop(change, None)
        if following is not None:
            self._bring_back(following)

    def _replay(self, annotated: AnnotatedImage, *, redo: bool = False) -> Change:
        """Take an act back, or do it again, and count what was painted since: it stays there."""
        annotation = annotated.annotation
        latest, seen = annotation.last_change, annotation.objects
        left = None if latest is None else latest.after
        if redo and annotation.last_undone is not None:
            left = annotation.last_undone.before
        change = annotated.undo(redo=redo)
        if seen is not left:
            both = seen, annotation.objects
            other = [n for n in {*seen, *both[1]} if both[0].get(n) is not both[1].get(n)]
            held = [objects[number] for objects in both for number in other if number in objects]
            planes = {part.plane for one in held for part in one.parts}
            painting = self._controller.images.painting
            painting.paint(annotated, {plane: annotated.mask.whole(plane) for plane in planes})
            painting.flush(annotated)
        return change

    def restore(
        self,
        annotated: AnnotatedImage,
        number: int,
        part: Part,
        *,
        reopened: bool,
        undone: Change | None = None,
        otherwise: SessionCall | None = None,
    ) -> None:
        """Make an object active again; what the act that is undone taught is taken back too.

        ``otherwise`` is what is done where the model that it was made with is gone.
        """
        taught, learnt = None, annotated.acts.known_of(part)
        if undone is not None:
            taught = annotated.acts.taught.pop(undone, None)
        if taught is not None:
            learnt = taught.known
        profiles = self._controller.profiles

        def action(session: RefinementSession, progress: Progress) -> Proposal:
            known = learnt
            if undone is not None and taught is not None:
                if profiles.unlearn(taught, session):
                    annotated.acts.untaught[undone] = taught
                else:
                    known = known_of(part.decisions)
            return session.restore(part.decisions, learnt=known, progress=progress)

        active = taken_up(annotated, number, part)
        if undone is not None:
            active = annotated.acts.accepted.get(undone, active)
        had = None if undone is None else undone.after[number].class_name
        active = replace(active, plane=part.plane, learnt=learnt, reopened=reopened, class_name=had)
        show_plane(self._controller.viewer, annotated.image, active.plane, active.look)
        self._controller.begin(annotated, active, action, otherwise=otherwise, known=True)

    def _paint(self, annotated: AnnotatedImage, *, redo: bool) -> None:
        """Take the latest stroke on the mask back, or paint it again."""
        painting = self._controller.images.painting
        painting.paint(annotated, annotated.mask.unpaint(redo=redo))
        painting.flush()
        self._controller.objects_did(
            "Painted again." if redo else "Taken back: what was painted last."
        )


def _act_of(
    change: Change, before: Mapping[int, AnnotatedObject], after: Mapping[int, AnnotatedObject]
) -> str:
    """Say an act, or a group of alike ones: "keep 16 objects", "propagation of object 2"."""
    if change.group is None:
        return change.act
    if change.kind == "accept" and change.number in before and change.number in after:
        return f"propagation of object {change.number}"
    many = sum(before.get(number) is not after.get(number) for number in {*before, *after})
    if many < 2:
        return change.act
    verb = "add" if change.kind == "accept" else change.act.partition(" ")[0]
    return f"{verb} {counted(many, 'object')}"
