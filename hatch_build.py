"""Build hook: put the top level's ``napari.yaml`` where npe2 looks for it.

npe2 looks in the folder of the package ``napari_spa``. A wheel gets the file
there. In an editable install that folder is ``src/napari_spa`` itself, so the
hook links the file into it (git ignores the link); where the system allows no
links (Windows without developer mode) it copies the file, and ``pip install
-e .`` has to be repeated after the manifest was edited.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "napari.yaml"


class ManifestHook(BuildHookInterface):  # type: ignore[type-arg]
    """Package the manifest in a wheel, or link it for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run before a wheel is built.

        Parameters
        ----------
        version : {"standard", "editable"}
            The kind of wheel.
        build_data : dict
            What hatchling builds from; changed in place.
        """
        if version == "editable":
            link_manifest(Path(self.root))
        else:
            build_data["force_include"][NAME] = f"napari_spa/{NAME}"


def link_manifest(root: Path) -> None:
    """Make ``src/napari_spa/napari.yaml`` the top level's file."""
    inside = root / "src" / "napari_spa" / NAME
    inside.unlink(missing_ok=True)
    try:
        inside.symlink_to(Path(os.pardir, os.pardir, NAME))
    except OSError:
        shutil.copyfile(root / NAME, inside)
