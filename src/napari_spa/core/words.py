"""Words that sentences are made of."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Say how many of something there are.

    Parameters
    ----------
    number : int
        How many.
    noun : str
        Of one.

    Returns
    -------
    str
        As ``"1 pick"`` or ``"1,204 picks"``.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
