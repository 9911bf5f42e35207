#!/bin/sh
# `vfioctl bind --persist` over several boots of a machine with Debian's udev. $BDF is an NVMe disk, whose driver is built
# in, $BDF2 an AHCI controller, whose driver is a module, $BDF3 another NVMe disk, and $BDF4 the disk that has /etc.
# $1 says which boot it is.

. /root/expect.sh

export PATH=/sbin:/usr/sbin:/bin:/usr/bin

# Has udev see every device, as it does when a host starts.
coldplug() {
    /lib/systemd/systemd-udevd --daemon || exit
    udevadm trigger --type=subsystems --action=add
    udevadm trigger --type=devices --action=add
    udevadm settle --timeout=100
}

without_vfio() {
    busybox rmmod vfio_pci vfio_pci_core vfio_iommu_type1 vfio
}

modules=/lib/modules/$(uname -r)
mkdir -p /kept /run
if [ "$1" = first ]; then
    mke2fs /dev/vda >/dev/null 2>&1
    mount -t ext4 /dev/vda /kept
    mkdir /kept/etc /kept/modules
    # What each driver is for. By its path: the shell has a depmod of its own, which writes less.
    /sbin/depmod -a
    cp "$modules"/modules.* /kept/modules
else
    mount -t ext4 /dev/vda /kept
    cp /kept/modules/* "$modules"
fi
echo 'ID=debian' >/kept/etc/os-release
mount --bind /kept/etc /etc

case $1 in
first)
    without_vfio
    /sbin/modprobe ahci
    expect "its own module has it" 0 ahci driver_of "$BDF2"
    expect "the kept disk is in use" 1 "is mounted at /" vfioctl bind "$BDF4"
    expect "bind" 0 "update-initramfs -u" vfioctl bind --persist "$BDF" "$BDF2"
    expect "the module was loaded" 0 vfio_iommu_type1 lsmod
    expect "bound" 0 vfio-pci driver_of "$BDF"
    expect "written down for people" 0 "$BDF vfio-pci 1b36:0010" cat /etc/vfioctl/devices
    ;;
second)
    # Nothing of VFIO is loaded; its own driver was quicker with one, and would be loaded for the other.
    without_vfio
    expect "built in and quicker" 0 nvme driver_of "$BDF"
    coldplug
    expect "udev has loaded its driver" 0 ahci driver_of 0000:00:1f.2
    expect "the disk is VFIO's" 0 vfio-pci driver_of "$BDF"
    expect "the controller is VFIO's" 0 vfio-pci driver_of "$BDF2"
    expect "another disk is not" 0 nvme driver_of "$BDF3"
    expect "the disk works" 0 "ok  release" vfioctl selftest "$BDF"
    expect "the controller works" 0 "ok  release" vfioctl selftest "$BDF2"
    ;;
third)
    # All drivers are loaded before udev.
    /sbin/modprobe ahci
    expect "a module, and quicker" 0 ahci driver_of "$BDF2"
    coldplug
    expect "the disk is VFIO's" 0 vfio-pci driver_of "$BDF"
    expect "the controller is VFIO's" 0 vfio-pci driver_of "$BDF2"
    expect "it comes back until the next boot" 0 "unbind --persist $BDF" vfioctl unbind "$BDF"
    ;;
exchanged)
    # Another device is in the disk's slot.
    coldplug
    expect "another card is left alone" 0 "(null)" cat "/sys/bus/pci/devices/$BDF/driver_override"
    expect "the controller is VFIO's" 0 vfio-pci driver_of "$BDF2"
    expect "unbind" 0 "vfio-pci -> ahci" vfioctl unbind --persist "$BDF" "$BDF2"
    expect "nothing is left" 1 "No such file" ls /etc/vfioctl/devices /etc/udev/rules.d/10-vfioctl.rules
    ;;
undone)
    coldplug
    expect "the disk is the kernel's" 0 nvme driver_of "$BDF"
    expect "the controller is the kernel's" 0 ahci driver_of "$BDF2"
    ;;
esac
umount /etc /kept
[ "$failures" = 0 ]
