"""What a batch has to do, given what is in its output folder already."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from napari_spa.batch.manifest import sha256_of, what_differs
from napari_spa.batch.resume import look
from napari_spa.errors import DataError, InputError
from napari_spa.io.projects.paths import labels_path, log_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_spa.batch.manifest import Entry, Facts
    from napari_spa.batch.plan import BatchPlan
    from napari_spa.batch.resume import Earlier
    from napari_spa.batch.task import BatchTask

Standing = Literal["new", "changed", "again", "kept", "unchanged"]
"""Not done yet; its input changed; to be done anew; a person's; as it shall be."""


@dataclass(frozen=True, slots=True)
class Survey:
    """How each image of a plan stands.

    Attributes
    ----------
    standings : dict of str to Standing
        By name, in the plan's order.
    earlier : Earlier
        What the output folder holds.
    carry_on : bool
        Whether earlier results go on counting; not when all is done anew.
    outputs : dict of str to str
        Digests of the outputs as they are now, by their path.
    """

    standings: dict[str, Standing]
    earlier: Earlier
    carry_on: bool = True
    outputs: dict[str, str] = field(default_factory=dict)

    def named(self, *standings: Standing) -> tuple[str, ...]:
        """Return the names of the images that stand so."""
        return tuple(name for name, standing in self.standings.items() if standing in standings)

    @property
    def to_do(self) -> frozenset[str]:
        """Names of the images that are to be done."""
        return frozenset(self.named("new", "changed", "again"))

    def ours(self, out: Path, name: str) -> frozenset[str]:
        """Return the digests of an image's outputs that may be replaced."""
        paths = output_names(out, name)
        return frozenset().union(*(self.earlier.ours.get(path, set()) for path in paths))


def survey(
    plan: BatchPlan, facts: Facts, digest: Callable[[BatchTask], str], *, overwrite: bool = False
) -> Survey:
    """Compare what is asked for with what is there; nothing is changed.

    Parameters
    ----------
    plan : BatchPlan
        What is asked for.
    facts : dict
        Of the plan's recipe.
    digest : callable
        ``task -> str``, as in the results.
    overwrite : bool
        Do everything anew; what an unfinished run with ``overwrite`` did stays done.

    Returns
    -------
    Survey

    Raises
    ------
    DataError
        When the folder holds results of another recipe and ``overwrite`` is not set, or they
        cannot be read.
    """
    earlier = look(plan.out)
    manifest = earlier.manifest
    differs = what_differs(manifest.recipe, facts) if manifest is not None else ""
    if differs and not overwrite:
        raise DataError(
            f"{plan.out} holds results made with another {differs}; add --overwrite to do all "
            "of them anew, or choose another folder."
        )
    carry_on = not differs and (not overwrite or earlier.overwriting)
    entries = manifest.entries if manifest is not None and carry_on else {}
    outputs: dict[str, str] = {}

    def stand(task: BatchTask) -> Standing:
        here = _digests(plan.out, task.name)
        outputs.update(here)
        entry = entries.get(task.name)
        foreign = any(d not in earlier.ours.get(path, ()) for path, d in here.items())
        if foreign and not overwrite:
            return "kept"
        return _standing(task, entry, here, digest, again=overwrite)

    with ThreadPoolExecutor(
        min(8, os.cpu_count() or 1), thread_name_prefix="napari-spa-survey"
    ) as pool:
        found = list(pool.map(stand, plan.tasks))
    if overwrite:
        for path, known in outputs.items():
            earlier.know(path, known)
    standings = {task.name: found[k] for k, task in enumerate(plan.tasks)}
    return Survey(standings, earlier, carry_on, outputs)


def output_names(out: Path, name: str) -> tuple[str, str]:
    """Return the paths of an image's labels and log in the output folder, POSIX."""
    labels, log = labels_path(out, name), log_path(out, name)
    return labels.relative_to(out).as_posix(), log.relative_to(out).as_posix()


def _standing(
    task: BatchTask,
    entry: Entry | None,
    here: dict[str, str],
    digest: Callable[[BatchTask], str],
    *,
    again: bool,
) -> Standing:
    if entry is None:
        return "again" if again and here else "new"
    if entry.result.outcome == "failed":
        return "again"
    if dict(entry.result.outputs) != here:
        return "again"
    try:
        same = digest(task) == entry.result.input_sha256
    except InputError:
        same = False  # doing it will say what is wrong
    return "unchanged" if same else "changed"


def _digests(out: Path, name: str) -> dict[str, str]:
    """Return the digests of an image's outputs that are there."""
    return {
        path: sha256_of(out / path)
        for path in output_names(out, name)
        if os.path.exists(out / path)  # unlike Path.exists, False for a name too long to be
    }
