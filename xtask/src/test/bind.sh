#!/bin/sh
# `vfioctl bind` and `unbind` on whichever kernel this is. $BDF and $BDF2 are NVMe disks that the kernel's own driver
# has; they may share a group.

. /root/expect.sh

own=$(driver_of "$BDF")
disk=$(disk_of "$BDF")
disk2=$(disk_of "$BDF2")
before=$(bindings)

as_before() {
    [ "$(bindings)" = "$before" ] && [ -z "$(ls -A /run/vfioctl 2>/dev/null)" ]
}

expect "its own driver has it" 0 nvme driver_of "$BDF"
expect "a dry run prints the writes" 0 "echo $BDF > /sys/bus/pci/drivers_probe" vfioctl bind --dry-run "$BDF"
expect "a dry run changes nothing" 0 "" as_before
echo 'somebody:x:1000:1000::/:/bin/sh' >>/etc/passwd
expect "not permitted" 3 "as root: vfioctl bind $BDF" su somebody -c "vfioctl bind $BDF"
expect "not permitted, and nothing changed" 0 "" as_before
expect "no such driver" 4 "modprobe mlx5_vfio_pci" vfioctl bind --driver mlx5_vfio_pci "$BDF"
expect "no such driver, and nothing changed" 0 "" as_before

mke2fs "$disk" >/dev/null 2>&1
mkdir -p /mnt
mount -t ext4 "$disk" /mnt
expect "mounted" 1 "is mounted at /mnt" vfioctl bind "$BDF"
expect "mounted, among others" 1 "is mounted at /mnt" vfioctl bind "$BDF2" "$BDF"
expect "mounted, and nothing changed" 0 "" as_before
umount /mnt
mkswap "$disk2" >/dev/null
swapon "$disk2"
expect "swap, by force" 1 "the host swaps to" vfioctl bind --force "$BDF2"
swapoff "$disk2"
exec 9<"$disk"
expect "open" 1 "(process $$) has $disk open" vfioctl bind "$BDF"
exec 9>&-

expect "bind" 0 "$BDF  $own -> vfio-pci  /dev/vfio/$(group_of "$BDF")" vfioctl bind "$BDF"
expect "bound" 0 vfio-pci driver_of "$BDF"
expect "what it had is written down" 0 "\"driver\":\"$own\"" cat "/run/vfioctl/$BDF"
expect "bind again" 0 "vfio-pci, as before" vfioctl bind "$BDF"
expect "the rest of its group" 0 "" vfioctl bind --group "$BDF"
expect "probe" 0 "ready       $BDF" vfioctl probe
expect "selftest" 0 "ok  release" vfioctl selftest "$BDF"

exec 9<>"/dev/vfio/$(group_of "$BDF")"
expect "unbind what is open" 1 "(process $$) has /dev/vfio/" vfioctl unbind "$BDF"
exec 9>&-
vfioctl unbind "$BDF2" >/dev/null
expect "unbind" 0 "$BDF  vfio-pci -> $own" vfioctl unbind "$BDF"
expect "unbind again" 0 "$own, as before" vfioctl unbind "$BDF"
expect "everything is as it was" 0 "" as_before
expect "its disk is there again" 0 /dev/nvme disk_of "$BDF"

vfioctl bind "$BDF" >/dev/null
rm "/run/vfioctl/$BDF"
expect "unbind without a record" 0 "$BDF  vfio-pci -> $own" vfioctl unbind "$BDF"
vfioctl bind "$BDF" >/dev/null
expect "json" 0 '"driver": "nvme"' vfioctl unbind --json "$BDF"
expect "everything is as it was at the end" 0 "" as_before
[ "$failures" = 0 ]
