#!/bin/sh
# What `vfioctl bind` does with a group, and what it refuses. $BDF and $BDF2 are NVMe disks in a group with the bridge
# that they are behind, $BDF3 is a network interface, and in slot 1c is a physical function of SR-IOV.

. /root/expect.sh

bridge=$(basename "$(dirname "$(readlink -f "/sys/bus/pci/devices/$BDF")")")
disk_of "$BDF" >/dev/null
disk_of "$BDF2" >/dev/null
before=$(bindings)

as_before() {
    [ "$(bindings)" = "$before" ] && [ -z "$(ls -A /run/vfioctl 2>/dev/null)" ]
}

expect "a sibling in the way" 0 "$BDF2 (nvme): vfioctl bind $BDF2" vfioctl bind "$BDF"
expect "not viable yet" 1 "VFIO-02" vfioctl selftest "$BDF"
vfioctl unbind "$BDF" >/dev/null
expect "a group" 0 "$BDF2  nvme -> vfio-pci" vfioctl bind --group "$BDF"
expect "a group, in use" 0 "ok  release" vfioctl selftest "$BDF"
expect "a group comes back" 0 "$BDF2  vfio-pci -> nvme" vfioctl unbind "$BDF" "$BDF2"
expect "a group is as it was" 0 "" as_before
expect "a bridge" 1 "is a bridge" vfioctl bind "$bridge"

interface=$(ls "/sys/bus/pci/devices/$BDF3/"virtio*/net)
ip link set "$interface" up
ip address add 10.1.2.3/24 dev "$interface"
expect "a route" 1 "a route is over its interface $interface" vfioctl bind "$BDF3"
ip route add default via 10.1.2.1
expect "the default route" 1 "the default route is over its interface $interface" vfioctl bind "$BDF3"
ip address flush dev "$interface"
ip link set "$interface" down
expect "no route" 0 "virtio-pci -> vfio-pci" vfioctl bind "$BDF3"
expect "a network comes back" 0 "vfio-pci -> virtio-pci" vfioctl unbind "$BDF3"

physical=0000:00:1c.0
echo 0 >"/sys/bus/pci/devices/$physical/sriov_drivers_autoprobe"
echo 1 >"/sys/bus/pci/devices/$physical/sriov_numvfs"
before=$(bindings)
expect "virtual functions" 1 "a virtual function, which would go" vfioctl bind "$physical"
# The driver of NVMe leaves them, and vfio-pci takes no device that has some.
expect "a bind that does not take" 1 "VFIO-16 bind-did-not-take" vfioctl bind --force "$physical"
expect "a bind that does not take, and everything is as it was" 0 "" as_before
expect "one of several that does not take" 1 "everything is as it was" vfioctl bind --force "$BDF" "$BDF2" "$physical"
expect "one of several, and all are as they were" 0 "" as_before
expect "the kernel's log says why" 0 "Cannot bind to PF with SR-IOV enabled" dmesg
[ "$failures" = 0 ]
