"""The methods that are compared with ours: their networks, and one loop that trains them all.

:data:`RIVALS` names each; :func:`train_method` trains one in a folder of its own and goes on
where it stopped; :func:`load_rival` reads what it left.
"""

from napari_spa.train.rivals.catalogue import (
    RIVALS,
    load_rival,
    split_name,
    train_method,
    trained_facts,
)
from napari_spa.train.rivals.loop import RivalConfig

__all__ = ["RIVALS", "RivalConfig", "load_rival", "split_name", "train_method", "trained_facts"]
