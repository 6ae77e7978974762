"""Objects that somebody pointed at."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from napari_spa.batch.objects import Found, found_at_hand, not_found
from napari_spa.core.plane import Plane
from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_spa.batch.engine import BatchEngine
    from napari_spa.batch.image import OpenedImage
    from napari_spa.batch.task import ObjectPrompt


def find_prompted(
    prompts: Sequence[ObjectPrompt], engine: BatchEngine, image: OpenedImage
) -> Iterator[Found]:
    """Find the object of each prompt, plane by plane.

    Parameters
    ----------
    prompts : sequence of ObjectPrompt
        In any order.
    engine : BatchEngine
        Finds them.
    image : OpenedImage
        Where.

    Yields
    ------
    Found
        By plane and label; a prompt that cannot be used becomes an object with a problem.

    Raises
    ------
    InputError
        When there is no prompt, or the image cannot be read.
    """
    if not prompts:
        raise InputError("no object is asked for; add lines for this image to the prompts.")
    placed: list[tuple[Plane, ObjectPrompt]] = []
    for prompt in sorted(prompts, key=lambda one: (one.index, one.number)):
        try:
            placed.append((image.plane(prompt.index), prompt))
        except InputError as error:
            yield not_found(prompt.number, _nowhere(prompt), str(error))
    for plane, here in groupby(placed, key=lambda pair: pair[0]):
        source = engine.show(image.levels, plane)
        for _, prompt in here:
            try:
                engine.session.start(prompt.points, prompt.labels)
            except InputError as error:
                yield not_found(prompt.number, plane, str(error))
            else:
                yield found_at_hand(engine.session, prompt.number, plane, source)


def _nowhere(prompt: ObjectPrompt) -> Plane:
    """Return a plane that only says what was asked for."""
    axes = len(prompt.index)
    return Plane((axes, axes + 1), (*prompt.index, 0, 0))
