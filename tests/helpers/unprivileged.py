"""Have root obey the modes of files, as all other users do."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION = 0x20080522
_OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def obeys_modes() -> bool:
    """Tell whether modes of files count for this user, or can be made to."""
    return hasattr(os, "geteuid") and (os.geteuid() != 0 or sys.platform == "linux")


def obey_modes(obey: bool = True) -> None:
    """Give up in this thread, and those it starts, what lets root pass; or take it back.

    Another user would not do: that one may not read a Python in root's own folder.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] = sets[0] & ~_OVERRIDES if obey else sets[0] | (sets[1] & _OVERRIDES)
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def obeying_modes() -> Iterator[None]:
    """Be so for a while."""
    obey_modes()
    try:
        yield
    finally:
        obey_modes(False)
