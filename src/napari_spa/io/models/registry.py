"""Which models there are and where their files lie."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from napari_spa.errors import CheckpointError, DataError, InputError, ModelError
from napari_spa.io.files import atomic_path
from napari_spa.io.models.identity import weights_sha256


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published model that can be used by name."""

    name: str  # our name for it
    files: tuple[str, ...]  # the names its file goes by; the first is what a download is called
    about: str  # what it is, in a few words
    megabytes: int  # size of the file, in millions of bytes
    licence: str  # of the weights
    address: str  # where its publishers keep the file
    digest: str | None = None  # KIND:HEX of the published file; None: the publisher gives none
    # How its inputs are meant (see :mod:`napari_spa.model.convention`).
    convention: Literal["sam", "sam2", "medsam"] = "sam"

    @property
    def sha256(self) -> str | None:
        """The digest, where the publisher gives this kind."""
        kind, _, value = (self.digest or "").partition(":")
        return value if kind == "sha256" else None


_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_BIOIMAGE_IO = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/"
_GWDG = "https://owncloud.gwdg.de/index.php/s/"
_NOT_STATED = "not stated"


def _micro_sam(size: str, data: str, about: str, place: str, xxh128: str) -> KnownModel:
    """Describe one of micro-sam's generalists; their files are whole SAM state dicts."""
    megabytes = {"t": 41, "b": 375, "l": 1250, "h": 2565}[size]
    published = f"vit_{size}_{data}"
    at_zoo = not place.endswith("/download")
    return KnownModel(
        published.replace("_", "-"),
        (f"{published}.pt", published),
        f"micro-sam, {about}, ViT-{size.upper()}",
        megabytes,
        "CC-BY-4.0" if at_zoo else _NOT_STATED,
        f"{_BIOIMAGE_IO}{place}/files/vit_{size}.pt" if at_zoo else f"{_GWDG}{place}",
        f"xxh128:{xxh128}",
    )


def _sam2(size: str, megabytes: int, sha256: str) -> KnownModel:
    """Describe one of SAM 2.1's sizes."""
    file = f"sam2.1_hiera_{size}.pt"
    return KnownModel(
        f"sam2.1-{size}".replace("_", "-"),
        (file,),
        f"Segment Anything 2.1, Hiera {size.replace('_', ' ')}",
        megabytes,
        "Apache-2.0",
        f"https://dl.fbaipublicfiles.com/segment_anything_2/092824/{file}",
        f"sha256:{sha256}",
        convention="sam2",
    )


KNOWN = (
    KnownModel(
        "sam-vit-b",
        ("sam_vit_b_01ec64.pth",),
        "Segment Anything, ViT-B",
        375,
        "Apache-2.0",
        f"{_META}sam_vit_b_01ec64.pth",
        "sha256:ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    KnownModel(
        "sam-vit-l",
        ("sam_vit_l_0b3195.pth",),
        "Segment Anything, ViT-L",
        1250,
        "Apache-2.0",
        f"{_META}sam_vit_l_0b3195.pth",
        "sha256:3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    KnownModel(
        "sam-vit-h",
        ("sam_vit_h_4b8939.pth",),
        "Segment Anything, ViT-H",
        2565,
        "Apache-2.0",
        f"{_META}sam_vit_h_4b8939.pth",
        "sha256:a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    _sam2("tiny", 156, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _sam2("small", 184, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _sam2("base_plus", 324, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    _sam2("large", 898, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    KnownModel(
        "mobile-sam",
        ("mobile_sam.pt", "vit_t"),
        "MobileSAM, ViT-T, quick",
        41,
        "Apache-2.0",
        "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
        "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
        "sha256:6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
    ),
    KnownModel(
        "medsam",
        ("medsam_vit_b.pth",),
        "MedSAM, ViT-B, medical images, trained on boxes",
        375,
        "Apache-2.0, at Zenodo CC-BY-4.0",
        "https://zenodo.org/records/10689643/files/medsam_vit_b.pth?download=1",
        "md5:3bb6db55bd0c9ca30b61248bca72f8d6",
        convention="medsam",
    ),
    _micro_sam(
        "t", "lm", "light microscopy", "faithful-chicken/1.1", "72ec5074774761a6e5c05a08942f981e"
    ),
    _micro_sam(
        "b", "lm", "light microscopy", "diplomatic-bug/1.2", "fe9252a29f3f4ea53c15a06de471e186"
    ),
    _micro_sam(
        "l", "lm", "light microscopy", "idealistic-rat/1.2", "017f20677997d628426dec80a8018f9d"
    ),
    _micro_sam(
        "t",
        "em_organelles",
        "organelles in electron microscopy",
        "greedy-whale/1",
        "253474720c497cce605e57c9b1d18fd9",
    ),
    _micro_sam(
        "b",
        "em_organelles",
        "organelles in electron microscopy",
        "noisy-ox/1.2",
        "f3bf2ed83d691456bae2c3f9a05fb438",
    ),
    _micro_sam(
        "l",
        "em_organelles",
        "organelles in electron microscopy",
        "humorous-crab/1.2",
        "810b084b6e51acdbf760a993d8619f2d",
    ),
    _micro_sam(
        "b",
        "histopathology",
        "nuclei in histopathology",
        "sBB4H8CTmIoBZsQ/download",
        "ffd1a2cd84570458b257bd95fdd8f974",
    ),
    _micro_sam(
        "l",
        "histopathology",
        "nuclei in histopathology",
        "IZgnn1cpBq2PHod/download",
        "b591833c89754271023e901281dee3f2",
    ),
    _micro_sam(
        "h",
        "histopathology",
        "nuclei in histopathology",
        "L7AcvVz7DoWJ2RZ/download",
        "bd1856dafc156a43fb3aa705f1a6e92e",
    ),
    _micro_sam(
        "b",
        "medical_imaging",
        "medical images",
        "f5Ol4FrjPQWfjUF/download",
        "40169f1e3c03a4b67bff58249c176d92",
    ),
)


PACKAGED = "spa-tiny"
ENVIRONMENT = "NAPARI_SPA_MODELS"
OFFLINE = "NAPARI_SPA_OFFLINE"
SUFFIXES = (".safetensors", ".pth", ".pt")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One line of ``napari-spa models list``."""

    name: str  # what to ask for
    kind: Literal["packaged", "known", "imported"]  # where it comes from
    path: Path | None  # its file; None when it is not on this machine
    about: str  # what it is, or where its file would be looked for
    known: KnownModel | None = None  # the published model behind it


def packaged_folder() -> Path:
    """Return the folder of the weights that come with the package."""
    return Path(__file__).resolve().parents[2] / "weights"


def models_folder() -> Path:
    """Return the folder of the user's models; it need not exist."""
    chosen = os.environ.get(ENVIRONMENT)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("napari-spa", appauthor=False) / "models"


def offline_folder() -> Path | None:
    """Return the folder of files that someone else put there, such as a lab's, if one is set."""
    chosen = os.environ.get(OFFLINE)
    return Path(chosen).expanduser() if chosen else None


def list_models() -> tuple[ModelEntry, ...]:
    """List every model that can be asked for by name."""
    packaged = packaged_folder() / f"{PACKAGED}.safetensors"
    entries = [
        ModelEntry(
            PACKAGED,
            "packaged",
            packaged if packaged.is_file() else None,
            "small and quick, comes with napari-spa",
        )
    ]
    entries += [
        ModelEntry(known.name, "known", known_file(known), known.about, known) for known in KNOWN
    ]
    taken = {entry.name for entry in entries}
    published = {entry.path for entry in entries}
    for path in _files():
        if path.stem not in taken and path not in published and _NAME.fullmatch(path.stem):
            taken.add(path.stem)
            entries.append(ModelEntry(path.stem, "imported", path, "imported"))
    return tuple(entries)


def find_model(name_or_path: str | Path) -> ModelEntry:
    """Find the file behind a name or a path."""
    if not isinstance(name_or_path, (str, Path)):
        raise InputError(f"a model is a name or a path, not {type(name_or_path).__name__}.")
    text = os.fspath(name_or_path)
    entries = {entry.name: entry for entry in list_models()}
    if isinstance(name_or_path, str) and text in entries:
        entry = entries[text]
        if entry.path is None:
            raise ModelError(_where_to_put(entry))
        return entry
    if not text:
        raise ModelError("no model was named; 'spa-tiny' comes with napari-spa.")
    path = Path(text).expanduser()
    looks_like_path = not isinstance(name_or_path, str) or bool(os.path.dirname(text))
    if looks_like_path or path.suffix in SUFFIXES or os.path.lexists(path):
        known = next((known for known in KNOWN if path.name in known.files), None)
        return ModelEntry(path.stem, "imported", path, "by path", known)
    raise ModelError(
        f"there is no model {text!r}; choose one of {', '.join(entries)}, or give the path of a "
        "weights file."
    )


def check_published(entry: ModelEntry, sha256: str) -> None:
    """Refuse a file that is asked for by a published model's name but is another."""
    if entry.kind == "known" and entry.known and entry.known.sha256 not in (None, sha256):
        raise CheckpointError(
            f"{entry.path} is not the published file of {entry.name} (its SHA-256 differs); "
            "download it again, or import it under another name."
        )


def copy_into_models(path: Path, name: str) -> Path:
    """Copy a checked weights file into the models folder, whole or not at all."""
    if not _NAME.fullmatch(name) or name.endswith(SUFFIXES):
        raise InputError(f"{name!r} is no model name; use letters, digits, '-', '_' and '.'.")
    entry = next((e for e in list_models() if e.name == name), None)
    digest = weights_sha256(path)
    if name == PACKAGED:
        raise InputError(f"{PACKAGED!r} is the packaged model; choose another name.")
    if entry is not None:
        check_published(ModelEntry(name, entry.kind, path, "", entry.known), digest)
        if entry.path is not None and weights_sha256(entry.path) == digest:
            return entry.path
        if entry.path is not None:
            raise InputError(
                f"the name {name!r} is taken by {entry.path}; choose another or remove that file."
            )
    suffix = path.suffix if path.suffix in SUFFIXES else ".pth"
    target = models_folder() / f"{name}{suffix}"
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)
        if weights_sha256(temporary) != digest:
            raise DataError(f"{path} changed while it was copied; import it again.")
    return target


def _folders() -> tuple[Path, ...]:
    offline = offline_folder()
    return (models_folder(),) if offline is None else (models_folder(), offline)


def _files() -> list[Path]:
    found: list[Path] = []
    for folder in _folders():
        try:
            paths = sorted(folder.iterdir())
        except OSError:
            continue
        found += [p for p in paths if p.suffix in SUFFIXES and p.name[0] != "." and p.is_file()]
    return found


def known_file(known: KnownModel) -> Path | None:
    """Return a published model's file if it is on this machine, under its name or ours."""
    names = (*(f"{known.name}{suffix}" for suffix in SUFFIXES), *known.files)
    paths = (folder / name for folder in _folders() for name in names)
    return next((path for path in paths if path.is_file()), None)


def _where_to_put(entry: ModelEntry) -> str:
    if entry.known is None:
        return (
            f"the weights of {entry.name} are missing from this installation of napari-spa; "
            "reinstall it, or give the path of a weights file."
        )
    return (
        f"{entry.name} ({entry.about}, {entry.known.megabytes} MB) is not on this machine; run: "
        f"napari-spa models download {entry.name}, or put its file {entry.known.files[0]} into "
        f"{offline_folder() or models_folder()}."
    )
