#!/usr/bin/env bash
# Write requirements.lock from pyproject.toml: every version and hash, for every platform. Then
# requirements-runtime.lock, the part of it that an installation without the extras needs.
# Versions in the present lock stay where they still fit; remove the file first for the newest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# torch itself stays out (see docs/adr/0050-setup.md), what it needs is locked in its place
printf 'torch; sys_platform == "never"\n' >"$work/without-torch.txt"
cat >"$work/torch-needs.in" <<'END'
filelock
fsspec
jinja2
mpmath
networkx
setuptools
sympy
typing-extensions
END

# uv does not read pip's configuration, so it is told where pip looks for packages, and to look
# everywhere as pip does: else this lock could name what `make setup` would not find, or the other
# way round. What pip takes from the environment is listed first and wins.
pip_setting() {
    .venv/bin/python -m pip config list |
        sed -n "s/^[^.]*\.$1='\(.*\)'\$/\1/p" | head -n 1 | sed 's/\\n/ /g'
}

# an environment that is behind pyproject.toml will do: this is how it catches up
[ -x .venv/bin/python ] || deploy/setup/venv.sh
.venv/bin/python -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet uv

# Of a version that two indexes have, uv takes the files of the first. An extra index may hold one
# file of it, for one Python, so the main one comes first: the lock must hold the hashes of all.
index="$(pip_setting index-url)"
[ -n "$index" ] || index="$(.venv/bin/python -c \
    'from pip._internal.models.index import PyPI; print(PyPI.simple_url)')"
export UV_DEFAULT_INDEX="$index" UV_INDEX
UV_INDEX="$index $(pip_setting extra-index-url)"

# uv keeps the hashes of a version that stays, so only the versions are left for it to read
[ ! -e requirements.lock ] || sed -i '/^ *--hash=/d; s/ \\$//' requirements.lock

lock() {
    "$work/venv/bin/uv" pip compile pyproject.toml "$work/torch-needs.in" \
        --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
        --index-strategy unsafe-best-match --override "$work/without-torch.txt" \
        --no-emit-package torch --quiet "$@"
}

lock --extra dev --extra site --extra train --extra otel -o requirements.lock
rm -f requirements-runtime.lock # the versions are those of the lock above, which is a constraint
lock --constraint requirements.lock -o requirements-runtime.lock
