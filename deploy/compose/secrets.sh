#!/usr/bin/env bash
# Make the secrets of deploy/compose.yaml that are not there yet: passwords, and a certificate for the
# proxy that it signs itself, for the name that is given. Put the site's own certificate and key in
# their place. Each file belongs to the account of the containers that read it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly name="${1:-localhost}"
readonly lobar=10001
readonly grafana=472

[[ "$name" =~ ^[A-Za-z0-9.-]+$ ]] || { echo "secrets: $name is no name of a host" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo 'secrets: run it as root, which gives the files away' >&2; exit 77; }
umask 077
mkdir -p secrets
chmod 711 secrets # whoever reads a file in it has to be its owner

keep() { # FILE OWNER: what standard input has, unless FILE is there
    if [ -e "secrets/$1" ]; then
        cat >/dev/null
    else
        cat >"secrets/$1"
        chown "$2:$2" "secrets/$1"
        chmod 400 "secrets/$1"
        echo "secrets: made secrets/$1"
    fi
}

password() { openssl rand -hex 24; }

password | keep ledger_password "$lobar"
password | keep redis_password "$lobar"
password | keep grafana_password "$grafana"
keep valkey_configuration "$lobar" <<END
bind * -::*
port 6379
dir /data
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
requirepass $(cat secrets/redis_password)
END

if [ ! -e secrets/proxy_key ] && [ ! -e secrets/proxy_certificate ]; then
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 365 \
        -subj "/CN=$name" -addext "subjectAltName=DNS:$name" \
        -keyout "$work/key" -out "$work/certificate" 2>/dev/null
    keep proxy_key "$lobar" <"$work/key"
    keep proxy_certificate "$lobar" <"$work/certificate"
fi
