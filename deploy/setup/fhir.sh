#!/usr/bin/env bash
# Fetch the validator of FHIR resources of the tests: fhir, of Lantana.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/npm_locked.sh" fhir fhir \
    'the FHIR validator of the tests' 'FHIR resources by the definitions of R4'
