#!/usr/bin/env bash
# Train on N processes of this machine: tools/dist_train.sh CONFIG N [options of tools/train.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT as torchrun wants them.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 CONFIG N [options of tools/train.py]" >&2; exit 2; }
config=$1 processes=$2
shift 2
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
    --log-dir=/dev/null --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
