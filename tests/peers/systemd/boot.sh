#!/usr/bin/env bash
# Boot systemd in namespaces of its own, over a copy-on-write view of a root file system.
# boot.sh FOLDER ROOT: FOLDER/share becomes /share there; FOLDER/binds has lines "SOURCE TARGET",
# mounted read-only; FOLDER/tree is copied over the root; FOLDER/pid gets its process id.
# Ends with systemd. Nothing outside FOLDER changes; the cgroup is removed at the end.
set -euo pipefail
umask 022

outer() {
    local cgroups="$folder/cgroups" own status=0
    mount -t cgroup2 cgroup2 "$cgroups"
    own="$cgroups/lobar-tests-$$"
    mkdir "$own"
    # what systemd left in its cgroup is empty once it has ended
    trap 'echo $$ >"$cgroups/cgroup.procs"; find "$own" -depth -type d -exec rmdir {} +' EXIT
    echo $$ >"$own/cgroup.procs"
    # it dies with this script, which dies with pytest
    container=lobar-tests setpriv --pdeathsig KILL unshare --cgroup --mount --net --uts --ipc --pid --fork \
        --kill-child=KILL bash "${BASH_SOURCE[0]}" "$folder" "$lower" inner || status=$?
    # a halt of systemd ends its namespace as SIGINT or SIGHUP would
    [ "$status" -ge 128 ] || exit "$status"
}

inner() {
    local pid _ root="$folder/root"
    read -r pid _ </proc/self/stat # by the outer /proc
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$folder/changes"
    mkdir "$folder/changes/upper" "$folder/changes/work"
    mount -t overlay -o "lowerdir=$lower,upperdir=$folder/changes/upper,workdir=$folder/changes/work" \
        overlay "$root"
    own_file_systems "$root"
    rm -rf "$root"/etc/systemd/system/* "$root/etc/machine-id"
    echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
    cp -rL --no-preserve=ownership "$folder/tree/." "$root/"
    bind "$folder/share" "$root/share"
    while read -r source target; do
        bind "$source" "$root$target" ro
    done <"$folder/binds"
    cd "$root"
    mkdir -p before
    pivot_root . before
    umount --lazy /before
    mount --make-rshared / # as systemd expects of what starts it in a container
    echo "$pid" >/share/pid
    exec chroot . /lib/systemd/systemd --system --unit=tests.target --log-target=null \
        --show-status=no </dev/null
}

own_file_systems() {
    local device
    mount -t proc proc "$1/proc"
    mount -t sysfs -o ro sysfs "$1/sys"
    mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$1/run"
    mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
    mount -t tmpfs -o mode=755 tmpfs "$1/dev"
    mkdir "$1/dev/pts" "$1/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$1/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
    ln -s pts/ptmx "$1/dev/ptmx"
    ln -s /proc/self/fd "$1/dev/fd"
    for device in null zero full random urandom tty; do
        bind "/dev/$device" "$1/dev/$device"
    done
}

bind() {
    if [ -d "$1" ]; then mkdir -p "$2"; else touch "$2"; fi
    mount --rbind "$1" "$2"
    [ "${3:-}" != ro ] || mount -o remount,bind,ro "$2"
}

folder=$1
lower=$2
"${3:-outer}"
