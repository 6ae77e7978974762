"""The rows of the object table, from what is annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.widgets.objects.rows import ObjectRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_spa.refine.annotation.objects import AnnotatedObject
    from napari_spa.viewer.annotation.image import AnnotatedImage


def list_objects(work: AnnotatedImage) -> list[ObjectRow]:
    """List the accepted objects of an image, and the one at hand.

    Parameters
    ----------
    work : AnnotatedImage
        The image.

    Returns
    -------
    list of ObjectRow
        By number.
    """
    rows = {number: _row(held) for number, held in work.annotation.objects.items()}
    held = work.at_hand
    if held is not None and held.shown is not None:
        proposal = held.shown.proposal
        rows[held.number] = ObjectRow(
            number=held.number,
            slices=_spans([held.plane.position]),
            area=proposal.area,
            rounds=proposal.round,
            uncertainty=proposal.uncertainty,
            status="in progress",
        )
    return [rows[number] for number in sorted(rows)]


def _row(held: AnnotatedObject) -> ObjectRow:
    return ObjectRow(
        number=held.number,
        slices=_spans([part.plane.position for part in held.parts]),
        area=held.area,
        rounds=held.rounds,
        uncertainty=held.uncertainty,
        status=held.status,
    )


def _spans(positions: Iterable[tuple[int, ...]]) -> str:
    """Write slice positions briefly: ``3, 5-9``, of two stack axes the first one before."""
    found = sorted(set(positions))
    if not found or not found[0]:
        return ""
    runs: list[list[tuple[int, ...]]] = []
    for position in found:
        last = runs[-1][-1] if runs else None
        if last is not None and position == (*last[:-1], last[-1] + 1):
            runs[-1].append(position)
        else:
            runs.append([position])
    words = []
    for run in runs:
        first = ".".join(map(str, run[0]))
        words.append(first if len(run) == 1 else f"{first}–{run[-1][-1]}")  # noqa: RUF001
    return ", ".join(words)
