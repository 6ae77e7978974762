"""A cache of image embeddings: in memory, and files bounded in size."""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import json
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import platformdirs
from safetensors import SafetensorError
from safetensors.numpy import load, save

from napari_spa.errors import DataError, InputError
from napari_spa.io.files import atomic_path, is_temporary
from napari_spa.io.strict_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    Arrays: TypeAlias = dict[str, NDArray[Any]]


_logger = logging.getLogger(__name__)

_KEY = re.compile(r"[0-9a-f]{8,128}")
_SUFFIX = ".safetensors"
_LEFTOVER_AGE = 3600.0  # seconds; no write takes as long
_RESCANS = 16  # look at the folder again after writing this part of the bound


def digest(labels: list[str], arrays: Iterable[NDArray[Any]]) -> str:
    """Digest texts and arrays: dtype, shape and bytes in C order.

    Parameters
    ----------
    labels : list of str
        Any texts.
    arrays : iterable of ndarray
        Any shapes; no Python objects.

    Returns
    -------
    str
        40 hexadecimal digits: the first 160 bits of SHA-256, which recent processors compute
        in hardware, faster than BLAKE2.  Other threads run on meanwhile.
    """
    arrays = [np.asarray(array) for array in arrays]
    # Written first and self-delimiting, so that no two lists of arrays run into the same bytes.
    head = [labels, *([array.dtype.str, array.shape] for array in arrays)]
    state = hashlib.sha256(json.dumps(head).encode(), usedforsecurity=False)
    for array in arrays:
        state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()[:40]


def is_key(text: str) -> bool:
    """Tell whether a text can name an entry: 8 to 128 small hexadecimal digits."""
    return _KEY.fullmatch(text) is not None


class EmbeddingFiles:
    """The files of a cache; no method raises because of the disk.

    Any thread may call it, and processes may share the folder: what is known of it is a hint,
    the files are the truth.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        self._folder, self._bound = folder, bound
        self._lock = threading.Lock()  # the five below
        self._seen = False  # whether the folder was looked at
        self._sizes: dict[str, int] = {}  # bytes by key
        self._by_time: list[tuple[int, str]] = []  # heap of (last use in ns, key)
        self._used = 0
        self._written = 0  # bytes since the last look
        self._warned = False

    def __contains__(self, key: str) -> bool:
        return os.path.isfile(self._path(key))  # unlike Path.is_file, False where not allowed

    @property
    def used(self) -> int:
        """Bytes of the files, as last seen; looks at the folder if nothing did yet."""
        if not self._seen:  # else an answer without waiting for a thread that evicts
            with self._lock:
                if not self._seen:
                    self._scan()
        return self._used

    def touch(self, key: str) -> None:
        """Mark an entry as used now, if it is there."""
        # The kernel's own "now" is a few milliseconds coarse; order of use needs better.
        now = time.time_ns()
        with contextlib.suppress(OSError):
            os.utime(self._path(key), ns=(now, now))

    def read(self, key: str) -> Arrays | None:
        """Return an entry's arrays by name in sorted order, read-only; None if there is none.

        Parameters
        ----------
        key : str
            See :func:`is_key`.

        Returns
        -------
        dict of str to ndarray, or None
            None also for a damaged file, which is removed.
        """
        try:
            content = self._path(key).read_bytes()
        except OSError:  # not there, taken away by another process, or unreadable
            return None
        arrays = _unpack(key, content)
        if arrays is None:
            _logger.info("removed the damaged embedding %s", self._path(key))
            self._remove(key)
        else:
            self.touch(key)
        return arrays

    def write(self, key: str, arrays: Arrays) -> None:
        """Write an entry, then remove the longest unused ones until the bound holds.

        Parameters
        ----------
        key : str
            See :func:`is_key`.
        arrays : dict of str to ndarray
            By name in sorted order; contiguous bool, integers or floats of up to 8 bytes.
        """
        content = save(arrays, metadata={"checksum": _checksum(key, arrays)})
        if len(content) > self._bound:
            return
        try:
            with atomic_path(self._path(key)) as temporary:
                temporary.write_bytes(content)
        except (DataError, OSError) as error:
            if not self._warned:
                self._warned = True
                _logger.warning("embeddings are kept in memory only: %s", error)
            return
        self.touch(key)
        with self._lock:
            self._note(key, len(content))
            self._evict(keep=key)

    def clear(self) -> None:
        """Remove every entry, other processes' too, and nothing that is no entry."""
        with self._lock:
            for entry in self._files():
                if _key_of(entry.name):
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)
            self._scan()

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{_SUFFIX}"

    def _files(self) -> Iterator[os.DirEntry[str]]:
        for number in range(256):
            with contextlib.suppress(OSError), os.scandir(self._folder / f"{number:02x}") as found:
                yield from found

    def _scan(self) -> None:
        """Look at every file; remove what killed processes left half-written."""
        self._sizes, self._by_time, self._written = {}, [], 0
        for entry in self._files():
            with contextlib.suppress(OSError):  # it vanishes under us
                status = entry.stat(follow_symlinks=False)
                age = time.time() - status.st_mtime
                if key := _key_of(entry.name):
                    self._sizes[key] = status.st_size
                    self._by_time.append((status.st_mtime_ns, key))
                elif age > _LEFTOVER_AGE and is_temporary(entry.name):
                    os.unlink(entry.path)
        heapq.heapify(self._by_time)
        self._used, self._seen = sum(self._sizes.values()), True

    def _note(self, key: str, size: int) -> None:
        """Count a file just written; every now and then look what other processes wrote."""
        self._written += size
        if not self._seen or self._written > self._bound // _RESCANS:
            self._scan()
            return
        self._used += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        heapq.heappush(self._by_time, (_last_use(self._path(key)), key))

    def _evict(self, keep: str) -> None:
        spared = []
        while self._used > self._bound and self._by_time:
            known, key = heapq.heappop(self._by_time)
            if key == keep:
                spared.append((known, key))
            elif (used := _last_use(self._path(key))) > known:  # since we looked, by anyone
                heapq.heappush(self._by_time, (used, key))
            else:
                self._unlink(key)
        for item in spared:
            heapq.heappush(self._by_time, item)

    def _remove(self, key: str) -> None:
        with self._lock:
            self._unlink(key)

    def _unlink(self, key: str) -> None:
        # Windows keeps a file that another process is reading: the next look counts it again.
        with contextlib.suppress(OSError):
            os.unlink(self._path(key))
        self._used -= self._sizes.pop(key, 0)


def _unpack(key: str, content: bytes) -> Arrays | None:
    """Return what was written, or None when anything about it is not as it was."""
    try:
        found = load(content)
        head = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, KeyError, ValueError):  # KeyError: a dtype that NumPy lacks
        return None
    arrays = {name: found[name] for name in sorted(found)}
    if (head.get("__metadata__") or {}).get("checksum") != _checksum(key, arrays):
        return None
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def _checksum(key: str, arrays: Arrays) -> str:
    return digest([key, *arrays], arrays.values())


def _key_of(name: str) -> str | None:
    """Return the key of a file's name, None for other files."""
    key = name.removesuffix(_SUFFIX)
    return key if key != name and is_key(key) else None


def _last_use(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # vanished
        return 0


_KINDS = "biuf"  # bool, integers, floats: with up to 8 bytes, what files keep exactly


def default_folder() -> Path:
    """Return the folder of the user's embeddings; it need not exist."""
    return platformdirs.user_cache_path("napari-spa", appauthor=False) / "embeddings"


def embedding_key(kind: str, weights: str, *arrays: NDArray[Any]) -> str:
    """Digest what an embedding depends on.

    Parameters
    ----------
    kind : str
        What is made of the input; another meaning, layout or device wants another kind.
    weights : str
        Digest of the weights file.
    *arrays : ndarray
        All that the network sees, of any shape and plain dtype; contiguous ones are hashed
        without a copy.

    Returns
    -------
    str
        40 hexadecimal digits.

    Raises
    ------
    InputError
        When an array holds Python objects.
    """
    if any(array.dtype.hasobject for array in arrays):
        raise InputError("an array of Python objects has no key; give numbers.")
    return digest([kind, weights], arrays)


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What a cache did since it was made."""

    memory_hits: int = 0  # how calls of ``get`` ended
    disk_hits: int = 0
    misses: int = 0
    memory_used: int = 0  # bytes of the arrays now in memory

    @property
    def hits(self) -> int:
        """Calls of ``get`` that found something."""
        return self.memory_hits + self.disk_hits


class EmbeddingCache:
    """Named arrays by key, in memory first, then on disk; the longest unused go first.

    Any thread may call it, and processes may share the folder.  A disk that is full or cannot
    be written is no error: the cache goes on in memory and logs one warning.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        memory_bytes: int = 256 * 2**20,
        disk_bytes: int = 4 * 2**30,
    ) -> None:
        self._memory = _Memory(memory_bytes)
        self._files = None if folder is None else EmbeddingFiles(Path(folder), disk_bytes)
        self._lock = threading.Lock()  # memory and counters; never held during disk access
        self._memory_hits = self._disk_hits = self._misses = 0

    def __contains__(self, key: str) -> bool:
        """Tell whether ``get`` would find it: neither reads, nor counts, nor marks it as used."""
        _check(key)
        with self._lock:
            if key in self._memory:
                return True
        return self._files is not None and key in self._files

    @property
    def counts(self) -> CacheCounts:
        """Hits, misses and memory in use at this moment; never waits for the disk."""
        with self._lock:
            return CacheCounts(self._memory_hits, self._disk_hits, self._misses, self._memory.used)

    def get(self, key: str) -> Arrays | None:
        """Return an entry, and mark it as used.

        Parameters
        ----------
        key : str
            From :func:`embedding_key`.

        Returns
        -------
        dict of str to ndarray, or None
            As they were put, bit for bit: by name in sorted order, read-only, in C order.
            ``torch.tensor`` copies them; ``torch.from_numpy`` would warn.  None: a miss.

        Raises
        ------
        InputError
            When the key has another form.
        """
        _check(key)
        with self._lock:
            found = self._memory.get(key)
            if found is not None:
                self._memory_hits += 1
        if found is not None:
            if self._files is not None:
                self._files.touch(key)
            return found
        if self._files is not None:
            found = self._files.read(key)
        with self._lock:
            if found is None:
                self._misses += 1
            else:
                self._disk_hits += 1
                self._memory.put(key, found)
        return found

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]], *, to_disk: bool = True) -> None:
        """Keep a copy of an entry; what was there under this key is replaced.

        Parameters
        ----------
        key : str
            From :func:`embedding_key`.
        arrays : mapping of str to ndarray
            One or more bool, integer or float arrays of any shape.
        to_disk : bool
            Whether it is written to the folder as well; the call returns when it is.

        Raises
        ------
        InputError
            When the key has another form, there is no array, or one has a dtype that files
            do not keep.
        """
        _check(key)
        if not arrays:  # some versions of safetensors cannot read a file of none
            raise InputError("an embedding needs at least one array.")
        kept = {name: _frozen(name, arrays[name]) for name in sorted(arrays)}
        with self._lock:
            self._memory.put(key, kept)
        if to_disk and self._files is not None:
            self._files.write(key, kept)

    def clear(self) -> None:
        """Forget every entry, on disk other processes' too; the counters of hits go on."""
        with self._lock:
            self._memory = _Memory(self._memory.bound)
        if self._files is not None:
            self._files.clear()


class _Memory:
    """Entries in order of use, bounded by their bytes; its owner holds the lock."""

    def __init__(self, bound: int) -> None:
        self.bound, self.used = bound, 0
        self._entries: OrderedDict[str, Arrays] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Arrays | None:
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return dict(self._entries[key])  # the caller's own, to add or drop names

    def put(self, key: str, arrays: Arrays) -> None:
        self.used -= _size(self._entries.pop(key, {}))
        if _size(arrays) > self.bound:
            return
        self._entries[key] = dict(arrays)
        self.used += _size(arrays)
        while self.used > self.bound:
            self.used -= _size(self._entries.popitem(last=False)[1])


def _frozen(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Copy to C order and this machine's byte order, read-only."""
    if array.dtype.kind not in _KINDS or array.dtype.itemsize > 8:
        raise InputError(f"the array {name!r} is {array.dtype}; give bool, integers or floats.")
    copy = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    copy.setflags(write=False)
    return copy


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _check(key: str) -> None:
    if not is_key(key):
        raise InputError(f"{key!r:.80} is no key of an embedding; use embedding_key().")
