#!/bin/sh
# Run a command of Lobar as the service's account, with its settings and its credentials.
# As root; files that it reads or writes are opened by that account.
set -eu

program=/opt/lobar/current/bin/lobar
if [ "$(id -u)" != 0 ]; then
    exec env LOBAR_CONFIG="${LOBAR_CONFIG:-/etc/lobar/lobar.toml}" "$program" "$@"
fi
if [ ! -d /run/systemd/system ] || [ ! -S /run/dbus/system_bus_socket ]; then
    # without systemd and its bus nobody hands over the credentials
    exec setpriv --reuid=lobar --regid=lobar --init-groups \
        env LOBAR_CONFIG=/etc/lobar/lobar.toml "$program" "$@"
fi
if [ -t 0 ] && [ -t 1 ]; then way=--pty; else way=--pipe; fi
# the dash: a working directory that the account may not enter, such as /root, is left out
exec systemd-run --quiet --collect --wait "$way" --service-type=exec \
    --property="WorkingDirectory=-$PWD" \
    --property=User=lobar --property=Group=lobar --property=UMask=0077 \
    --property=LoadCredential=lobar:/etc/lobar/credentials \
    --setenv=LOBAR_CONFIG=/etc/lobar/lobar.toml "$program" "$@"
