#!/bin/sh
# Compile proto/ into the descriptor set that shared/contracts/wire.py loads, and into type stubs.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
files="inference/grpc_service.proto ellesmere/v1/jobs.proto"

rm -rf shared/contracts/pb
mkdir -p shared/contracts/pb
# shellcheck disable=SC2086
"$python" -m grpc_tools.protoc -I proto --pyi_out=shared/contracts/pb \
    --descriptor_set_out=shared/contracts/wire.binpb $files
