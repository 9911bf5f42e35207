#!/bin/sh
# Hosts that are broken for real, one way after the other, and what the doctor says of each: exactly that. Runs in a
# machine whose devices are not bound. The first argument says which part. Prints a line a case, as Rust's test runners
# do; with $CAPTURE set, each host is captured, too, between lines that say so.

failures=0

# verdict NAME GOOD OUTPUT
verdict() {
    if [ "$2" = yes ]; then
        echo "test $1 ... ok"
    else
        echo "$3"
        echo "test $1 ... FAILED"
        failures=$((failures + 1))
    fi
}

# found NAME CODES STATUS COMMAND...: the diagnoses that are made, and no other.
found() {
    name=$1 codes=$2 status=$3
    shift 3
    output=$("$@" 2>&1)
    answered=$?
    said=$(printf '%s\n' "$output" | sed -n 's/^\(VFIO-[0-9]*\) .*/\1/p' | tr '\n' ' ')
    good=no
    [ "$answered" = "$status" ] && [ "${said% }" = "$codes" ] && good=yes
    verdict "$name: ${codes:-nothing}" "$good" "status $answered, $said: $output"
    keep "$name"
}

# keep NAME: the host as it is now, for somebody who asks for it.
keep() {
    [ -n "$CAPTURE" ] || return 0
    file=$(echo "$1" | tr ' ' '-' | tr -d "'")
    echo "capture $file"
    $AS_USER vfioctl capture - 2>/dev/null | base64
    echo "captured $file"
}

bind() {
    for bdf in "$@"; do
        vfioctl bind "$bdf" >/dev/null || echo "cannot bind $bdf"
    done
}

unbind() {
    for bdf in "$@"; do
        vfioctl unbind "$bdf" >/dev/null || echo "cannot unbind $bdf"
    done
}

node_of() {
    echo "/dev/vfio/$(basename "$(readlink "/sys/bus/pci/devices/$1/iommu_group")")"
}

# The first two are functions of one device, the third and the fourth are alone in their groups, and the last two share
# one behind a bridge.
healthy_kernel() {
    echo 'somebody:x:1000:1000::/:/bin/sh' >>/etc/passwd
    found "not bound" VFIO-09 1 vfioctl doctor "$BDF3"
    echo vfio-pci >"/sys/bus/pci/devices/$BDF3/driver_override"
    found "meant and not bound" VFIO-16 1 vfioctl doctor "$BDF3"
    echo >"/sys/bus/pci/devices/$BDF3/driver_override"
    bind "$BDF3"
    found "healthy" "" 0 vfioctl doctor "$BDF3"
    bind "$BDF"
    found "not viable" VFIO-02 1 vfioctl doctor "$BDF"
    bind "$BDF2"
    found "viable" "" 0 vfioctl doctor "$BDF"

    bind "$BDF5" "$BDF6"
    found "behind a bridge" VFIO-03 0 vfioctl doctor "$BDF5"
    vfioctl watch --changes 2 >/root/watched &
    until grep -q watching: /root/watched; do :; done
    bind "$BDF4"
    wait $!
    verdict "watch: a driver and a node" "$(grep -q "$BDF4  no driver in group .* -> vfio-pci in group" /root/watched &&
        grep -q "$(node_of "$BDF4")  came: mode 0600" /root/watched && echo yes)" "$(cat /root/watched)"
    found "no reset" VFIO-11 0 vfioctl doctor "$BDF4"

    limit=/sys/module/vfio_iommu_type1/parameters/dma_entry_limit
    before=$(cat $limit)
    echo 100 >$limit
    found "few mappings" VFIO-15 0 vfioctl doctor "$BDF3"
    echo "$before" >$limit

    node=$(node_of "$BDF3")
    exec 9<>"$node"
    found "busy" VFIO-10 1 vfioctl doctor "$BDF3"
    exec 9>&-

    ulimit -l unlimited
    AS_USER="su somebody -c"
    as_user() { su somebody -c "$*"; }
    AS_USER=as_user
    found "another's node" VFIO-08 1 as_user vfioctl doctor "$BDF3"
    chown somebody "$node"
    found "the user's node" "" 0 as_user vfioctl doctor "$BDF3"
    ulimit -l 1024
    found "little memory" VFIO-04 0 as_user vfioctl doctor "$BDF3"
    AS_USER=

    unbind "$BDF" "$BDF2" "$BDF3" "$BDF4" "$BDF5" "$BDF6"
    rmmod vfio_pci && rmmod vfio_pci_core && rmmod vfio_iommu_type1 && rmmod vfio
    found "not loaded" VFIO-09 1 vfioctl doctor "$BDF3"
    # Nothing was loaded by asking.
    verdict "a query loads no module" "$([ -e /sys/module/vfio ] && echo no || echo yes)" "vfio is loaded"
}

case $1 in
    healthy) healthy_kernel ;;
    no-remapping)
        bind "$BDF"
        found "no remapping" VFIO-05 1 vfioctl doctor "$BDF"
        ;;
    no-iommu) found "no IOMMU" VFIO-01 1 vfioctl doctor "$BDF" ;;
    39-bits)
        bind "$BDF"
        found "a large guest" VFIO-14 1 vfioctl doctor "$BDF" --guest-memory 1T
        found "a guest that fits" "" 0 vfioctl doctor "$BDF" --guest-memory 16G
        ;;
    no-windows)
        bind "$BDF"
        found "no windows" "VFIO-19" 0 vfioctl doctor "$BDF"
        ;;
    windows)
        bind "$BDF"
        found "windows" "" 0 vfioctl doctor "$BDF"
        ;;
    virtual-function)
        bind "$BDF"
        echo 1 >"/sys/bus/pci/devices/$BDF/sriov_numvfs"
        vf=$(basename "$(readlink "/sys/bus/pci/devices/$BDF/virtfn0")")
        bind "$vf"
        found "a token" VFIO-18 0 vfioctl doctor "$vf"
        ;;
esac
[ "$failures" = 0 ]
