"""``napari-spa replay``: play a decision log again, and compare the masks."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.cli.console import (
    CallError,
    answer,
    check_outputs,
    checking_the_call,
    echo_err,
    model_facts,
    progress_bar,
)
from napari_spa.core.presentation import counted
from napari_spa.errors import DataError, InputError, ModelError
from napari_spa.io.event_log import read_log, records_in, unread_lines
from napari_spa.io.images import ImageFile, open_stack, read_label_stack, write_labels
from napari_spa.io.models.load import load_model
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.log.journal import ImageFacts, LoggedSession, image_facts
from napari_spa.refine.log.replay import ReplayedPart, replay
from napari_spa.refine.session.session import RefinementSession

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from numpy.typing import NDArray


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    with checking_the_call():
        content = read_log(options.log)
        records = records_in(content, options.log)
        facts, model = image_facts(records)
    unread = unread_lines(content, records)
    if unread:
        echo_err(
            f"napari-spa: left out: {counted(unread, 'line')} of {options.log} with no record."
        )
    image = _open_image(options, facts)
    _check_output(options, image.path)
    labels = _empty_labels(facts.shape)
    known = None if options.check is None else read_label_stack(options.check, facts.shape)
    sessions: dict[tuple[str, str], RefinementSession] = {}
    session_of = partial(_session_of, options, sessions)
    if any(record.get("kind") == "accept" for record in records):
        session_of(model)  # whether it is here is better known before hours of work
    with progress_bar("replay") as progress:
        session, parts = replay(
            records, ArraySurface(labels), image.levels, session_of, progress=progress
        )
    pixels = None if known is None else int(np.count_nonzero(labels != known))
    if options.output is not None:
        write_labels(options.output, labels, image.info)
    models = [model_facts(each.model) for each in sessions.values()]
    _report(options, image.path, models, session, parts, pixels)
    wrong = bool(pixels) or any(part.outcome in ("differs", "failed") for part in parts)
    return 1 if wrong else 0


def _session_of(
    options: argparse.Namespace,
    sessions: dict[tuple[str, str], RefinementSession],
    identity: Mapping[str, Any],
) -> RefinementSession:
    """Return a session with the model that the log names; each is loaded once."""
    name, digest, head = (str(identity.get(key)) for key in ("name", "sha256", "head"))
    if (digest, head) not in sessions:
        given = options.model
        try:
            model = load_model(given or name, device=options.device, head=head)
        except ModelError as error:
            if given is not None:
                raise
            raise DataError(f"{_stem(error)} (the log's model); give --model PATH.") from error
        found = model.identity.sha256
        if found != digest:
            sentence = (
                f"the log was made with other weights of {name} (sha256 {digest:.12}) than "
                f"{given or 'the ones here'} ({found:.12})"
            )
            if given is not None:
                raise CallError(f"{sentence}.")
            raise DataError(f"{sentence}; give --model PATH.")
        sessions[digest, head] = RefinementSession(model)
    return sessions[digest, head]


def _stem(error: Exception) -> str:
    return str(error).rstrip(".")


def _open_image(options: argparse.Namespace, facts: ImageFacts) -> ImageFile:
    """Find the image: as asked, as logged, or beside the log."""
    if options.image is not None:
        return open_stack(options.image, facts.shape)
    if not facts.path:
        raise CallError(f"the log does not say where {facts.name} is; give --image IMAGE.")
    beside = options.log.parent
    for path in (Path(facts.path), beside / facts.path, beside / Path(facts.path).name):
        if os.path.exists(path):
            try:
                return open_stack(path, facts.shape)
            except InputError as error:
                raise DataError(f"{_stem(error)}; give --image IMAGE.") from error
    raise DataError(f"the log's image {facts.path} is not there; give --image IMAGE.")


def _check_output(options: argparse.Namespace, image: Path) -> None:
    output = options.output
    if output is None:
        return
    if output.suffix.lower() not in (".tif", ".tiff"):
        raise CallError(f"labels are written as .tif, not as {output.name}.")
    read = {"image": image, "log": options.log, "labels to compare with": options.check}
    check_outputs({"labels": output}, read)


def _empty_labels(shape: tuple[int, ...]) -> NDArray[np.uint32]:
    try:
        return np.zeros(shape, dtype=np.uint32)
    except (MemoryError, ValueError) as error:
        raise DataError(f"labels of the logged shape {shape} do not fit into memory.") from error


def _report(
    options: argparse.Namespace,
    image: Path,
    models: list[dict[str, object]],
    session: LoggedSession,
    parts: tuple[ReplayedPart, ...],
    pixels: int | None,
) -> None:
    for reason in dict.fromkeys(part.reason for part in parts if part.reason):
        echo_err(f"napari-spa: {reason}")
    if any(part.outcome == "differs" for part in parts):
        echo_err("masks may differ on another device, or with another version of PyTorch.")
    active, check = session.active, None
    lines = [_line(part) for part in parts]
    if active is not None:
        lines.append(
            f"object {active.number} is not accepted: left out, it was at round {active.round}"
        )
    same = sum(part.outcome == "same" for part in parts)
    played = sum(part.outcome != "painted" for part in parts)
    lines.append(f"{same} of {played} masks are the same")
    if options.check is not None:
        check = {"path": str(options.check), "pixels": pixels}
        differs = f"differs in {pixels} px" if pixels else "has the same labels"
        lines.append(f"{options.check}: {differs}")
    if options.output is not None:
        lines.append(f"{options.output}: {len(session.annotation.objects)} objects")
    answer(
        options,
        lines,
        log=str(options.log),
        image=str(image),
        objects=[_facts(part) for part in parts],
        at_hand=None if active is None else {"object": active.number, "round": active.round},
        mask=None if options.output is None else str(options.output),
        check=check,
        models=models,
    )


def _facts(part: ReplayedPart) -> dict[str, object]:
    return {
        "object": part.number,
        "slice": list(part.plane.position),
        "axes": list(part.plane.axes),
        "outcome": part.outcome,
        "pixels": part.pixels,
        "area": part.area,
        "edited": part.edited,
        "reason": part.reason or None,
    }


def _line(part: ReplayedPart) -> str:
    where = ",".join(map(str, part.plane.position))
    what = {
        "same": "the same",
        "differs": f"differs in {part.pixels} px",
        "failed": "could not be replayed, taken from the log",
        "painted": "painted by hand, taken from the log",
    }[part.outcome]
    edited = "; painted on by hand since, as in the log" if part.edited else ""
    return f"object {part.number}{', slice ' * bool(where)}{where}: {what}, {part.area} px{edited}"
