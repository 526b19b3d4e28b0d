#!/usr/bin/env bash
# Make .venv hold what requirements.lock says, torch, and this project in editable form.
# Does nothing when that was done before and neither file changed since.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly stamp=.venv/setup-done

say() { printf '==> %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

what_is_wanted() {
    # the folder counts because an editable install points into it
    { pwd; cat requirements.lock pyproject.toml deploy/setup/venv.sh; } | sha256sum
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# PYTHON=python3.12 chooses one; without it the oldest that will do is taken
find_python() {
    local name
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11 or later"
        command -v "$PYTHON"
        return
    fi
    for name in python3.11 python3.12 python3.13 python3; do
        if new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    fail "no Python 3.11 or later: install one (Debian 12: apt-get install python3 python3-venv)"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Debian keeps the module that puts pip into a new environment in a package of its own.
need_ensurepip() {
    local python=$1 package
    "$python" -c 'import ensurepip' 2>/dev/null && return
    package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
        say "Installing $package, which $python needs to make an environment"
        as_root apt-get update -q || true # an old list may still name the package
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -q --no-install-recommends "$package" && return
    fi
    fail "$python cannot make an environment: install the package $package"
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

is_chosen() {
    [ -z "${PYTHON:-}" ] || [ "$(version_of "$1")" = "$(version_of "$PYTHON")" ]
}

make_environment() {
    local python
    if new_enough .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1 &&
        is_chosen .venv/bin/python; then
        return
    fi
    python="$(find_python)"
    need_ensurepip "$python"
    say "Making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

# uv installs the same files several times faster than pip. It is taken from the lock, by its
# hash; whatever keeps it away or makes it fail, pip does the work instead.
get_uv() {
    local wanted
    wanted="$(mktemp)"
    sed -n '/^uv==/,/[^\\]$/p' requirements.lock >"$wanted"
    if [ -s "$wanted" ]; then
        .venv/bin/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes \
            -r "$wanted" || true
    fi
    rm -f "$wanted"
}

# uv does not read pip's configuration, so it is told where pip looks for packages.
pip_setting() {
    .venv/bin/python -m pip config list |
        sed -n "s/^[^.]*\.$1='\(.*\)'\$/\1/p" | head -n 1 | sed 's/\\n/ /g'
}

configure_uv() {
    local index extra links certificates
    index="$(pip_setting index-url)"
    [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
    extra="$(pip_setting extra-index-url)"
    [ -z "$extra" ] || export UV_INDEX="$extra"
    links="$(pip_setting find-links)"
    [ -z "$links" ] || export UV_FIND_LINKS="${links// /,}"
    certificates="$(pip_setting cert)"
    [ -z "$certificates" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$certificates}"
}

# Look everywhere, as pip does: a version may be in any of the sources. uv leaves it to the first
# import to write bytecode; where Python may not write it, every start would compile anew.
uv_install() {
    local bytecode=()
    [ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || bytecode=(--compile-bytecode)
    [ -x .venv/bin/uv ] && .venv/bin/uv pip install --quiet --python .venv/bin/python \
        --index-strategy unsafe-best-match "${bytecode[@]}" "$@"
}

has_nvidia_gpu() {
    [ -e /dev/nvidia0 ] || { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }
}

# torch is not in the lock: its CPU and CUDA builds of one version are different files with
# different hashes, and which of them is wanted depends on the machine.
install_torch() {
    local any preferred complaint
    any="$(sed -n 's/^ *"\(torch==[^"]*\)",$/\1/p' pyproject.toml)"
    if has_nvidia_gpu; then preferred="$any,!=${any#torch==}+cpu"; else preferred="$any+cpu"; fi
    say "Installing $any"
    # with what it requires: a CUDA build needs packages of NVIDIA that the lock does not name
    ! uv_install --only-binary :all: "$preferred" 2>/dev/null || return 0
    complaint="$(mktemp)"
    if ! .venv/bin/python -m pip install "$preferred" 2>"$complaint"; then
        if ! grep -q 'No matching distribution' "$complaint"; then
            cat "$complaint" >&2
        fi
        has_nvidia_gpu || say "pip knows no CPU build of torch: taking its default build"
        .venv/bin/python -m pip install "$any"
    fi
    rm -f "$complaint"
}

if [ -x .venv/bin/lobar ] && is_chosen .venv/bin/python &&
    [ "$(cat "$stamp" 2>/dev/null)" = "$(what_is_wanted)" ]; then
    exit
fi
make_environment
rm -f "$stamp"
say "Installing what requirements.lock names, each file checked against its hash"
get_uv
configure_uv
uv_install --no-deps --only-binary :all: --require-hashes -r requirements.lock ||
    .venv/bin/python -m pip install --no-deps --only-binary :all: --require-hashes \
        -r requirements.lock
install_torch
say "Installing Lobar itself"
.venv/bin/python -m pip install --no-deps --no-build-isolation -e .
.venv/bin/python -m pip check ||
    fail "requirements.lock does not hold what pyproject.toml asks for: run make lock"
[ -x .venv/bin/lobar ] || fail "the installation left no .venv/bin/lobar"
what_is_wanted >"$stamp"
say "Ready: .venv/bin/lobar"
