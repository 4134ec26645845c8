#!/bin/bash
# Process 1 of a machine that is only a set of namespaces (hosts.py): gives it disks, accounts and sshd of its own, waits
# and reaps. KIND=host has a `~/spiketune` to which code must travel; any other kind sees the checkout, read-only.
set -eu
hostname "$NAME"
mount --make-rprivate /

host_key=$(cat "$HOST_KEY")
# What we need may lie below what we cover, so it is held elsewhere first.
mount -t tmpfs -o mode=755 tmpfs /mnt
hold() {
    mkdir "/mnt/$1"
    mount --rbind "$2" "/mnt/$1"
}
hold disk "$DISK"
hold shared "$SHARED"
hold venv "$VENV"
hold python "$PYTHON_HOME"
hold checkout "$CHECKOUT"
for covered in /root /home /srv /run /dev/shm; do
    mount -t tmpfs -o mode=755 tmpfs $covered
done
chmod 1777 /dev/shm
rm -rf /mnt/disk/tmp && mkdir -p -m 1777 /mnt/disk/tmp && chmod 1777 /mnt/disk/tmp # as after any power cut
mount --bind /mnt/disk/tmp /tmp

read_only() {
    mkdir -p "$2"
    mount --rbind "$1" "$2"
    mount -o remount,bind,ro "$2"
}
[ -x "$PYTHON_HOME/bin/python3" ] || read_only /mnt/python "$PYTHON_HOME"
mkdir -p "/home/$OWNER"
mount --bind /mnt/disk/home "/home/$OWNER"

if [ "$KIND" = host ]; then
    mkdir /srv/shared
    mount --bind /mnt/shared /srv/shared
    # The installation is the one that the tests run with, as if `./environment.sh cluster` had made it here. Its scripts
    # and its finder name the checkout's path: there, too, lies what was sent to this host and nothing else.
    project=/home/$OWNER/spiketune
    mkdir -p "$project/.venv"
    for part in /mnt/venv/*; do
        if [ -L "$part" ] || [ -f "$part" ]; then cp -P "$part" "$project/.venv"; else read_only "$part" "$project/.venv/${part##*/}"; fi
    done
    version=$("$project/.venv/bin/python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3], sys.base_prefix)')
    for stamp in runtime cluster; do
        echo "$version in $project" >"$project/.venv/$stamp.stamp"
    done
    chown "$OWNER_ID:$OWNER_ID" "$project" "$project/.venv"
    mkdir -p "$CHECKOUT"
    mount --rbind "$project" "$CHECKOUT"
else
    read_only /mnt/checkout "$CHECKOUT"
    [ -x "$VENV/bin/python" ] || read_only /mnt/venv "$VENV"
fi
umount -l /mnt

mkdir -p /run/etc /run/sshd
for file in passwd group shadow; do
    cp /etc/$file /run/etc/$file
done
echo "$OWNER:x:$OWNER_ID:$OWNER_ID::/home/$OWNER:/bin/bash" >>/run/etc/passwd
echo "$OWNER:x:$OWNER_ID:" >>/run/etc/group
echo "$OWNER:*:19000::::::" >>/run/etc/shadow # no password, yet not locked: keys open it
echo "$HOSTS_FILE" >/run/etc/hosts
: >/run/etc/resolv.conf
for file in passwd group shadow hosts resolv.conf; do
    mount --bind /run/etc/$file /etc/$file
done

ip link set lo up
until ip -4 addr show eth0 2>/dev/null | grep -q inet; do sleep 0.05; done # whoever started us plugs the cable in
if [ "$KIND" = host ]; then
    (umask 077 && echo "$host_key" >/run/host_key)
    cat >/run/sshd_config <<END
ListenAddress $ADDRESS
HostKey /run/host_key
PidFile none
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxStartups 100
MaxSessions 100
SetEnv $SET_ENV
Subsystem sftp internal-sftp
END
    /usr/sbin/sshd -D -e -f /run/sshd_config &
fi
touch /run/ready
trap 'exit 0' TERM
while :; do
    sleep 3600 &
    wait -n || true
done
