#!/usr/bin/env bash
# Set everything up on a fresh machine, then run every check and all tests.
#
# Usage: scripts/test.sh [PYTEST OPTION ...]
# Exit status: 0 when everything passed.

source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

prepare_python
require_gui xvfb
install_package batch,evaluate,formats,train check
cd "$root"

failed=()
check() {
    say "== $*"
    "$@" || failed+=("$*")
}
check ruff check
check ruff format --check
check mypy
check lint-imports
check validate-pyproject pyproject.toml
check npe2 validate --imports napari-spa

display=()
if [ "$(uname -s)" = Linux ]; then
    display=(xvfb-run -a -s '-screen 0 1600x1000x24')
fi
status=0
${display[@]+"${display[@]}"} "$python" -m pytest -n 2 --dist loadgroup "$@" || status=$?

if [ ${#failed[@]} -gt 0 ]; then
    printf 'Failed before the tests: %s\n' "${failed[@]}" >&2
    [ "$status" != 0 ] || status=1
fi
exit "$status"
