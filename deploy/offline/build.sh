#!/usr/bin/env bash
# Build dist/lobar-VERSION-offline-….tar: Lobar with its weights and all that it requires, as wheels
# with their hashes, to be installed where there is no network. docs/install.md
#
#   deploy/offline/build.sh [cpu|cuda]
#
# It is for the Python of .venv and the processor of this machine; OUT names another folder than
# dist, and WHEELS a folder that holds all wheels already, pip's among them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly variant="${1:-cpu}"
readonly python=.venv/bin/python
readonly out="${OUT:-dist}"

say() { printf '==> %s\n' "$*"; }
fail() { printf 'offline: %s\n' "$*" >&2; exit 1; }

case "$variant" in cpu | cuda) ;; *) echo 'offline: cpu or cuda?' >&2; exit 2 ;; esac

minor="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# A copy of the sources is built: setuptools also packs what an earlier build left in `build`.
own_wheel() {
    local sources="$work/sources"
    mkdir "$sources"
    cp -r LICENSE README.md pyproject.toml deploy docs monai_bundle service tests workers "$sources"
    find "$sources" -type d -name __pycache__ -prune -exec rm -rf {} +
    "$python" -m pip wheel --quiet --no-deps --no-build-isolation -w "$1" "$sources"
}

download() {
    "$python" -m pip download --quiet --disable-pip-version-check --only-binary :all: "$@"
}

# torch is not in the lock: docs/adr/0050-setup.md. A CUDA build needs packages of NVIDIA.
torch_wheels() {
    local any
    any="$(sed -n 's/^ *"\(torch==[^"]*\)",$/\1/p' pyproject.toml)"
    if [ "$variant" = cpu ]; then
        download --no-deps -d "$1" "$any+cpu" 2>/dev/null || download --no-deps -d "$1" "$any"
        return
    fi
    sed -n 's/^\([A-Za-z0-9._-]*==[^ ;]*\).*/\1/p' requirements-runtime.lock >"$work/versions.txt"
    download -d "$1" -c "$work/versions.txt" "$any,!=${any#torch==}+cpu"
}

gather() {
    say "Building Lobar's own wheel"
    own_wheel "$1"
    say 'Fetching what it requires, each file checked against its hash in the lock'
    # with what only some releases of this Python need: the host's may be an earlier one
    sed "s/ ; python_full_version < '$minor\.[0-9]*'//" requirements-runtime.lock >"$work/lock.txt"
    download --no-deps --require-hashes -d "$1" -r "$work/lock.txt"
    torch_wheels "$1"
    download --no-deps -d "$1" pip # a Debian without python3-venv has none
}

# Of each wheel its name, version and hash: pip installs no other file.
requirements() {
    local file name version hash
    for file in "$1"/*.whl; do
        IFS=- read -r name version _ <<<"$(basename "$file")"
        [ "$name" != pip ] || continue
        hash="$(sha256sum "$file")"
        printf '%s==%s --hash=sha256:%s\n' "$name" "$version" "${hash%% *}"
    done
}

wheels="$work/wheels"
mkdir "$wheels"
if [ -n "${WHEELS:-}" ]; then cp "$WHEELS"/*.whl "$wheels"; else gather "$wheels"; fi
own="$(basename "$(echo "$wheels"/lobar-*.whl)")"
[ -f "$wheels/$own" ] || fail 'the wheels have to hold one of Lobar'
IFS=- read -r _ version _ <<<"$own"

name="lobar-$version-offline-linux-$(uname -m)-python$minor-$variant"
package="$work/$name"
mkdir -p "$package" "$out"
mv "$wheels" "$package/wheels"
requirements "$package/wheels" >"$package/requirements.txt"
printf '%s\n' "$version" >"$package/VERSION"
printf '%s\n' "$minor" >"$package/PYTHON"
cp LICENSE deploy/offline/{install.sh,uninstall.sh,lobar.sh} deploy/lobar.example.toml "$package"
cp docs/install.md "$package/README.md"
cp -rL deploy/systemd "$package/systemd"
(cd "$package" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum) \
    >"$work/SHA256SUMS"
mv "$work/SHA256SUMS" "$package"
say "Packing $name.tar"
# the same bytes from the same wheels, whoever packs them
tar --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rwX --mtime=@0 \
    -C "$work" -cf "$out/$name.tar" "$name"
(cd "$out" && sha256sum "$name.tar" >"$name.tar.sha256")
say "$out/$name.tar"
