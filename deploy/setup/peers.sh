#!/usr/bin/env bash
# Install the programs that tests run as peers (a PACS, DCMTK, Redis, PostgreSQL, validators)
# where apt may do so. Starts no service. Without the right to install it says what is missing.
# Arguments are the packages to care about; without any, all of them.
set -euo pipefail

# program (or a file by its path), Debian package, what is not tested without it
readonly peers='
Orthanc          orthanc              storing reports in a real PACS
/usr/share/orthanc/plugins/libOrthancDicomWeb.so orthanc-dicomweb DICOMweb with a real PACS
chromium         chromium             what a person sees in a real viewer (OHIF)
npm              npm                  what a person sees in a real viewer (OHIF)
storescu         dcmtk                storing to and from DCMTK
ip               iproute2             the commands of the composition, each on a network of its own
nginx            nginx-light          the reverse proxy of the composition
buildah          buildah              building the image
mmdebstrap       mmdebstrap           building the image
gcc              gcc                  the receivers of the benchmark, made durable
/usr/include/stdio.h libc6-dev        the receivers of the benchmark, made durable
openssl          openssl              DICOMweb over TLS
node             nodejs               sign-in at a real OpenID provider
redis-server     redis-server         Redis itself (the wheel has Valkey)
initdb           postgresql           the ledger on PostgreSQL
dciodvfy         dicom3tools          the validity of reports (dciodvfy)
DicomSRValidator pixelmed-apps        the templates of reports (PixelMed)
java             default-jre-headless the templates of reports (PixelMed)
promtool         prometheus           the alert rules
amtool           prometheus-alertmanager alerts that reach a real Alertmanager
rsyslogd         rsyslog              the export of the audit trail to a real syslog server
/usr/lib/*/rsyslog/lmnsd_ossl.so rsyslog-openssl the export of the audit trail over TLS
systemd-analyze  systemd              the systemd units
fusermount3      fuse3                what a power cut loses (a file system of the tests)
jing             jing                 the schema of audit messages (PS3.15)
/usr/lib/*/faketime/libfaketimeMT.so.1 libfaketime steps of the wall clock
'
readonly units='orthanc redis-server postgresql prometheus prometheus-alertmanager rsyslog nginx'
readonly wanted=" $* "
readonly policy=/usr/sbin/policy-rc.d

say() { printf '==> %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# PATH without this project's environment, which has a storescu of its own, and with the folders
# an ordinary user's PATH lacks
search_path() {
    local own
    own="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/.venv/bin"
    printf '%s' "$PATH" | tr ':' '\n' | grep -vxF -e "$own" -e "${VIRTUAL_ENV:-$own}/bin" |
        tr '\n' ':'
    printf '/usr/sbin:/usr/bin'
    printf ':%s' /usr/lib/postgresql/*/bin
}

# a plugin is no program that type could find: it is not executable; its folder may be a pattern
is_there() {
    case "$1" in
        /*) compgen -G "$1" >/dev/null ;;
        *) PATH="$2" type -P "$1" >/dev/null ;;
    esac
}

missing_peers() {
    local program package purpose path
    path="$(search_path)"
    while read -r program package purpose; do
        [ "$wanted" = '  ' ] || [[ "$wanted" == *" $package "* ]] || continue
        if [ -n "$program" ] && ! is_there "$program" "$path"; then
            printf '%s %s %s\n' "$program" "$package" "$purpose"
        fi
    done <<<"$peers"
}

# The packages' scripts ask this program before they start a service; 101 forbids it.
forbid_starting_services() {
    if [ -e "$policy" ] || [ -L "$policy" ]; then
        return # somebody else decides here
    fi
    trap 'as_root rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

# Debian also arranges for the next boot, which no policy program prevents.
leave_off_at_boot() {
    local unit
    [ -d /run/systemd/system ] || return 0
    for unit in $units; do
        if grep -qxF "$unit" <<<"$1"; then
            as_root systemctl disable --quiet "$unit" || true
        fi
    done
}

install_peers() {
    local packages
    say "Installing: $(tr '\n' ' ' <<<"$1")"
    forbid_starting_services
    as_root apt-get -q -o DPkg::Lock::Timeout=120 update || return
    # one name that this distribution lacks must not keep the others away
    packages="$(for each in $1; do apt-cache show "$each" >/dev/null 2>&1 && echo "$each"; done)"
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
        install --no-install-recommends $packages || return
    leave_off_at_boot "$packages"
}

report_missing() {
    local program package purpose
    while read -r program package purpose; do
        printf 'peers: no %s, so not tested: %s\n' "$program" "$purpose"
    done <<<"$1"
    printf 'peers: to install: sudo apt-get install --no-install-recommends %s\n' \
        "$(cut -d ' ' -f 2 <<<"$1" | sort -u | tr '\n' ' ')"
}

missing="$(missing_peers)"
[ -n "$missing" ] || exit 0
if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
    install_peers "$(cut -d ' ' -f 2 <<<"$missing" | sort -u)" ||
        printf 'peers: apt could not install them; its messages are above\n' >&2
    missing="$(missing_peers)"
fi
[ -z "$missing" ] || report_missing "$missing"
