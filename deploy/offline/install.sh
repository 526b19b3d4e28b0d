#!/usr/bin/env bash
# Install Lobar from this folder, or upgrade to it. Needs root and a Python, and no network.
#
#   ./install.sh [--no-backup]
#
# Versions lie side by side in /opt/lobar; /opt/lobar/current is the one that runs. A service that
# runs is stopped, backed up, and started in the new version. Settings are kept as they are.
set -euo pipefail
umask 022

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly here home=/opt/lobar settings=/etc/lobar state=/var/lib/lobar
readonly units=/usr/local/lib/systemd/system
backs_up=yes

say() { printf '==> %s\n' "$*"; }
fail() {
    printf 'install: %s\n' "$1" >&2
    exit "${2:-1}"
}

for argument in "$@"; do
    case "$argument" in
        --no-backup) backs_up=no ;;
        *) fail "$argument is not understood: install.sh [--no-backup]" 2 ;;
    esac
done

require_whole_package() {
    say 'Verifying the package'
    (cd "$here" && sha256sum --check --quiet --strict SHA256SUMS) ||
        fail 'the package is damaged: copy it again, and compare it with its .sha256'
}

find_python() {
    local wanted name
    wanted="$(cat "$here/PYTHON")"
    for name in "python$wanted" python3; do
        if [ "$("$name" -c 'import sys, venv; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = \
            "$wanted" ]; then
            command -v "$name"
            return
        fi
    done
    fail "no Python $wanted: this package is for that version (Debian 12 has 3.11: apt-get install python3)"
}

is_complete() { [ -e "$1/complete" ]; }

install_version() {
    local python=$1 folder=$2
    say "Installing $(cat "$here/VERSION") in $folder"
    rm -rf "$folder" # what an earlier try left
    "$python" -m venv --without-pip "$folder"
    # pip from its wheel: the environment needs none, and gets nothing but what is listed
    "$python" -m zipfile -e "$here"/wheels/pip-*.whl "$work"
    pip() { PYTHONPATH="$work" "$folder/bin/python" -m pip --disable-pip-version-check "$@"; }
    pip install --quiet --no-cache-dir --no-index --find-links "$here/wheels" --no-deps \
        --require-hashes -r "$here/requirements.txt" ||
        fail 'pip could not install the wheels: see above'
    pip check >"$work/check" || fail "the wheels do not fit together: $(cat "$work/check")"
    "$folder/bin/lobar" --help >/dev/null || fail 'lobar does not start: see above'
    install -d -m 755 "$folder/share/lobar"
    cp -r "$here/systemd" "$here/uninstall.sh" "$here/lobar.example.toml" "$here/LICENSE" \
        "$folder/share/lobar"
    touch "$folder/complete"
}

make_account() {
    getent group lobar >/dev/null || groupadd --system lobar
    getent passwd lobar >/dev/null || useradd --system --gid lobar --home-dir "$state" \
        --no-create-home --shell /usr/sbin/nologin --comment Lobar lobar
}

make_folders() {
    install -d -m 750 -g lobar "$settings"
    install -d -m 700 "$settings/credentials"
    [ -d "$state" ] || install -d -m 700 -o lobar -g lobar "$state"
    [ -e "$settings/lobar.toml" ] ||
        install -m 640 -g lobar "$here/lobar.example.toml" "$settings/lobar.toml"
    install -m 644 "$here/lobar.example.toml" "$settings/lobar.example.toml"
}

install_units() {
    local each
    for each in lobar-.service.d lobar.service.d; do
        install -d "$units/$each"
        install -m 644 "$here/systemd/$each"/* "$units/$each"
    done
    install -m 644 "$here"/systemd/lobar*.{service,target,timer} "$units"
    install -m 755 "$here/lobar.sh" /usr/local/bin/lobar
}

has_systemd() { [ -d /run/systemd/system ]; }

running_unit() {
    local each
    has_systemd || return 0
    for each in lobar.service lobar.target; do
        if systemctl is-active --quiet "$each"; then
            printf '%s' "$each"
            return
        fi
    done
}

# On the same file system a backup takes no space: docs/operations.md#back-up-and-restore
back_up() {
    local old=$1 folder
    [ "$backs_up" = yes ] && [ -e "$old/bin/lobar" ] || return 0
    folder="/var/backups/lobar-before-$(cat "$here/VERSION")"
    say "Backing up to $folder"
    install -d /var/backups
    install -d -m 700 -o lobar -g lobar "$folder"
    /usr/local/bin/lobar backup "$folder" || {
        [ -z "$unit" ] || systemctl start "$unit"
        fail "no backup was made, and nothing was changed. Correct it, or add --no-backup"
    }
}

switch_to() {
    ln -sfn "$1" "$home/current.new"
    mv -fT "$home/current.new" "$home/current"
}

start_again() {
    has_systemd || return 0
    systemctl daemon-reload
    [ -n "$unit" ] || return 0
    say "Starting $unit"
    systemctl start "$unit" || fail "$unit did not start: journalctl -u '$unit*'. To go back: README.md"
}

[ "$(id -u)" = 0 ] || fail 'run it as root' 77
require_whole_package
python="$(find_python)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
folder="$home/$(cat "$here/VERSION")"
before="$(readlink "$home/current" 2>/dev/null || true)"
is_complete "$folder" || install_version "$python" "$folder"
make_account
make_folders
unit="$(running_unit)"
if [ -n "$unit" ]; then
    say "Stopping $unit"
    systemctl stop "$unit" 'lobar-*.service'
fi
[ -z "$before" ] || [ "$before" = "$folder" ] || back_up "$before"
switch_to "$folder"
install_units
start_again
say "Lobar $(cat "$here/VERSION") is installed"
if [ -z "$before" ]; then
    printf '%s\n' "Next: edit $settings/lobar.toml, then" \
        '  lobar check' '  systemctl enable --now lobar.service'
fi
