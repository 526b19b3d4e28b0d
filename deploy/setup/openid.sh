#!/usr/bin/env bash
# Fetch the OpenID provider (panva's oidc-provider) at which tests sign in, and what it needs: npm
# checks each package against the hash in the lock, and runs no script of any. Does nothing when they
# are there; without npm or its registry it says what is not tested.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly lock=deploy/setup/openid
readonly folder=.cache/openid

without() {
    printf 'openid: %s, so not tested: sign-in at a real OpenID provider\n' "$1" >&2
    exit 0
}

cmp -s "$lock/package-lock.json" "$folder/package-lock.json" && exit
command -v npm >/dev/null || without 'no npm'

mkdir -p .cache
work="$(mktemp -d .cache/openid-XXXXXX)" # beside the folder, so that it can be moved in one step
trap 'rm -rf "$work"' EXIT
printf '==> Fetching the OpenID provider of the tests\n'
cp "$lock/package.json" "$lock/package-lock.json" "$work/"
if ! npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund >"$work/log" 2>&1; then
    grep -q EINTEGRITY "$work/log" || without 'npm could not fetch oidc-provider'
    printf 'openid: what npm fetched is not what was reviewed (%s)\n' "$lock" >&2
    exit 1
fi
rm -rf "$folder" "$work/log"
mv "$work" "$folder"
trap - EXIT
