#!/usr/bin/env bash
# Fetch an npm package of the tests and what it needs into .cache/NAME, exactly as the lock in
# deploy/setup/NAME says: npm checks each package against the hash there, and runs no script of any.
# Does nothing when they are there; without npm or its registry it says what is not tested.
#     npm_locked.sh NAME PACKAGE WHAT-IT-IS WHAT-IS-TESTED-WITH-IT
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly name=$1 package=$2 what=$3 tested=$4
readonly lock=deploy/setup/$name
readonly folder=.cache/$name

without() {
    printf '%s: %s, so not tested: %s\n' "$name" "$1" "$tested" >&2
    exit 0
}

cmp -s "$lock/package-lock.json" "$folder/package-lock.json" && exit
command -v npm >/dev/null || without 'no npm'

mkdir -p .cache
work="$(mktemp -d ".cache/$name-XXXXXX")" # beside the folder, so that it can be moved in one step
trap 'rm -rf "$work"' EXIT
printf '==> Fetching %s\n' "$what"
cp "$lock/package.json" "$lock/package-lock.json" "$work/"
if ! npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund >"$work/log" 2>&1; then
    grep -q EINTEGRITY "$work/log" || without "npm could not fetch $package"
    printf '%s: what npm fetched is not what was reviewed (%s)\n' "$name" "$lock" >&2
    exit 1
fi
rm -rf "$folder" "$work/log"
mv "$work" "$folder"
trap - EXIT
