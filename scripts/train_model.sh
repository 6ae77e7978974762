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
# The result is RUN/spa.safetensors and, beside it, RUN/spa.calibration.json: what its signs of
# quality are worth (from a DATA folder only).  In the package both are weights/spa-tiny.*.
# On two cores it takes hours and leaves room for other work; with --device cuda training stops
# after eight minutes (docs/training.md).  It needs the extra `train` (pip install -e '.[train]').

set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 2; }
data=$1 run=$2
shift 2
# Processes that spin while they wait slow the ones beside them ten times.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

sources=("$data")
[ -f "$data" ] || sources+=(synthetic)
resume=()
[ ! -e "$run/last.pt" ] || resume=(--resume)
napari-spa train "${sources[@]}" --config spa-tiny -o "$run" ${resume[@]+"${resume[@]}"} "$@"
# On objects that it did not learn from; goes on where it was, too.
[ -d "$data" ] || exit 0
exec python -m napari_spa.train.calibrate "$run/spa.safetensors" "$data" --rounds "$run/rounds.jsonl"
