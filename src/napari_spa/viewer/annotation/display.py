"""How a user looks at the image and at what is drawn into it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

if TYPE_CHECKING:
    from napari_spa.core.types import Box
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.layers.planes import DisplaySettings


class DisplayController(QObject):
    """Channels, contrast, field of view, and which of our layers are shown."""

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        controller.images.reframed.connect(self.look_at)

    @property
    def framed(self) -> bool:
        """Whether the field of view is drawn into the image."""
        return self._controller.images.framed

    def set_contrast(self, contrast: str) -> None:
        """Look at every image with the contrast of its planes or of its layer."""
        self._controller.images.contrast = contrast
        for annotated in self._controller.images:
            if annotated is not self._controller.current:
                annotated.display = replace(annotated.display, contrast=contrast)
        if self._controller.current is not None:
            self.set_display(replace(self._controller.current.display, contrast=contrast))

    def set_display(self, look: DisplaySettings) -> None:
        """Look at the image's channels and contrast another way; encodes in the background.

        While something is under way the active object stays as it is; the next one is
        looked at so.
        """
        annotated = self._controller.current
        if annotated is None or annotated.display == look:
            return
        annotated.display = look
        if look.channels.axis is not None and not self._controller.busy:
            annotated.share_channels(look.channels.axis)
        self.look_again()

    def look_again(self) -> None:
        """Start the active object again from its first prompts, as one looks now."""
        annotated, active = self._controller.current, self._controller.active
        if (
            annotated is None
            or active is None
            or active.shown is None
            or not self._controller.ready()
        ):
            return
        prompts = active.shown.timeline.state.decisions[0].prompts
        points = [(c.row, c.column) for c in prompts.clicks]
        labels = [c.label for c in prompts.clicks]
        box = prompts.box
        corners = None if box is None else (box.row0, box.column0, box.row1, box.column1)
        self._controller.begin(
            annotated,
            replace(active, shown=None, look=None),
            lambda session, progress: session.start(
                points, labels, corners, prompts.mask, progress=progress
            ),
        )

    def look_at(self, box: Box | None = None, *, scale: float = 1.0) -> None:
        """Look at the active object through another field of view."""
        if not self._controller.ready():
            return
        view = self._controller.shown().timeline.state.view
        if box is not None:
            height, width = box.row1 - box.row0, box.column1 - box.column0
            view = replace(view, row=box.row0, column=box.column0, height=height, width=width)
        row, column = view.row + view.height / 2, view.column + view.width / 2
        wider = type(view).around(row, column, scale * max(view.height, view.width))
        self._controller.run(lambda session, progress: session.set_view(wider, progress=progress))

    def set_framed(self, framed: bool) -> None:
        """Draw the field of view into the image, where a user can move and resize it."""
        self._controller.images.framed = framed
        for annotated in self._controller.images:
            annotated.prompts.set_framed(framed)

    def set_blind(self, blind: bool) -> None:
        """From the next object on, show all masks alike, and which is recommended nowhere."""
        self._controller.blind = blind

    def set_overlays_hidden(self, hidden: bool) -> None:
        """Hide everything of ours for a moment, to see the image."""
        if self._controller.current is not None:
            self._controller.current.set_hidden(hidden)

    def set_candidate_visible(self, index: int, visible: bool) -> None:
        """Show or hide a candidate in the canvas."""
        if self._controller.current is not None:
            self._controller.current.candidates.set_visible(index, visible)

    def set_filled(self, filled: bool) -> None:
        """Fill the objects, or draw their outlines."""
        self._controller.images.set_filled(filled)

    def flip(self, index: int | None) -> None:
        """Show a candidate in the place of the recommendation for a moment; None ends it."""
        if self._controller.current is not None and not self._controller.busy:
            self._controller.current.flip(index)

    def preview_candidate(self, index: int | None) -> None:
        """Show only one candidate for a moment; None ends it."""
        if self._controller.current is not None:
            self._controller.current.candidates.solo(index)
