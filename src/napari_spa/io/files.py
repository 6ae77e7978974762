"""Files read and written safely: beside, synced, renamed; tables in CSV; strict JSON.

JSON is read in one way, bounded in size and depth and with finite numbers only: a file may come
from a stranger, or from a disk that lost half of it.  What comes back can be written again, fits
into memory, and can be walked without running out of stack; which names and types it holds is
for the reader of each kind of file to check.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_spa.errors import DataError, SpaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from io import BufferedReader

    from filelock import BaseFileLock


class FolderGoneError(DataError):
    """A folder that was there is not any more."""


_T = TypeVar("_T")
_logger = logging.getLogger(__name__)
_TEMPORARY = re.compile(r"\.spa-.*-[a-z0-9_]{8}(\.[^.]*)?", re.DOTALL)
_LEFTOVER_SECONDS = 86_400
_STEM_BYTES = 32
"""Of a name; a temporary name is longer than its file's, which may be as long as can be."""
_swept: set[Path] = set()


@contextmanager
def atomic_path(path: Path, *, sync: bool = True, within: Path | None = None) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success sync it and rename it there."""
    path = Path(path)
    with explained("write", path):
        make_folder(path.parent, within)
        temporary = path.parent / f"{_prefix(path)}{secrets.token_hex(4)}{path.suffix}"
        kept = _mode(path)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL, 0o666 if kept is None else 0o600))
    try:
        with _writing(path, temporary):
            _sweep(temporary)
            yield temporary
            if sync:
                _sync(temporary)
            if kept is not None:
                os.chmod(temporary, kept)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, within: Path | None = None) -> None:
    """Write a file of text in UTF-8, whole or not at all, with Unix line ends."""
    with atomic_path(path, within=within) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; on success sync it and rename it there."""
    path = Path(path)
    with explained("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    try:
        with _writing(path, place):
            _sweep(place)
            temporary = place / path.name
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            there = path.exists()  # no system replaces a folder that holds something in one go
            if there:
                os.rename(path, place / "before")
            try:
                os.rename(temporary, path)
            except OSError:
                if there:
                    os.rename(place / "before", path)
                raise
    finally:
        shutil.rmtree(place, ignore_errors=True)


def open_file(path: Path, fault: type[SpaError] = DataError) -> BufferedReader:
    """Open an ordinary file to read its bytes; a device or a pipe may have no end."""
    # Not blocking: opening a pipe would wait for someone to write into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise fault(f"cannot read {path}: it is no file.")
    return os.fdopen(descriptor, "rb")


@contextmanager
def explained(doing: str, path: Path, fault: type[SpaError] = DataError) -> Iterator[None]:
    """Turn an error of the system into one sentence, as "cannot write PATH: no space left"."""
    try:
        yield
    except OSError as error:
        raise fault(f"cannot {doing} {path}: {error.strerror or error}.") from error
    except UnicodeEncodeError as error:  # a character that no name on this system can have
        raise fault(f"cannot {doing} {path}: its name is not text.") from error


def take_lock(path: Path, folder: Path, busy: str, *, wait: float = 0) -> BaseFileLock:
    """Take a lock for a folder or file; any thread may let it go, as does the process's end.

    ``busy`` is the sentence where another holds it for so many seconds.  The folder that the
    lock lies in has to be there: it is never made again.
    """
    from filelock import FileLock, Timeout

    place = path.parent
    check_there(place)
    before = _identity(place)
    lock = FileLock(path, timeout=wait, thread_local=False)
    with explained("write", folder):
        try:
            lock.acquire()
        except Timeout as error:
            raise DataError(busy) from error
    if before is None or before != _identity(place):  # filelock made a folder of its own
        lock.release()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            place.rmdir()
        check_there(place)
        raise FolderGoneError(f"{place} was replaced just now; try again.")
    return lock


def make_folder(folder: Path, within: Path | None = None) -> None:
    """Make a folder and those above it, but never ``within``, which has to be there."""
    if within is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    check_there(within)
    missing = [*takewhile(lambda above: above != within, (folder, *folder.parents))]
    for below in reversed(missing):  # one by one: ``parents`` would make what just went away
        below.mkdir(exist_ok=True)


def check_there(folder: Path) -> None:
    """Refuse to go on in a folder that was taken away: made again, it would hide the real one."""
    if not os.path.isdir(folder):
        raise FolderGoneError(f"{folder} was taken away; bring it back, and go on.")


def put_aside(path: Path, why: str = "could not be read") -> None:
    """Move a file that is no use any more out of the way, and keep it."""
    number, kept = 1, path.with_name(path.name + ".bak")
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.bak{number}")
    with explained("write", path):
        os.replace(path, kept)
    _logger.warning("%s %s; it is kept as %s.", path, why, kept.name)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tell a folder from another one in its place; None where there is none."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def file_sha256(path: Path, fault: type[SpaError] = DataError) -> str:
    """Digest a file as it is now; ``fault`` is raised where it cannot be read."""
    with explained("read", path, fault), open_file(path, fault) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _writing(path: Path, temporary: Path) -> Iterator[None]:
    """Say in one sentence what cannot be written, or which other file the writer tripped over."""
    with explained("write", path):
        try:
            yield
        except OSError as error:
            told = isinstance(error.filename, str | bytes)
            named = Path(os.fsdecode(error.filename)) if told else path
            if not {path, temporary} & {named, *named.parents}:
                raise DataError(f"cannot use {named}: {error.strerror or error}.") from error
            raise


def _prefix(path: Path) -> str:
    return f".spa-{os.fsdecode(os.fsencode(path.stem)[:_STEM_BYTES])}-"


def _sweep(new: Path) -> None:
    """Take away what killed processes left in a folder, once while this process lives.

    Ages are counted from a file that was made just now: the clocks of this machine and of
    a file server need not agree.
    """
    folder = new.parent
    if folder in _swept:
        return
    _swept.add(folder)
    now = new.stat().st_mtime
    for path in (folder / name for name in os.listdir(folder) if _TEMPORARY.fullmatch(name)):
        with contextlib.suppress(OSError):  # another process takes it away as well
            if now - path.lstat().st_mtime < _LEFTOVER_SECONDS:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _mode(path: Path) -> int | None:
    """Return the mode of what is replaced; None where no file is."""
    try:
        there = os.lstat(path).st_mode
    except OSError:
        return None
    return there & 0o777 if stat.S_ISREG(there) else None


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows as a CSV file, whole or not at all.

    UTF-8, commas, one header line, Unix line ends; the same rows give the same bytes.  A
    float is written with the digits that bring the same float back; None is an empty cell.
    Text that a spreadsheet would compute, as ``=HYPERLINK(...)``, gets an apostrophe before
    it: see :func:`neutral`.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([_plain(cell) for cell in row] for row in (header, *rows))


def write_table(
    path: Path, rows: Sequence[Mapping[str, object]], *, columns: Sequence[str] = ()
) -> None:
    """Write rows by column: those named, then what others there are; see :func:`write_csv`."""
    header = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    write_csv(path, header, ([row.get(name) for name in header] for row in rows))


def neutral(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would take for a formula."""
    start = text.lstrip(" ")[:1]
    return f"'{text}" if start and start in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20" else text


def _plain(value: object) -> object:
    """Return a NumPy scalar as Python's own, whose text has all its digits."""
    if isinstance(value, str):
        return neutral(value)
    item = getattr(value, "item", None)
    return value if item is None else item()


LARGEST_FILE = 256 * 2**20  # bytes; a manifest of 100,000 images has some 50 MiB
_DEEPEST = 64
_LARGEST_NUMBER = 2**64
_MOST_DIGITS = 21


class JsonError(ValueError):
    """What stands there is not JSON that we read; the text says why, in a few words."""


def parse_json(text: str | bytes, *, unknown_as_null: bool = False) -> Any:  # noqa: ANN401  any JSON value
    """Read JSON."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")

    def unknown() -> None:
        if not unknown_as_null:
            raise JsonError("a number in it is not finite, or too large")

    def real(digits: str) -> float | None:
        value = float(digits)
        if math.isfinite(value):
            return value
        unknown()
        return None

    def whole(digits: str) -> int | None:
        # Length first: turning digits into a number takes the square of their count.
        if len(digits) <= _MOST_DIGITS and abs(value := int(digits)) < _LARGEST_NUMBER:
            return value
        unknown()
        return None

    try:
        content = json.loads(
            text, parse_constant=lambda _: unknown(), parse_float=real, parse_int=whole
        )
    except JsonError:
        raise
    except RecursionError as error:
        raise JsonError("it is nested too deeply") from error
    except ValueError as error:
        raise JsonError("it is no JSON") from error
    if _deeper_than(content, _DEEPEST):
        raise JsonError("it is nested too deeply")
    return content


def read_json(path: Path, *, largest: int = LARGEST_FILE, unknown_as_null: bool = False) -> Any:  # noqa: ANN401  any JSON value
    """Read a file of JSON: :func:`read_small`, then :func:`parse_json`."""
    return parse_json(read_small(path, largest), unknown_as_null=unknown_as_null)


def read_object(path: Path, *, largest: int = LARGEST_FILE) -> dict[str, Any]:
    """Read a file of a JSON object; it is empty where there is none that can be read."""
    try:
        content = read_json(path, largest=largest, unknown_as_null=True)
    except (OSError, DataError, JsonError):
        return {}
    return content if isinstance(content, dict) else {}


def remember(path: Path, **content: object) -> None:
    """Write a small file of JSON; what cannot be remembered is no reason to fail."""
    try:
        with atomic_path(path, sync=False) as temporary:
            temporary.write_text(json.dumps({"version": 1, **content}, indent=1), encoding="utf-8")
    except DataError as error:
        _logger.info("%s", error)


def remembered(path: Path, read: Callable[[Any], _T], nothing: _T) -> _T:
    """Return what ``read`` makes of a file of :func:`remember`; nothing where it makes no sense."""
    try:
        return read(read_json(path))
    except FileNotFoundError:
        return nothing
    except (OSError, DataError, ValueError, TypeError, KeyError, AttributeError) as error:
        _logger.info("%s is passed over: %s", path, error)
        return nothing


def read_small(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """Read a file whole that should not be large."""
    try:
        with open_file(path) as stream:
            # The size first: a buffer for the largest that may be would be made for each.
            content = stream.read(min(os.fstat(stream.fileno()).st_size, largest) + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:  # a null byte in the name
        raise DataError(f"{str(path)!r} is no name of a file.") from error
    if len(content) > largest:
        raise DataError(f"{path} is larger than {largest / 2**20:g} MiB; it is not ours.")
    return content


def _deeper_than(content: object, levels: int) -> bool:
    """Walk level by level: recursion is what a deep file would exhaust."""
    level = [content]
    for _ in range(levels):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True
