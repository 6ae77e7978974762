"""The methods that are compared with ours: their networks, and one loop that trains them all.

:data:`BASELINES` names each; :func:`train_method` trains one in a folder of its own and goes on
where it stopped; :func:`load_baseline` reads what it left.
"""

from napari_spa.train.baselines.catalogue import (
    BASELINES,
    load_baseline,
    split_name,
    train_method,
    trained_facts,
)
from napari_spa.train.baselines.loop import BaselineConfig, Compute

__all__ = [
    "BASELINES",
    "BaselineConfig",
    "Compute",
    "load_baseline",
    "split_name",
    "train_method",
    "trained_facts",
]
