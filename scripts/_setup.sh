# shellcheck shell=bash
# What test.sh and demo.sh share; sourced by them, not run.
#
# Functions end the script with one sentence when something is missing that they
# may not install themselves.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$PATH:/usr/sbin:/sbin # where ldconfig is for people who are not root

# Two torch processes that spin while they wait slow each other ten times and more.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
export PIP_DISABLE_PIP_VERSION_CHECK=1

# Libraries that Qt's window needs, and the Debian packages they are in.
gui_libraries='
libEGL.so.1             libegl1
libGL.so.1              libgl1
libX11-xcb.so.1         libx11-xcb1
libdbus-1.so.3          libdbus-1-3
libfontconfig.so.1      libfontconfig1
libglib-2.0.so.0        libglib2.0-0
libxcb-cursor.so.0      libxcb-cursor0
libxcb-icccm.so.4       libxcb-icccm4
libxcb-keysyms.so.1     libxcb-keysyms1
libxcb-randr.so.0       libxcb-randr0
libxcb-shape.so.0       libxcb-shape0
libxcb-sync.so.1        libxcb-sync1
libxcb-xfixes.so.0      libxcb-xfixes0
libxkbcommon-x11.so.0   libxkbcommon-x11-0
libxkbcommon.so.0       libxkbcommon0
'

say() { printf '%s\n' "$*" >&2; }

stop() {
    say "$*"
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install_packages() {
    command -v apt-get >/dev/null && as_root true 2>/dev/null
}

# Install Debian packages where this user may; otherwise print the line to run.
require_packages() {
    [ $# -gt 0 ] || return 0
    may_install_packages ||
        stop "System packages are missing. Run this line, then start again:
  sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
    say "Installing system packages: $*"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
    as_root "${apt[@]}" update >&2
    as_root "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null
}

# require_gui [xvfb]: what a window needs; with xvfb, a display for it too.
require_gui() {
    [ "$(uname -s)" = Linux ] || return 0
    local known library package missing=()
    known=$(ldconfig -p)
    while read -r library package; do
        [ -z "$library" ] || grep -qF "$library " <<<"$known" || missing+=("$package")
    done <<<"$gui_libraries"
    if [ "${1:-}" = xvfb ]; then
        command -v xvfb-run >/dev/null || missing+=(xvfb)
        command -v xauth >/dev/null || missing+=(xauth)
    fi
    require_packages ${missing[@]+"${missing[@]}"}
}

has_display() {
    [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]
}

find_python() {
    local name
    for name in python3 python python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    stop "napari-spa needs Python 3.11 or newer (Debian, Ubuntu: apt-get install python3 python3-venv)."
}

# Set `python`: of the active environment, else of .venv, which is made if needed.
prepare_python() {
    python=$(find_python)
    if ! "$python" -c 'import os, sys; sys.exit(sys.prefix == sys.base_prefix and "CONDA_PREFIX" not in os.environ)'; then
        local venv=$root/.venv
        if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
            require_venv
            say "Making a virtual environment in $venv"
            "$python" -m venv --clear "$venv"
        fi
        python=$venv/bin/python
    fi
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null 2>&1 ||
        stop "The active environment has no pip: deactivate it, or install pip into it, and start again."
    PATH=$(dirname "$python"):$PATH
}

require_venv() {
    "$python" -c 'import ensurepip' 2>/dev/null && return
    if may_install_packages; then require_packages python3-venv; fi
    "$python" -c 'import ensurepip' 2>/dev/null ||
        stop "$python cannot make virtual environments: run 'apt-get install python3-venv' as root, then start again."
}

# install_package EXTRAS [GROUP]: this checkout, editable, with the constraints;
# skipped when the same was installed before.
install_package() {
    local extras=$1 group=${2:-} stamp state
    stamp=$("$python" -c 'import sys; print(sys.prefix)')/.napari-spa-${extras//[^a-z]/-}$group
    state=$(printf '%s\n' "$root"; cat "$root"/{pyproject.toml,constraints.txt,hatch_build.py})
    if [ -e "$root/src/napari_spa/napari.yaml" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; then
        return
    fi
    say "Installing napari-spa and what it needs (some minutes the first time)"
    # Dependency groups came with pip 25.1.
    "$python" -m pip install --quiet --upgrade 'pip>=25.1'
    (
        cd "$root"
        "$python" -m pip install --quiet --constraint constraints.txt \
            --editable ".[$extras]" ${group:+--group "$group"}
    )
    printf '%s\n' "$state" >"$stamp"
}
