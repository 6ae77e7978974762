"""What an output folder holds: what is done, what is to be done, and whether it is as written."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from napari_spa.batch.task import (
    BatchTask,
    Entry,
    Facts,
    Manifest,
    input_digest,
    read_manifest,
    recipe_facts,
    result_from_record,
    what_differs,
)
from napari_spa.batch.worker import Finished
from napari_spa.errors import DataError, InputError
from napari_spa.io.files import (
    FolderGoneError,
    explained,
    file_sha256,
    read_object,
    take_lock,
    write_text,
)
from napari_spa.io.projects.paths import labels_path, log_path, manifest_path
from napari_spa.refine.engine.config import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_spa.batch.plan import BatchPlan

ImageState = Literal["new", "changed", "again", "kept", "unchanged"]
"""Not done yet; its input changed; to be done again; a user's; as it shall be."""


@dataclass(frozen=True)
class ResumePlan:
    """How each image of a plan stands."""

    states: dict[str, ImageState]  # by name, in the plan's order
    earlier: PreviousRun  # what the output folder holds
    manifest: Manifest  # the results that go on counting; none when all is done again

    def named(self, *states: ImageState) -> tuple[str, ...]:
        """Return the names of the images that stand so."""
        return tuple(name for name, state in self.states.items() if state in states)

    @cached_property
    def to_do(self) -> frozenset[str]:
        """Names of the images that are to be done; asked for at every image."""
        return frozenset(self.named("new", "changed", "again"))

    def ours(self, out: Path, name: str) -> frozenset[str]:
        """Return the digests of an image's outputs that may be replaced."""
        paths = output_names(out, name)
        return frozenset().union(*(self.earlier.ours.get(path, ()) for path in paths))


def plan_resume(plan: BatchPlan, facts: Facts, *, overwrite: bool = False) -> ResumePlan:
    """Compare what is asked for with what is there; nothing is changed."""
    earlier = read_previous(plan.out)
    manifest = Manifest(facts)
    if earlier.manifest is not None and (not overwrite or earlier.overwriting):
        manifest = replace(earlier.manifest, recipe=facts)

    def stand(task: BatchTask) -> ImageState:
        here = _digests(plan.out, task.name)
        foreign = any(d not in earlier.ours.get(path, ()) for path, d in here.items())
        again = overwrite or task.name in plan.again
        if foreign and not overwrite:
            return "kept"
        if overwrite:
            for path, known in here.items():
                earlier.ours[path].add(known)
        entry = manifest.entries.get(task.name)
        if entry is not None:
            differs = what_differs(entry.recipe, facts)
            if differs and here and not again:
                raise InputError(
                    f"{plan.out} holds results made with another {differs}; add --overwrite to do "
                    "all of them again, or choose another folder."
                )
            entry = None if differs else entry
        return _state_of(task, entry, here, again=again)

    with ThreadPoolExecutor(
        min(8, os.cpu_count() or 1), thread_name_prefix="napari-spa-resume"
    ) as pool:
        found = pool.map(stand, plan.tasks)
        states = {task.name: state for task, state in zip(plan.tasks, found, strict=True)}
    return ResumePlan(states, earlier, manifest)


def output_names(out: Path, name: str) -> tuple[str, str]:
    """Return the paths of an image's labels and log in the output folder, POSIX."""
    labels, log = labels_path(out, name), log_path(out, name)
    return labels.relative_to(out).as_posix(), log.relative_to(out).as_posix()


def _state_of(
    task: BatchTask, entry: Entry | None, here: dict[str, str], *, again: bool
) -> ImageState:
    if entry is None:
        return "again" if again and here else "new"
    if entry.result.outcome == "failed" or dict(entry.result.outputs) != here:
        return "again"
    try:
        same = input_digest(task) == entry.result.input_sha256
    except InputError:
        same = False  # doing it will say what is wrong
    return "unchanged" if same else "changed"


def _digests(out: Path, name: str) -> dict[str, str]:
    """Return the digests of an image's outputs that are there."""
    return {
        path: file_sha256(out / path)
        for path in output_names(out, name)
        if os.path.exists(out / path)  # unlike Path.exists, False for a name too long to be
    }


STATE = ".spa-batch"
_DAMAGE = (AttributeError, KeyError, TypeError, ValueError)


@dataclass(slots=True)
class PreviousRun:
    """What earlier runs left in an output folder."""

    manifest: Manifest | None = None  # the latest results, marks included
    # Whether a run that was to do everything again did not come to its end.
    overwriting: bool = False
    unfinished: bool = False  # whether any run did not
    # Digests of outputs that a batch wrote, or may replace, by their path.
    ours: dict[str, set[str]] = field(default_factory=partial(defaultdict, set))


def read_previous(out: Path) -> PreviousRun:
    """Read what is known of an output folder, changing nothing."""
    earlier = PreviousRun(read_manifest(manifest_path(out)))
    damaged = DataError(
        f"{out / STATE} is damaged, so what a batch made and what you did cannot be told apart; "
        "remove it to start again: labels without a record then count as yours."
    )
    run = read_object(out / STATE / "run.json")
    if not run and os.path.lexists(out / STATE / "run.json"):
        raise damaged
    if earlier.manifest is not None:
        for entry in earlier.manifest.entries.values():
            for path, digest in entry.result.outputs:
                earlier.ours[path].add(digest)
    if not run:
        return earlier
    try:
        earlier.overwriting, earlier.unfinished = bool(run["overwrite"]), True
        for path, digests in run["replaces"].items():
            earlier.ours[path].update(digests)
        recipe = dict(run["recipe"])
    except _DAMAGE as error:
        raise damaged from error
    manifest, marks = earlier.manifest or Manifest(recipe), list(_marks(out / STATE))
    latest = run.get("run")  # earlier versions did not say so, and had one recipe
    for mine in (False, True):  # what was left by the run before is not of this one's recipe
        if mine and manifest.recipe != recipe:
            manifest = replace(manifest, recipe=recipe)
        for number, mark in marks:
            if mark is None:
                raise damaged
            if (number == latest or latest is None) == mine:
                manifest.add(mark.result, mark.environment)
                for output, digest in mark.result.outputs:
                    earlier.ours[output].add(digest)
    earlier.manifest = manifest
    return earlier


def _marks(state: Path) -> Iterator[tuple[str, Finished | None]]:
    """Read all marks, with the number of their run; None for one that cannot be read."""
    for path in sorted((*state.glob("run-*/marks/*.json"), *state.glob("old-*/marks/*.json"))):
        if path.name.startswith("."):
            continue
        record = read_object(path)
        try:
            result = result_from_record(record["name"], record["result"])
            mark = Finished(result, dict(record["environment"]))
        except _DAMAGE:
            mark = None
        yield _number(path.parents[1]), mark


def _number(run: Path) -> str:
    """Return what tells a run from others: its folder is renamed once it has ended."""
    return run.name.partition("-")[2]


class RunFolder:
    """An output folder that this process holds, see :func:`lock_output`, with one for this run."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.name = f"{STATE}/run-{secrets.token_hex(4)}"
        self.path = out / self.name

    def begin(self, recipe: Facts, ours: Mapping[str, set[str]], *, overwrite: bool) -> None:
        """Say on disk what this run is about, before it changes anything."""
        content = {
            "run": _number(self.path),
            "recipe": recipe,
            "overwrite": overwrite,
            "replaces": {path: sorted(digests) for path, digests in sorted(ours.items())},
        }
        with explained("write", self.out):
            (self.path / "marks").mkdir(parents=True)
        write_text(self.out / STATE / "run.json", json.dumps(content))

    def write(self, manifest: Manifest) -> None:
        """Write the manifest, unless the folder was taken away."""
        if not self.path.is_dir():
            raise DataError(f"{self.out} was taken away while the batch ran.")
        manifest.write(manifest_path(self.out))

    def clear_earlier(self) -> None:
        """Take away what runs that were killed left; their marks are in the manifest by now."""
        for path in (self.out / STATE).glob("old-*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in (
            *(self.out / STATE).glob(".spa-run-????????.json"),
            *self.out.glob(".spa-manifest-????????.json"),
        ):
            path.unlink(missing_ok=True)

    def end(self, manifest: Manifest) -> None:
        """End the run: put what no worker came to report into the manifest, and write it."""
        if not self.path.is_dir():
            raise DataError(f"{self.out} was taken away while the batch ran.")
        _fence(self.out / STATE)
        for _, mark in _marks(self.out / STATE):
            if mark is None:
                continue
            known = manifest.entries.get(mark.result.name)
            if (known is None or known.result != mark.result) and self._is_there(mark):
                manifest.add(mark.result, mark.environment)
        manifest.write(manifest_path(self.out))
        self.clear_earlier()

    def _is_there(self, mark: Finished) -> bool:
        try:
            return all(file_sha256(self.out / path) == d for path, d in mark.result.outputs)
        except DataError:
            return False

    def finish(self) -> None:
        """Forget the batch: all of it is done."""
        (self.out / STATE / "run.json").unlink(missing_ok=True)


@contextmanager
def lock_output(out: Path) -> Iterator[RunFolder]:
    """Hold an output folder against other batches; it is made if needed."""
    state, new = out / STATE, not out.exists()
    busy = f"another batch writes to {out}; wait for it, or choose another folder."
    while True:
        with explained("write", out):
            state.mkdir(parents=True, exist_ok=True)
        try:
            lock = take_lock(state / "lock", out, busy)
        except FolderGoneError:  # the last holder took it away just then
            continue
        if (state / "lock").exists():
            break
        lock.release()  # the last holder took the file away just then: no one else sees it
    try:
        _fence(state)
        yield RunFolder(out)
    finally:
        _let_go(lock, state, new)


def _fence(state: Path) -> None:
    """Shut out workers of a run that ended."""
    for path in state.glob("run-*/"):
        with explained("write", state):
            path.rename(path.with_name(f"old-{path.name.removeprefix('run-')}"))


def _let_go(lock: Any, state: Path, new: bool) -> None:  # noqa: ANN401  filelock is imported late
    """Take the folder away with the lock, unless an unfinished batch is in it."""
    finished = not (state / "run.json").exists()
    if finished and os.name == "posix":
        shutil.rmtree(state, ignore_errors=True)
    lock.release()
    if finished and os.name != "posix":
        shutil.rmtree(state, ignore_errors=True)
    if new and finished:
        with suppress(OSError):
            state.parent.rmdir()  # nothing came to be in it


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found."""

    checked: int  # files whose digests were computed
    images: int  # images that the manifest has results of
    # Path or name, and what is wrong with it, in a few words.
    wrong: tuple[tuple[str, str], ...] = ()


def verify(out: Path, plan: BatchPlan | None = None, *, progress: Progress = silent) -> Verdict:
    """Compute all digests again and compare them with the manifest; nothing is changed."""
    manifest = read_manifest(manifest_path(out))
    if manifest is None:
        raise InputError(f"{out} has no manifest.json; no batch was run there.")
    wrong: list[tuple[str, str]] = []
    if (out / STATE).exists():
        wrong.append((STATE, "a batch runs, or did not come to its end; run it again"))
    if plan is not None:
        facts = recipe_facts(plan.recipe)
        if differs := what_differs(manifest.recipe, facts):
            wrong.append(("manifest.json", f"the results were made with another {differs}"))
    checked = 0
    for number, (name, entry) in enumerate(sorted(manifest.entries.items())):
        progress(number / len(manifest.entries), name)
        foreign = plan is not None and what_differs(entry.recipe, manifest.recipe)
        if foreign and (differs := what_differs(entry.recipe, facts)):
            wrong.append((name, f"it was made with another {differs}"))
        wrong.extend(_outputs(out, name, entry))
        checked += len(entry.result.outputs)
    if plan is not None:
        tasks = {task.name: task for task in plan.tasks}
        checked += len(tasks.keys() & manifest.entries.keys())
        wrong.extend(_inputs(out, tasks, manifest.entries))
    return Verdict(checked, len(manifest.entries), tuple(wrong))


def _outputs(out: Path, name: str, entry: Entry) -> Iterator[tuple[str, str]]:
    if entry.result.outcome == "failed":
        yield name, f"it could not be done: {entry.result.problem}"
    for path, known in entry.result.outputs:
        if not os.path.exists(out / path):
            yield path, "it is missing"
            continue
        try:
            if file_sha256(out / path) != known:
                yield path, "it is not as the batch wrote it: changed by hand, or damaged"
        except DataError as error:
            yield path, str(error)


def _inputs(
    out: Path, tasks: dict[str, BatchTask], entries: dict[str, Entry]
) -> Iterator[tuple[str, str]]:
    for name, task in tasks.items():
        entry = entries.get(name)
        if entry is None:
            by_hand = any(os.path.exists(out / path) for path in output_names(out, name))
            yield name, "it was done by hand" if by_hand else "it is not done yet"
            continue
        try:
            if input_digest(task) != entry.result.input_sha256:
                yield name, "the image, its prompts or its mask changed since"
        except InputError as error:
            yield name, str(error)
    for name in sorted(entries.keys() - tasks.keys()):
        yield name, "its image is gone, or nothing is asked of it any more"
