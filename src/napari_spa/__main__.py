"""``python -m napari_spa`` is the command ``napari-spa``."""

from napari_spa.cli import main

raise SystemExit(main())
