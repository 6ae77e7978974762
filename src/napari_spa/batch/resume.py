"""The output folder while a batch runs: one run at a time, and what earlier runs left.

::

    OUT/.spa-batch/lock          held as long as the process lives
    OUT/.spa-batch/run.json      the unfinished batch: its recipe, and what it may replace
    OUT/.spa-batch/run-XXXX/     of one run: marks of finished images, attempts, the profile
    OUT/.spa-batch/old-XXXX/     of a run that ended

A run's folder is renamed when the run has ended and before its marks are read: attempts that
go on elsewhere can from then on neither make a mark nor move anything out.  All of it is
gone when the batch is finished.  A run that was killed leaves it behind; the next one puts
the marks into the manifest and takes the rest away.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_spa.batch.job import Finished
from napari_spa.batch.manifest import Manifest, read_manifest, sha256_of
from napari_spa.batch.result_records import result_from_record
from napari_spa.errors import DataError
from napari_spa.io.files import atomic_path
from napari_spa.io.projects.paths import manifest_path
from napari_spa.io.strict_json import JsonError, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_spa.batch.manifest import Facts

STATE = ".spa-batch"
_DAMAGE = (AttributeError, KeyError, TypeError, ValueError)


@dataclass(slots=True)
class Earlier:
    """What earlier runs left in an output folder.

    Attributes
    ----------
    manifest : Manifest or None
        The latest results, marks included.
    overwriting : bool
        Whether a run that was to do everything anew did not come to its end.
    unfinished : bool
        Whether any run did not.
    ours : dict of str to set of str
        Digests of outputs that a batch wrote, or may replace, by their path.
    """

    manifest: Manifest | None = None
    overwriting: bool = False
    unfinished: bool = False
    ours: dict[str, set[str]] = field(default_factory=dict)

    def know(self, path: str, digest: str) -> None:
        """Count a file of this digest as a batch's own."""
        self.ours.setdefault(path, set()).add(digest)


def look(out: Path) -> Earlier:
    """Read what is known of an output folder, changing nothing.

    Parameters
    ----------
    out : Path
        A folder that need not be there.

    Returns
    -------
    Earlier

    Raises
    ------
    DataError
        When a manifest is damaged or of something else.
    """
    earlier = Earlier(read_manifest(manifest_path(out)))
    run = _read_json(out / STATE / "run.json")
    if earlier.manifest is not None:
        for entry in earlier.manifest.entries.values():
            for path, digest in entry.result.outputs:
                earlier.know(path, digest)
    if run is None:
        return earlier
    try:
        earlier.overwriting, earlier.unfinished = bool(run["overwrite"]), True
        for path, digests in run["replaces"].items():
            for digest in digests:
                earlier.know(path, digest)
        if earlier.manifest is None or earlier.manifest.recipe != run["recipe"]:
            earlier.manifest = Manifest(run["recipe"])
    except _DAMAGE as error:
        raise DataError(f"{out / STATE} is damaged; remove it to begin anew.") from error
    for mark in _marks(out / STATE):
        earlier.manifest.add(mark.result, mark.environment)
        for output, digest in mark.result.outputs:
            earlier.know(output, digest)
    return earlier


def _marks(state: Path) -> Iterator[Finished]:
    """Read all marks; an image whose mark cannot be read is one to do again."""
    for path in sorted((*state.glob("run-*/marks/*.json"), *state.glob("old-*/marks/*.json"))):
        record = None if path.name.startswith(".") else _read_json(path)
        if record is None:
            continue
        try:
            result = result_from_record(record["name"], record["result"])
            yield Finished(result, dict(record["environment"]))
        except _DAMAGE:
            continue


class RunFolder:
    """An output folder that this process holds, with a folder for this run in it.

    Made by :func:`holding`.

    Attributes
    ----------
    out : Path
        The output folder.
    name : str
        The run's folder in it, POSIX.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.name = f"{STATE}/run-{secrets.token_hex(4)}"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.out / self.name

    def begin(self, recipe: Facts, ours: Mapping[str, set[str]], *, overwrite: bool) -> None:
        """Say on disk what this run is about, before it changes anything.

        Parameters
        ----------
        recipe : dict
            What decides the outputs.
        ours : mapping of str to set of str
            Digests of outputs that may be replaced.
        overwrite : bool
            Whether everything is done anew.
        """
        content = {
            "recipe": recipe,
            "overwrite": overwrite,
            "replaces": {path: sorted(digests) for path, digests in sorted(ours.items())},
        }
        with _saying_why(self.out):
            (self.path / "marks").mkdir(parents=True)
        with atomic_path(self.out / STATE / "run.json") as temporary:
            temporary.write_text(json.dumps(content), "utf-8")

    def write(self, manifest: Manifest) -> None:
        """Write the manifest, unless the folder was taken away.

        Raises
        ------
        DataError
            When it cannot be written.
        """
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
        """End the run: put what no worker came to report into the manifest, and write it.

        Raises
        ------
        DataError
            When it cannot be written, or the folder was taken away.
        """
        if not self.path.is_dir():
            raise DataError(f"{self.out} was taken away while the batch ran.")
        _fence(self.out / STATE)
        for mark in _marks(self.out / STATE):
            known = manifest.entries.get(mark.result.name)
            if (known is None or known.result != mark.result) and self._is_there(mark):
                manifest.add(mark.result, mark.environment)
        manifest.write(manifest_path(self.out))
        self.clear_earlier()

    def _is_there(self, mark: Finished) -> bool:
        try:
            return all(sha256_of(self.out / path) == d for path, d in mark.result.outputs)
        except DataError:
            return False

    def abandon(self) -> None:
        """Take back that a batch began: it came to nothing."""
        manifest_path(self.out).unlink(missing_ok=True)
        self.finish()

    def finish(self) -> None:
        """Forget the batch: all of it is done."""
        (self.out / STATE / "run.json").unlink(missing_ok=True)


@contextmanager
def holding(out: Path) -> Iterator[RunFolder]:
    """Hold an output folder against other batches; it is made if needed.

    Parameters
    ----------
    out : Path
        The folder.

    Yields
    ------
    RunFolder

    Raises
    ------
    DataError
        When another batch writes to it, or it cannot be written.
    """
    from filelock import FileLock, Timeout

    state, new = out / STATE, not out.exists()
    lock = FileLock(state / "lock", timeout=0)
    while True:
        with _saying_why(out):
            state.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:
                raise DataError(
                    f"another batch writes to {out}; wait for it, or choose another folder."
                ) from error
        if (state / "lock").exists():
            break
        lock.release()  # the last holder took the file away just then: nobody else sees it
    try:
        _fence(state)
        yield RunFolder(out)
    finally:
        _let_go(lock, state, new)


def _fence(state: Path) -> None:
    """Shut out whoever still works for a run that ended."""
    for path in state.glob("run-*/"):
        try:
            path.rename(path.with_name(f"old-{path.name.removeprefix('run-')}"))
        except OSError as error:
            raise DataError(f"cannot write {state}: {error.strerror or error}.") from error


def _let_go(lock: Any, state: Path, new: bool) -> None:  # noqa: ANN401  filelock is imported late
    """Take the folder away with the lock, unless an unfinished batch is in it."""
    finished = not (state / "run.json").exists()
    if finished and os.name == "posix":
        shutil.rmtree(state, ignore_errors=True)
    lock.release()
    if finished and os.name != "posix":
        shutil.rmtree(state, ignore_errors=True)
    if new and finished:
        try:
            state.parent.rmdir()  # nothing came to be in it
        except OSError:
            return


@contextmanager
def _saying_why(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror or error}.") from error


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return an object of JSON; None where there is none that can be read."""
    try:
        content = read_json(path)
    except (OSError, DataError, JsonError):
        return None
    return content if isinstance(content, dict) else None
