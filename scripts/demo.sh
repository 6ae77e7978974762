#!/usr/bin/env bash
# Set everything up on a fresh machine, then run the demo; where there is a
# display it ends in a napari window with the dock open.
#
# Usage: scripts/demo.sh [-o DIR] [--no-viewer]

source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

prepare_python
if has_display; then
    require_gui
elif [[ " $* " != *" --no-viewer "* ]]; then
    set -- "$@" --no-viewer
fi
install_package all
exec napari-spa demo "$@"
