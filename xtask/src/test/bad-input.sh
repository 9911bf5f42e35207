#!/bin/sh
# What vfioctl says and answers when something is wrong, each thing produced for real. Runs in a machine
# whose devices are not bound: $BDF and $BDF2 share a group, $BDF2 has a driver of the kernel's own, and
# $BDF3 is alone in its group.

. /root/expect.sh

bind() {
    echo vfio-pci >"/sys/bus/pci/devices/$1/driver_override"
    echo "$1" >/sys/bus/pci/drivers_probe
}

idle() {
    [ -z "$(ls -l /proc/[0-9]*/fd 2>/dev/null | grep /dev/vfio)" ]
}

node3=/dev/vfio/$(group_of "$BDF3")

expect malformed 2 "is not a PCI address" vfioctl selftest 00:99.9
expect absent 1 "is not there" vfioctl selftest 0fff:00:00.0
expect unbound 1 "VFIO-09" vfioctl selftest "$BDF3"
expect "nothing to verify with" 1 "bind a device" vfioctl probe --verify
expect "verify: absent group" 1 "group 9999 is not there" vfioctl probe --verify=9999
expect "verify: unbound group" 1 "$BDF3 (no driver)" vfioctl probe --verify="${node3##*/}"
bind "$BDF"
bind "$BDF3"
expect "not viable" 1 "$BDF2 (nvme)" vfioctl selftest "$BDF"
expect "not viable, what to do" 1 "vfioctl bind $BDF2" vfioctl selftest "$BDF"
expect healthy 0 "ok  release" vfioctl selftest "$BDF3"

exec 9<>"$node3"
expect "busy" 4 "VFIO-10" vfioctl selftest "$BDF3"
expect "busy, who it is" 4 "(process $$)" vfioctl selftest "$BDF3"
expect "verify: busy" 4 "VFIO-10" vfioctl probe --verify
expect "verify: busy, the report all the same" 4 "verified_with_group" \
    vfioctl probe --json --verify="${node3##*/}"
exec 9>&-
expect "verify: idle again" 0 "verified with group ${node3##*/}" vfioctl probe --verify

echo 'somebody:x:1000:1000::/:/bin/sh' >>/etc/passwd
expect "not permitted" 3 "VFIO-08" su somebody -c "vfioctl selftest $BDF3"
chown somebody "$node3"
expect "as the node's owner" 0 "ok  release" su somebody -c "vfioctl selftest $BDF3"
expect "unprivileged probe" 0 "advertised" su somebody -c "vfioctl probe"

mv "$node3" /dev/hidden
expect "no node" 4 "$node3 is not there" vfioctl selftest "$BDF3"
mv /dev/hidden "$node3"
mv /dev/vfio/vfio /dev/hidden
expect "no container node" 1 "VFIO-09" vfioctl selftest "$BDF3"
mv /dev/hidden /dev/vfio/vfio

expect "healthy again" 0 "ok  release" vfioctl selftest "$BDF3"
expect "nothing left open" 0 "" idle
[ "$failures" = 0 ]
