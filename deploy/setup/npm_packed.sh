#!/usr/bin/env bash
# Fetch one npm package, of those that come built, into .cache/NAME, and hold it to the digest that
# was reviewed: npm's "integrity", in hexadecimal. Does nothing when it is there; without npm or its
# registry it says what that means. Further arguments choose for tar what is unpacked.
#     npm_packed.sh NAME PACKAGE VERSION SHA512 WHAT-IT-MEANS-WITHOUT TAR-ARGUMENT...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly name=$1 package=$2 version=$3 sha512=$4 meaning=$5
shift 5
readonly folder=.cache/$name

without() {
    printf '%s: %s, %s\n' "$name" "$1" "$meaning" >&2
    exit 0
}

[ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && exit
command -v npm >/dev/null || without 'no npm'

mkdir -p .cache
work="$(mktemp -d ".cache/$name-XXXXXX")" # beside the folder, so that it can be moved in one step
trap 'rm -rf "$work"' EXIT
printf '==> Fetching %s %s\n' "$package" "$version"
npm pack "$package@$version" --pack-destination "$work" --silent >/dev/null ||
    without "npm could not fetch $package $version"
if ! printf '%s  %s\n' "$sha512" "$work"/*.tgz | sha512sum --check --status; then
    printf '%s: what npm fetched is not the %s %s that was reviewed\n' \
        "$name" "$package" "$version" >&2
    exit 1
fi
tar -xzf "$work"/*.tgz -C "$work" "$@"
rm -f "$work"/*.tgz
printf '%s\n' "$version" >"$work/version"
rm -rf "$folder"
mv "$work" "$folder"
trap - EXIT
