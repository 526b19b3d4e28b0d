#!/usr/bin/env bash
# Fetch the OpenID provider at which tests sign in: panva's oidc-provider.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/npm_locked.sh" openid oidc-provider \
    'the OpenID provider of the tests' 'sign-in at a real OpenID provider'
