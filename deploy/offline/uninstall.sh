#!/usr/bin/env bash
# Remove Lobar: every version, the units and the command. Settings, ledger and spool stay.
#
#   uninstall.sh [--purge]
#
# --purge removes them too: instances, reports, the audit trail, users. Nothing brings them back.
set -euo pipefail

readonly home=/opt/lobar settings=/etc/lobar state=/var/lib/lobar
readonly units=/usr/local/lib/systemd/system
purges=no

say() { printf '==> %s\n' "$*"; }
fail() {
    printf 'uninstall: %s\n' "$1" >&2
    exit "${2:-1}"
}

case "${1:-}" in
    '') ;;
    --purge) purges=yes ;;
    *) fail "$1 is not understood: uninstall.sh [--purge]" 2 ;;
esac
[ "$(id -u)" = 0 ] || fail 'run it as root' 77

if [ -d /run/systemd/system ]; then
    say 'Stopping the service'
    systemctl stop lobar.service lobar.target lobar-backup.timer 'lobar-*.service' 2>/dev/null || true
    systemctl disable --quiet lobar.service lobar.target lobar-backup.timer 2>/dev/null || true
fi
say "Removing $home and the units"
rm -rf "$home" "$units"/lobar*.{service,target,timer} "$units"/lobar{,-}.service.d /usr/local/bin/lobar
[ ! -d /run/systemd/system ] || systemctl daemon-reload
if [ "$purges" = yes ]; then
    say "Removing $settings, $state and the account"
    rm -rf "$settings" "$state" /etc/systemd/system/lobar*.d
    if getent passwd lobar >/dev/null; then userdel lobar; fi
    if getent group lobar >/dev/null; then groupdel lobar; fi
else
    say "$settings and $state stay; uninstall.sh --purge removes them"
fi
