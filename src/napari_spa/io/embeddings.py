"""A cache of image embeddings: in memory, and files bounded in size."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import platformdirs
from safetensors import SafetensorError
from safetensors.numpy import load, save

from napari_spa.errors import DataError, InputError
from napari_spa.io.files import atomic_path, is_temporary, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    Arrays: TypeAlias = dict[str, NDArray[Any]]


_logger = logging.getLogger(__name__)

_KEY = re.compile(r"[0-9a-f]{8,128}")
_KINDS = "biuf"  # bool, integers, floats: with up to 8 bytes, what files keep exactly
_SUFFIX = ".safetensors"
_LEFTOVER_AGE = 3600.0  # seconds; no write takes as long
_LOOKS = 16  # the folder is looked at again after writing this part of the bound


def default_folder() -> Path:
    """Return the folder of the user's embeddings; it need not exist."""
    return platformdirs.user_cache_path("napari-spa", appauthor=False) / "embeddings"


def embedding_key(kind: str, weights: str, *arrays: NDArray[Any]) -> str:
    """Digest what an embedding depends on, in 40 hexadecimal digits.

    ``kind`` says what is made of the input (another meaning, layout or device wants another one),
    ``weights`` is the digest of the weights file, and the arrays are all that the network sees, of
    any shape and plain dtype; contiguous ones are hashed without a copy.
    """
    if any(array.dtype.hasobject for array in arrays):
        raise InputError("an array of Python objects has no key; give numbers.")
    return _digest([kind, weights], arrays)


def _digest(labels: list[str], arrays: Iterable[NDArray[Any]]) -> str:
    """Digest texts and arrays: dtype, shape and bytes in C order.

    160 bits of SHA-256, which recent processors compute in hardware, faster than BLAKE2; other
    threads run on meanwhile.
    """
    arrays = [np.asarray(array) for array in arrays]
    # Written first and self-delimiting, so that no two lists of arrays run into the same bytes.
    head = [labels, *([array.dtype.str, array.shape] for array in arrays)]
    state = hashlib.sha256(json.dumps(head).encode(), usedforsecurity=False)
    for array in arrays:
        state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()[:40]


class EmbeddingCache:
    """Named arrays by key, in memory first, then on disk; the longest unused go first.

    Any thread may call it, and processes may share the folder.  A disk that is full or cannot
    be written is no error: the cache goes on in memory and logs one warning.
    """

    def __init__(
        self, folder: Path | None, *, memory_bytes: int = 256 * 2**20, disk_bytes: int = 4 * 2**30
    ) -> None:
        self._memory = _Memory(memory_bytes)
        self._files = None if folder is None else _Files(Path(folder), disk_bytes)
        self._lock = threading.Lock()  # of the memory; never held during disk access

    def __contains__(self, key: str) -> bool:
        """Tell whether ``get`` would find it: neither reads, nor marks it as used."""
        _check(key)
        with self._lock:
            if key in self._memory.entries:
                return True
        return self._files is not None and key in self._files

    def get(self, key: str) -> Arrays | None:
        """Return an entry, and mark it as used; None where there is none.

        The arrays come as they were put, bit for bit: by name in sorted order, read-only, in C
        order. ``torch.tensor`` copies them; ``torch.from_numpy`` would warn.
        """
        _check(key)
        with self._lock:
            found = self._memory.get(key)
        if self._files is None:
            return found
        if found is not None:
            self._files.touch(key)
            return found
        found = self._files.read(key)
        if found is not None:
            with self._lock:
                self._memory.put(key, found)
        return found

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep a copy of one or more arrays in place of what was there, on disk at the end."""
        _check(key)
        if not arrays:  # some versions of safetensors cannot read a file of none
            raise InputError("an embedding needs at least one array.")
        kept = {name: _frozen(name, arrays[name]) for name in sorted(arrays)}
        with self._lock:
            self._memory.put(key, kept)
        if self._files is not None:
            self._files.write(key, kept)

    def clear(self) -> None:
        """Forget every entry, on disk other processes' too."""
        with self._lock:
            self._memory = _Memory(self._memory.bound)
        if self._files is not None:
            self._files.clear()


class _Memory:
    """Entries in order of use, bounded by their bytes; its owner holds the lock."""

    def __init__(self, bound: int) -> None:
        self.bound, self.used = bound, 0
        self.entries: OrderedDict[str, Arrays] = OrderedDict()

    def get(self, key: str) -> Arrays | None:
        if key not in self.entries:
            return None
        self.entries.move_to_end(key)
        return dict(self.entries[key])  # the caller's own, to add or drop names

    def put(self, key: str, arrays: Arrays) -> None:
        self.used -= _size(self.entries.pop(key, {}))
        if _size(arrays) > self.bound:
            return
        self.entries[key] = dict(arrays)
        self.used += _size(arrays)
        while self.used > self.bound:
            self.used -= _size(self.entries.popitem(last=False)[1])


class _Files:
    """The files of a cache; no method raises because of the disk.

    Any thread may call it, and processes may share the folder: only the files know what there
    is.  They are looked at, and the longest unused ones removed, at the first write and whenever
    a sixteenth of the bound was written since; so much too many may be there in between.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        self._folder, self._bound = folder, bound
        self._lock = threading.Lock()
        self._written = bound  # bytes since the last look, which never was
        self._warned = False

    def __contains__(self, key: str) -> bool:
        return os.path.isfile(self._path(key))  # unlike Path.is_file, False where not allowed

    def touch(self, key: str) -> None:
        """Mark an entry as used now, if it is there."""
        # The kernel's own "now" is a few milliseconds coarse; order of use needs better.
        now = time.time_ns()
        with contextlib.suppress(OSError):
            os.utime(self._path(key), ns=(now, now))

    def read(self, key: str) -> Arrays | None:
        """Return an entry's arrays, read-only; None where it is not, or damaged and removed."""
        try:
            content = self._path(key).read_bytes()
        except OSError:  # not there, taken away by another process, or unreadable
            return None
        arrays = _unpack(key, content)
        if arrays is None:
            _logger.info("removed the damaged embedding %s", self._path(key))
            self._unlink(self._path(key))
        else:
            self.touch(key)
        return arrays

    def write(self, key: str, arrays: Arrays) -> None:
        """Write an entry; now and then remove the longest unused ones until the bound holds."""
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
            self._written += len(content)
            if self._written > self._bound // _LOOKS:
                self._written = 0
                self._evict(keep=key)

    def clear(self) -> None:
        """Remove every entry, other processes' too, and nothing that is no entry."""
        for entry in self._files():
            if _key_of(entry.name):
                self._unlink(entry.path)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{_SUFFIX}"

    def _files(self) -> Iterator[os.DirEntry[str]]:
        for number in range(256):
            with contextlib.suppress(OSError), os.scandir(self._folder / f"{number:02x}") as found:
                yield from found

    def _evict(self, keep: str) -> None:
        """Remove the longest unused entries, and what killed processes left half-written."""
        entries: list[tuple[int, int, str]] = []
        for entry in self._files():
            with contextlib.suppress(OSError):  # it vanishes under us
                status = entry.stat(follow_symlinks=False)
                if _key_of(entry.name):
                    entries.append((status.st_mtime_ns, status.st_size, entry.path))
                elif time.time() - status.st_mtime > _LEFTOVER_AGE and is_temporary(entry.name):
                    os.unlink(entry.path)
        excess = sum(size for _, size, _ in entries) - self._bound
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            if path != str(self._path(keep)):
                self._unlink(path)
                excess -= size

    @staticmethod
    def _unlink(path: Path | str) -> None:
        # Windows keeps a file that another process is reading: the next look counts it again.
        with contextlib.suppress(OSError):
            os.unlink(path)


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
    return _digest([key, *arrays], arrays.values())


def _key_of(name: str) -> str | None:
    """Return the key of a file's name, None for other files."""
    key = name.removesuffix(_SUFFIX)
    return key if key != name and _KEY.fullmatch(key) else None


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
    if _KEY.fullmatch(key) is None:
        raise InputError(f"{key!r:.80} is no key of an embedding; use embedding_key().")
