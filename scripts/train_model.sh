#!/usr/bin/env bash
# Make the packaged model, from nothing to the weights file, with no hand on it.
#
# Usage: scripts/train_model.sh DATA RUN [OPTION ...]
#
#   DATA    folder that holds the data sets of src/napari_spa/train/recipes/spa-tiny.toml, or
#           the one file that `napari-spa train DATA synthetic --config spa-tiny --pack FILE`
#           makes of them
#   RUN     folder for checkpoints and figures, outside the tree; a run that was stopped
#           goes on where it was
#   OPTION  further options of `napari-spa train`: --device cuda, --init MODEL, --steps N
#
# The result is RUN/spa.safetensors.  On two cores it takes hours and leaves room for
# other work; with --device cuda it stops after eight minutes (docs/training.md).  It needs
# the extra `train` (pip install -e '.[train]' -c constraints.txt).

set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 2; }
data=$1 run=$2
shift 2
# Processes that spin while they wait slow the ones beside them ten times.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

sources=("$data")
[ -f "$data" ] || sources+=(synthetic)
resume=()
[ ! -e "$run/last.pt" ] || resume=(--resume)
exec napari-spa train "${sources[@]}" --config spa-tiny -o "$run" ${resume[@]+"${resume[@]}"} "$@"
