#!/usr/bin/env bash
# Fetch OHIF, the viewer in which tests and `make viewer` open studies: its npm package carries it
# built. Does nothing when it is there; without npm or its registry it says what is not tested.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly package=@ohif/app
readonly version=3.13.2
# npm's "integrity", in hexadecimal
readonly sha512=5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10
readonly folder=.cache/ohif

without() {
    printf 'ohif: %s, so not tested: what a person sees in a real viewer (OHIF)\n' "$1" >&2
    exit 0
}

[ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && exit
command -v npm >/dev/null || without 'no npm'

mkdir -p .cache
work="$(mktemp -d .cache/ohif-XXXXXX)" # beside the folder, so that it can be moved there in one step
trap 'rm -rf "$work"' EXIT
printf '==> Fetching %s %s\n' "$package" "$version"
npm pack "$package@$version" --pack-destination "$work" --silent >/dev/null ||
    without "npm could not fetch $package $version"
if ! printf '%s  %s\n' "$sha512" "$work"/*.tgz | sha512sum --check --status; then
    printf 'ohif: what npm fetched is not the %s %s that was reviewed\n' "$package" "$version" >&2
    exit 1
fi
# without a runtime for segmentation models, which is two thirds of it
tar -xzf "$work"/*.tgz -C "$work" --exclude=package/dist/ort
printf '%s\n' "$version" >"$work/package/version"
rm -rf "$folder"
mv "$work/package" "$folder"
