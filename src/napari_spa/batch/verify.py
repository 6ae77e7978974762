"""Check that an output folder is what its manifest says, and belongs to its inputs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_spa.batch.manifest import read_manifest, recipe_facts, sha256_of, what_differs
from napari_spa.batch.resume import STATE
from napari_spa.errors import DataError, InputError
from napari_spa.io.projects.paths import labels_path, log_path, manifest_path
from napari_spa.refine.engine.config import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_spa.batch.manifest import Entry
    from napari_spa.batch.plan import BatchPlan
    from napari_spa.batch.task import BatchTask


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found."""

    checked: int  # files whose digests were computed
    images: int  # images that the manifest has results of
    # Path or name, and what is wrong with it, in a few words.
    wrong: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()  # what could not be checked


def verify(
    out: Path,
    plan: BatchPlan | None = None,
    *,
    digest: Callable[[BatchTask], str] | None = None,
    progress: Progress = silent,
) -> Verdict:
    """Compute all digests again and compare them with the manifest; nothing is changed."""
    from napari_spa.batch.job import Tools

    manifest = read_manifest(manifest_path(out))
    if manifest is None:
        raise DataError(f"{out} has no manifest.json; no batch was run there.")
    wrong: list[tuple[str, str]] = []
    if (out / STATE).exists():
        wrong.append((STATE, "a batch runs, or did not come to its end; run it again"))
    if plan is not None:
        differs = what_differs(manifest.recipe, recipe_facts(plan.recipe))
        if differs:
            wrong.append(("manifest.json", f"the results were made with another {differs}"))
    checked = 0
    for number, (name, entry) in enumerate(sorted(manifest.entries.items())):
        progress(number / len(manifest.entries), name)
        wrong.extend(_outputs(out, name, entry))
        checked += len(entry.result.outputs)
    if plan is not None:
        tasks = {task.name: task for task in plan.tasks}
        checked += len(tasks.keys() & manifest.entries.keys())
        wrong.extend(_inputs(out, tasks, manifest.entries, digest or Tools().digest))
    notes = () if plan is not None else ("the inputs were not checked; say where prompts are.",)
    return Verdict(checked, len(manifest.entries), tuple(wrong), notes)


def _outputs(out: Path, name: str, entry: Entry) -> Iterator[tuple[str, str]]:
    if entry.result.outcome == "failed":
        yield name, f"it could not be done: {entry.result.problem}"
    for path, known in entry.result.outputs:
        if not os.path.exists(out / path):
            yield path, "it is missing"
            continue
        try:
            if sha256_of(out / path) != known:
                yield path, "it is not as the batch wrote it: changed by hand, or damaged"
        except DataError as error:
            yield path, str(error)


def _inputs(
    out: Path,
    tasks: dict[str, BatchTask],
    entries: dict[str, Entry],
    digest: Callable[[BatchTask], str],
) -> Iterator[tuple[str, str]]:
    for name, task in tasks.items():
        entry = entries.get(name)
        if entry is None:
            by_hand = any(
                os.path.exists(path) for path in (labels_path(out, name), log_path(out, name))
            )
            yield name, "it was done by hand" if by_hand else "it is not done yet"
            continue
        try:
            if digest(task) != entry.result.input_sha256:
                yield name, "the image, its prompts or its mask changed since"
        except InputError as error:
            yield name, str(error)
    for name in sorted(entries.keys() - tasks.keys()):
        yield name, "its image is gone, or nothing is asked of it any more"
