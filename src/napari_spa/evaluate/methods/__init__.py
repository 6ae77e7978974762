"""The ways of segmenting that are compared: ours, its ablations, and its rivals.

A method is a small class with ``currencies`` and ``open`` (see
:class:`~napari_spa.evaluate.methods.base.Method`).  To compare another one, give
:func:`napari_spa.evaluate.protocol.evaluate` a mapping that holds its entry next to those
of :data:`METHODS`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from napari_spa.evaluate.methods.base import Bench, Method, MethodEntry, Segmenter
from napari_spa.evaluate.methods.sessions import SpaMethod

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_spa.evaluate.methods.base import Family

__all__ = ["METHODS", "Bench", "Method", "MethodEntry", "Segmenter", "training_costs"]


def _ours(
    name: str, about: str, method: SpaMethod, *, user: str = "picks", family: Family = "spa"
) -> MethodEntry:
    return MethodEntry(name, about, family, user, lambda bench: method)


_ENTRIES = (
    _ours("spa", "ours: picks teach the latent mixture (the paper's head)", SpaMethod()),
    _ours("spa-logit", "ours: the mixture is over the decoder's hypotheses", SpaMethod("logit")),
    _ours("spa-both", "ours: latent and boundary offset in one mixture", SpaMethod("both")),
    _ours("spa-frozen", "as spa, and the mixture never changes", SpaMethod(adapt=False)),
    _ours("spa-random-pick", "as spa, and the user picks blindly", SpaMethod(), user="random"),
    _ours(
        "spa-random-gaussian",
        "Table 3: samples of one standard Gaussian, nothing learnt",
        SpaMethod(plain=True, adapt=False),
        family="ablation",
    ),
    _ours(
        "spa-gaussian",
        "Table 3: means and variances are predicted and follow picks, weights stay",
        SpaMethod(learns=frozenset({"gaussians"})),
        family="ablation",
    ),
    _ours(
        "spa-weights",
        "Table 3: weights follow picks, means and variances stay",
        SpaMethod(learns=frozenset({"weights"})),
        family="ablation",
    ),
    *(
        _ours(
            f"spa-n{count}",
            f"as spa, with {count} samples a round",
            SpaMethod(samples=count),
            family="ablation",
        )
        for count in (24, 36, 48)
    ),
)

METHODS: Mapping[str, MethodEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every method by its name."""


def training_costs(bench: Bench, names: Sequence[str]) -> dict[str, Mapping[str, object]]:
    """Return what training cost, for those methods that are trained."""
    return {name: METHODS[name].build(bench).facts for name in names if METHODS[name].trains}
