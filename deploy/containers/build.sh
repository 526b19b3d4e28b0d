#!/usr/bin/env bash
# Build the image of a target, cpu or cuda, with Podman, Buildah or Docker: ENGINE chooses one. Further
# arguments go to it: --build-arg BASE=…, --secret id=pip,src=pip.conf (docs/containers.md).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly target="${1:-cpu}"
readonly tag="${IMAGE:-localhost/lobar:$target}"

case "$target" in cpu | cuda) ;; *) echo 'build: cpu or cuda?' >&2; exit 2 ;; esac
shift || true

find_engine() {
    local name
    for name in ${ENGINE:-podman buildah docker}; do
        if type -P "$name" >/dev/null; then
            printf '%s' "$name"
            return
        fi
    done
    echo "build: no ${ENGINE:-Podman, Buildah or Docker} on this machine" >&2
    exit 69
}

engine="$(find_engine)"
options=()
# a health check is in Docker's format of images only
[ "$engine" = docker ] || options=(--format docker)
version="$(sed -n 's/^VERSION: Final = "\([^"]*\)".*/\1/p' service/dicom/implementation.py)"
revision="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
created="$(git log -1 --format=%cI 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)"

exec "$engine" build "${options[@]}" --file deploy/containers/Containerfile --target "$target" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    --build-arg "CREATED=$created" --tag "$tag" "$@" .
