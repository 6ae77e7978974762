"""A folder of named arrays, one safetensors file per key, bounded in bytes.

An entry is ``FOLDER/ab/abcd....safetensors``.  It is written under a temporary name and
renamed (:mod:`napari_spa.io.files`): a file under its own name was written to the end.  What
a power cut or a foreign hand leaves is found by the checksum inside, over key, names, types,
shapes and values; such a file is removed.  Files are read whole and never mapped into memory:
a mapped file that another program cuts short would end the process.

The time of a file is that of its last use, by whichever process; the longest unused go first.
"""

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
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from napari_spa.errors import DataError
from napari_spa.io.files import atomic_path, is_temporary
from napari_spa.io.strict_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

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

    Parameters
    ----------
    folder : Path
        Made at the first write.
    bound : int
        Most bytes of files; a larger entry is not written.
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
