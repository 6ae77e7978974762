"""Refine the objects of a viewer's images: clicks in, layers out, the session in between.

The one place that knows both the session and the layers.  Everything slow goes through
the worker; everything here runs in the main thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.errors import InputError, SpaError
from napari_spa.viewer.layers import ObjectLayers
from napari_spa.viewer.planes import Plane, click_in_plane, read_plane, shown_plane, spatial_shape
from napari_spa.viewer.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_spa.core.types import Proposal
    from napari_spa.refine.config import Progress
    from napari_spa.refine.session import RefinementSession

    SessionFactory = Callable[[str], RefinementSession]

HINT_START = "Click on an object in the image."
HINT_CHOOSE = "Pick a difference, or accept. Click to add a part, Shift+click to take one away."
_DRAG_PIXELS = 4.0


def make_session(model: str) -> RefinementSession:
    """Load a model and return a session for it; slow, for the worker.

    Parameters
    ----------
    model : str
        Name or path.

    Returns
    -------
    RefinementSession
    """
    from napari_spa.io.checkpoints import load_model
    from napari_spa.refine.session import RefinementSession

    return RefinementSession(load_model(model))


class Refiner(QObject):
    """Connect clicks and picks in one viewer to a session and its layers.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    session_factory : callable
        Makes a session from a model's name; called in the worker.

    Attributes
    ----------
    proposed : Signal(object, object)
        A proposal to show and the image under its region, (h, w, 3) float32.
    cleared : Signal()
        There is no object at hand any more.
    said : Signal(str)
        What happened or what to do next, in one sentence.
    failed : Signal(str)
        What went wrong, in one sentence.
    """

    proposed = Signal(object, object)
    cleared = Signal()
    said = Signal(str)
    failed = Signal(str)

    def __init__(
        self,
        viewer: ViewerModel,
        session_factory: SessionFactory = make_session,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._factory = viewer, session_factory
        self.worker = Worker(self)
        self.worker.finished.connect(self._on_finished)
        self.worker.failed.connect(self._on_failed)
        self._model = "spa-tiny"
        self._session: RefinementSession | None = None
        self._layers: ObjectLayers | None = None
        self._plane: Plane | None = None
        self._pixels: NDArray[Any] | None = None
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        viewer.layers.events.removed.connect(self._on_layer_removed)

    # ------------------------------------------------------------------ what it is now

    @property
    def choosing(self) -> bool:
        """Whether an object is at hand."""
        return self._plane is not None and self._session is not None and self._proposal is not None

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier round."""
        return self.choosing and self._session is not None and self._session.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone round."""
        return self.choosing and self._session is not None and self._session.can_redo

    @property
    def _proposal(self) -> Proposal | None:
        return None if self._session is None else self._session.proposal

    # ------------------------------------------------------------------ what one can do

    def set_model(self, model: str) -> None:
        """Use another model from the next object on; the object at hand is dropped."""
        if model != self._model:
            self.discard()
            self._model, self._session = model, None

    def click(self, position: tuple[float, ...], label: int = 1) -> None:
        """Start an object at a world position, or say more about the one at hand.

        Parameters
        ----------
        position : tuple of float
            World coordinates.
        label : int
            1 on the object, 0 on the background.
        """
        if self.worker.busy:
            self.said.emit("Still working on the last step; wait, or press Cancel.")
            return
        try:
            self._click(position, label)
        except SpaError as error:
            self.failed.emit(str(error))

    def pick(self, index: int) -> None:
        """Pick a candidate, 0-based."""
        proposal = self._proposal
        if not self._ready() or proposal is None or index >= len(proposal.candidates):
            return
        self._run(lambda session, progress: session.pick(index, progress=progress))

    def undo(self) -> None:
        """Go back one round."""
        if self._ready() and self.can_undo:
            self._run(lambda session, progress: session.undo())

    def redo(self) -> None:
        """Take an undone round again."""
        if self._ready() and self.can_redo:
            self._run(lambda session, progress: session.redo())

    def accept(self) -> None:
        """Write the recommended mask as an object."""
        proposal, session = self._proposal, self._session
        if not self._ready() or session is None or proposal is None:
            return
        if self._layers is None or self._plane is None:
            return
        number = self._layers.commit(self._plane, proposal)
        session.accept()
        self._plane = None
        self.cleared.emit()
        self.said.emit(f"Object {number} accepted, {proposal.area:,} px. {HINT_START}")

    def discard(self) -> None:
        """Drop the object at hand."""
        self.worker.cancel()
        if self._layers is not None:
            self._layers.clear()
        self._plane = None
        self.cleared.emit()
        self.said.emit(HINT_START)

    def cancel(self) -> None:
        """Stop what is running; the round before it stays."""
        self.worker.cancel()
        if self._proposal is None or not self.choosing:
            self.discard()
        self.said.emit("Stopped. " + (HINT_CHOOSE if self.choosing else HINT_START))

    def set_candidate_visible(self, index: int, visible: bool) -> None:
        """Show or hide a candidate in the canvas."""
        if self._layers is not None:
            self._layers.set_candidate_visible(index, visible)

    def close(self) -> None:
        """Let go of the viewer: no callback, layer or thread of ours stays."""
        self.worker.close()
        if self._layers is not None:
            self._layers.clear()
        if self._on_mouse in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_mouse)
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)

    def target(self) -> Image | None:
        """Return the image a click is meant for: the active one, else the topmost shown."""
        active = self._viewer.layers.selection.active
        if isinstance(active, Image):
            return active
        if self._layers is not None and self._layers.image in self._viewer.layers:
            return self._layers.image
        shown = [x for x in self._viewer.layers if isinstance(x, Image) and x.visible]
        return shown[-1] if shown else None

    # ------------------------------------------------------------------ how it does it

    def _click(self, position: tuple[float, ...], label: int) -> None:
        if self.choosing and self._layers is not None and self._plane is not None:
            plane = shown_plane(self._viewer, self._layers.image)
            if plane != self._plane:
                raise InputError("the object at hand is on another slice; accept or discard it.")
            point = self._inside(self._layers.image, plane, position)
            self._run(lambda session, progress: session.click(point, label, progress=progress))
            return
        image = self.target()
        if image is None:
            raise InputError("there is no image; open one first.")
        if label == 0:
            raise InputError("click on the object first; Shift+click takes a part away later.")
        plane = shown_plane(self._viewer, image)
        point = self._inside(image, plane, position)
        if self._layers is None or self._layers.image is not image:
            self._layers = ObjectLayers(self._viewer, image)
        self._plane, self._pixels = plane, None
        self._start(image, plane, point)

    @staticmethod
    def _inside(image: Image, plane: Plane, position: tuple[float, ...]) -> tuple[float, float]:
        row, column = click_in_plane(image, plane, position)
        shape = spatial_shape(image)
        height, width = (shape[axis] for axis in plane.axes)
        if not (-0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5):
            raise InputError(f"that is outside {image.name}; click inside the image.")
        return row, column

    def _start(self, image: Image, plane: Plane, point: tuple[float, float]) -> None:
        factory, model, known = self._factory, self._model, self._session

        def job(progress: Progress) -> tuple[RefinementSession, Proposal, NDArray[Any]]:
            session = known
            if session is None:
                progress(0.0, "loading the model")
                session = factory(model)
            progress(0.05, "reading the image")
            pixels = read_plane(image, plane)
            session.set_image(pixels)
            return session, session.start([point], progress=progress), pixels

        self.said.emit("Looking…")
        self.worker.submit(job)

    def _run(self, act: Callable[[RefinementSession, Progress], Proposal]) -> None:
        session, pixels = self._session, self._pixels
        if session is None or pixels is None:
            return
        self.worker.submit(lambda progress: (session, act(session, progress), pixels))

    def _ready(self) -> bool:
        if self.worker.busy:
            self.said.emit("Still working on the last step; wait, or press Cancel.")
            return False
        return self.choosing

    def _on_finished(self, result: tuple[RefinementSession, Proposal, NDArray[Any]]) -> None:
        from napari_spa.core.transforms import fit_intensity

        session, proposal, self._pixels = result
        self._session = session
        if self._layers is None or self._plane is None:
            return
        self._layers.show(self._plane, proposal, session.prompts)
        window = fit_intensity(self._pixels).apply(self._pixels[proposal.region.slices])
        self.proposed.emit(proposal, window)
        self.said.emit(
            "The model is certain: accept, or click to correct it."
            if proposal.certain
            else HINT_CHOOSE
        )

    def _on_failed(self, error: BaseException) -> None:
        if self._layers is not None and not self._shown():
            self._plane = None
        if isinstance(error, SpaError):
            self.failed.emit(str(error))
            return
        self.failed.emit(f"something unexpected went wrong ({type(error).__name__}: {error}).")

    def _shown(self) -> bool:
        return self._pixels is not None and self._proposal is not None

    def _on_layer_removed(self, event: Any) -> None:
        if self._layers is None:
            return
        if event.value is self._layers.image:
            self.worker.cancel()
            self._layers.clear()
            self._layers, self._plane = None, None
            self.cleared.emit()
            self.said.emit(f"The image was removed. {HINT_START}")

    def _on_mouse(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        """Tell a click from a drag; only where a click would not paint or select."""
        active = viewer.layers.selection.active
        if event.button != 1 or (active is not None and str(active.mode) != "pan_zoom"):
            return
        start = np.asarray(event.pos, dtype=float)
        label = 0 if "Shift" in event.modifiers else 1
        position = tuple(float(p) for p in event.position)
        yield
        while event.type == "mouse_move":
            if np.abs(np.asarray(event.pos) - start).max() > _DRAG_PIXELS:
                return
            yield
        self.click(position, label)
