"""Image embeddings in memory and on disk, found by what the network sees.

A key is a digest of the network's very input and of its weights (:func:`embedding_key`), so
no entry can be out of date: another contrast, channel or model asks for another key.  How
entries lie on disk is in :mod:`napari_spa.io.embedding_files`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs

from napari_spa.errors import InputError
from napari_spa.io.embedding_files import EmbeddingFiles, digest, is_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_spa.io.embedding_files import Arrays

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
    """What a cache did since it was made.

    Attributes
    ----------
    memory_hits, disk_hits, misses : int
        How calls of ``get`` ended.
    memory_used : int
        Bytes of the arrays now in memory.
    """

    memory_hits: int = 0
    disk_hits: int = 0
    misses: int = 0
    memory_used: int = 0

    @property
    def hits(self) -> int:
        """Calls of ``get`` that found something."""
        return self.memory_hits + self.disk_hits


class EmbeddingCache:
    """Named arrays by key, in memory first, then on disk; the longest unused go first.

    Any thread may call it, and processes may share the folder.  A disk that is full or cannot
    be written is no error: the cache goes on in memory and logs one warning.

    Parameters
    ----------
    folder : Path or None
        Where files go, looked at and made at the first write; None: memory only.
    memory_bytes : int
        Most bytes of arrays in memory; a larger entry is on disk only.
    disk_bytes : int
        Most bytes of files; a larger entry is in memory only.
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

    @property
    def disk_used(self) -> int:
        """Bytes of the files, as last seen; looks at the folder if no write did yet."""
        return 0 if self._files is None else self._files.used

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
