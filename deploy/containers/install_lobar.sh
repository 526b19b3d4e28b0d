#!/usr/bin/env bash
# Install Lobar from the working directory into /opt/lobar, check that nothing is missing, and write
# the bill of materials. pip is removed at the end: an image is never changed, only replaced.
set -euo pipefail

readonly prefix=/opt/lobar

"$prefix/bin/pip" install --no-cache-dir --no-index --no-deps --no-build-isolation .
"$prefix/bin/pip" check
"$prefix/bin/pip" uninstall --quiet --yes pip
"$prefix/bin/python" -I deploy/containers/sbom.py \
    --debian-packages /usr/local/share/lobar/debian-packages.tsv \
    --output "$prefix/share/lobar/lobar.cdx.json"
