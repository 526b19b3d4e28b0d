#!/usr/bin/env bash
# Install the torch that pyproject.toml names into /opt/lobar: `cpu` or `cuda`. It is not in the lock,
# because the two are different files of one version (docs/adr/0050-setup.md).
set -euo pipefail

readonly pip="${PIP:-/opt/lobar/bin/pip}"
wanted="$(sed -n 's/^ *"\(torch==[^"]*\)",$/\1/p' pyproject.toml)"
[ -n "$wanted" ] || { echo 'install_torch: pyproject.toml pins no torch' >&2; exit 1; }

install() { "$pip" install --no-cache-dir --only-binary :all: "$@"; }

case "${1:-}" in
    cpu)
        if ! install --no-deps "$wanted+cpu"; then
            echo "==> pip's sources have no CPU build of torch: taking the default build, which may" \
                "be several gigabytes larger (docs/containers.md)"
            install "$wanted"
        fi
        ;;
    # with what it requires: a CUDA build needs packages of NVIDIA that the lock does not name
    cuda) install "$wanted,!=${wanted#torch==}+cpu" ;;
    *) echo 'install_torch: cpu or cuda?' >&2; exit 2 ;;
esac
