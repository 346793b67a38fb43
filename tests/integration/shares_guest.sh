#!/bin/busybox sh
# PID 1 of the guest of test_shares_guest.py: mounts what the host serves, says what it found.
/bin/busybox mkdir -p /sbin /usr/bin /usr/sbin /h /w /x
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
echo 1 > /proc/sys/kernel/printk
for module in /modules/*; do insmod "$module"; done
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
. /settings
umask 027

check() {
    name=$1
    shift
    if "$@"; then echo "CHECK $name ok"; else echo "CHECK $name failed: $*"; fi
}
is() { [ "$1" = "$2" ] || { echo "is '$1', not '$2'"; return 1; }; }
fails() { ! "$@" >/dev/null 2>&1; }
smb() { # TAG MOUNTPOINT LOG-IN
    mount -t cifs -o "unc=\\\\10.0.2.2\\$1,ip=10.0.2.2,port=$VB_SMB_PORT,$3,vers=1.0,iocharset=utf8" "//10.0.2.2/$1" "$2"
}
login="user=$VB_SMB_USER,pass=$VB_SMB_PASSWORD"

check mounted smb home /h "$login"
check no-password fails smb home /x sec=none
check wrong-password fails smb home /x "user=$VB_SMB_USER,pass=x$VB_SMB_PASSWORD"
check other-user fails smb home /x "user=root,pass=$VB_SMB_PASSWORD"
grep -q ' /h cifs ' /proc/mounts && cd /h || poweroff -f

check content is "$(sha256sum < input)" "$SUM  -"
check owner is "$(stat -c %u:%g input)" "$IDS"
check mode is "$(stat -c %a run.sh)" 750
check executable is "$(./run.sh)" 'it ran'
check link is "$(readlink link)" input
mkdir sub
echo 'from the guest' > sub/output
ln -s sub/output to-output
check new-link is "$(cat to-output)" 'from the guest'
ln sub/output hard
check hard-link is "$(stat -c %h hard)" 2
mkfifo pipe
check fifo [ -p pipe ]
touch modes
chmod 701 modes
check chmod is "$(stat -c %a modes)" 701
check umask is "$(stat -c %a sub/output)" 640
echo upper > Name
echo lower > name
check case is "$(cat Name name | tr '\n' ' ')" 'upper lower '
touch 'a:b*?"<>|\ ü.'
check odd-name is "$(echo a*)" 'a:b*?"<>|\ ü.'
truncate -s 5G large
echo end >> large
check large is "$(dd if=large bs=1M skip=5120 2>/dev/null)" end
exec 5> unlinked
rm unlinked
check unlinked sh -c 'echo text >&5'
exec 5>&-
mv -f Name name
check rename is "$(cat name)" upper
touch squashed
check root-squashed is "$(stat -c %u:%g squashed)" "$IDS"
check roots-file fails cat roots
ln -s /etc/hostname escape
check no-escape fails cat escape
mknod device b 8 0
check no-device fails cat device
smb work /w "$login"
cp input /w/copy
check second-share is "$(sha256sum < /w/copy)" "$SUM  -"
dd if=/dev/zero of=zeros bs=1M count=16 conv=fsync 2>/dev/null
check big-copy is "$(sha256sum < zeros)" "$(dd if=/dev/zero bs=1M count=16 2>/dev/null | sha256sum)"
cd /
umount /w
umount /h
poweroff -f
