# For scripts that run in a machine of the lab: prints a line a case, as Rust's test runners do.

failures=0

# expect NAME STATUS WORDS COMMAND...: the exit status, and words that the output must have.
expect() {
    name=$1 status=$2 words=$3
    shift 3
    output=$("$@" 2>&1)
    answered=$?
    if [ "$answered" = "$status" ] && printf '%s\n' "$output" | grep -qF -- "$words"; then
        echo "test $name ... ok"
    else
        echo "status $answered instead of $status, or not \"$words\", in: $output"
        echo "test $name ... FAILED"
        failures=$((failures + 1))
    fi
}

# The driver that a device has.
driver_of() {
    link=$(readlink "/sys/bus/pci/devices/$1/driver")
    echo "${link##*/}"
}

group_of() {
    basename "$(readlink "/sys/bus/pci/devices/$1/iommu_group")"
}

# The disk of an NVMe controller, when the kernel has found it. Multipath has it elsewhere.
disk_of() {
    until name=$(ls "/sys/bus/pci/devices/$1/nvme/"*/ 2>/dev/null | grep -E '^nvme[0-9]+(c[0-9]+)?n[0-9]+$') &&
        disk=/dev/$(echo "$name" | sed 's/c[0-9]*n/n/') && [ -b "$disk" ]; do :; done
    echo "$disk"
}

# What sysfs says of the binding of every device.
bindings() {
    for device in /sys/bus/pci/devices/*; do
        echo "${device##*/} $(readlink "$device/driver") $(cat "$device/driver_override")"
    done
}
