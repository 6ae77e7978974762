"""Published models that can be used by name, once their file is in the models folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published model that can be used by name.

    Attributes
    ----------
    name : str
        Our name for it.
    files : tuple of str
        The names its publishers give to the file.
    about : str
        What it is, in a few words.
    sha256 : str or None
        The published file's digest, where it is known.
    convention : {"sam", "medsam"}
        How its inputs are meant (see :mod:`napari_spa.model.convention`).
    """

    name: str
    files: tuple[str, ...]
    about: str
    sha256: str | None = None
    convention: Literal["sam", "medsam"] = "sam"


KNOWN = (
    KnownModel(
        "sam-vit-b",
        ("sam_vit_b_01ec64.pth",),
        "Segment Anything, ViT-B",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    KnownModel(
        "sam-vit-l",
        ("sam_vit_l_0b3195.pth",),
        "Segment Anything, ViT-L",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    KnownModel(
        "sam-vit-h",
        ("sam_vit_h_4b8939.pth",),
        "Segment Anything, ViT-H",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    KnownModel(
        "medsam",
        ("medsam_vit_b.pth",),
        "MedSAM, ViT-B, medical images, trained on boxes",
        convention="medsam",
    ),
    KnownModel("vit-b-lm", ("vit_b_lm", "vit_b_lm.pt"), "micro-sam, light microscopy, ViT-B"),
    KnownModel("vit-l-lm", ("vit_l_lm", "vit_l_lm.pt"), "micro-sam, light microscopy, ViT-L"),
    KnownModel(
        "vit-b-em-organelles",
        ("vit_b_em_organelles", "vit_b_em_organelles.pt"),
        "micro-sam, organelles in electron microscopy, ViT-B",
    ),
    KnownModel(
        "vit-l-em-organelles",
        ("vit_l_em_organelles", "vit_l_em_organelles.pt"),
        "micro-sam, organelles in electron microscopy, ViT-L",
    ),
    KnownModel(
        "vit-b-histopathology",
        ("vit_b_histopathology", "vit_b_histopathology.pt"),
        "micro-sam, histopathology, ViT-B",
    ),
    KnownModel(
        "vit-b-medical-imaging",
        ("vit_b_medical_imaging", "vit_b_medical_imaging.pt"),
        "micro-sam, medical images, ViT-B",
    ),
)
