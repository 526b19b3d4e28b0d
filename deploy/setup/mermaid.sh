#!/usr/bin/env bash
# Fetch Mermaid, which draws the diagrams on the pages of the site: the one file that is used.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/npm_packed.sh" mermaid mermaid 11.16.0 \
    66f9b791bb2d81da6f2093cf22d94bedfa69219de489bbdcd686481b176f93db7a505cfa7e5bfe270ec5b5118ac1f708f0e724987d382ea1ba2e54ba5f8075a4 \
    'so the site shows diagrams as text' \
    --strip-components=2 package/dist/mermaid.min.js
