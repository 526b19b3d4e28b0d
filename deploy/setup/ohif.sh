#!/usr/bin/env bash
# Fetch OHIF, the viewer in which tests and `make viewer` open studies: its npm package carries it
# built. Left out is a runtime for segmentation models, which is two thirds of it.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/npm_packed.sh" ohif @ohif/app 3.13.2 \
    5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10 \
    'so not tested: what a person sees in a real viewer (OHIF)' \
    --strip-components=1 --exclude=package/dist/ort
