#!/usr/bin/env bash
# Boots a real kernel, with several NUMA nodes or with RDMA, in QEMU and runs one program in it. Its
# file system is in memory: busybox and the given programs with the libraries that they load.
set -euo pipefail

if [[ ${1:-} == --help || $# -lt 3 ]]; then
  cat <<'HELP'
Usage: tests/vm/boot.sh MACHINE KERNEL PROGRAM [FILE...]

MACHINE   two: two nodes of 2 CPUs and 512 MiB; control groups of version 2
          four: two nodes as above, one with 512 MiB and no CPU, one with 2 CPUs and no memory; a
          network adapter at node 1; control groups of version 1
          rdma: one node of 2 CPUs and 1536 MiB; rxe0, RDMA in software over the network
          10.77.0.0/24 of veth0, where the machine is 10.77.0.1
          rdma-pair: two machines as that, 10.77.0.1 and 10.77.0.2, with a cable between their
          eth0, of which each loses 1 % of what it sends. PROGRAM runs in the first; in the second,
          whoever connects to port 2222 and sends a line has that command run, with the rest as its
          input
KERNEL    a Linux kernel image; for RDMA the folder "modules" beside it has the modules
PROGRAM   runs as root of the machine with PINION_VM_MACHINE=MACHINE; it and every FILE lie in /test

Prints what the program prints. Exit status: the program's; 77, with the reason, where there is no
QEMU or no kernel; 124 when it did not end in $PINION_VM_SECONDS (default 240).
HELP
  exit 64
fi
machine=$1 kernel=$2
shift 2

skip() {
  echo "skipped: $*; run tests/vm/prepare.sh" >&2
  exit 77
}
for command in qemu-system-x86_64 busybox cpio; do
  command -v "$command" >/dev/null || skip "$command is not installed"
done
[[ -r $kernel ]] || skip "there is no kernel $kernel"

arguments=(-machine q35 -accel "${PINION_VM_ACCELERATOR:-tcg}" -cpu max -nodefaults -nographic
  -serial stdio -no-reboot)
with() {
  arguments+=("$@")
}
# node NUMBER [cpus=FIRST-LAST] [memory]
node() {
  local node="node,nodeid=$1" word
  for word in "${@:2}"; do
    if [[ $word == memory ]]; then
      with -object "memory-backend-ram,id=memory$1,size=512M"
      word=memdev=memory$1
    fi
    node+=,$word
  done
  with -numa "$node"
}
# distances FROM TO VALUE...: to the nodes TO, TO + 1, ...
distances() {
  local from=$1 to=$2 value
  for value in "${@:3}"; do
    with -numa "dist,src=$from,dst=$to,val=$value"
    to=$((to + 1))
  done
}
case $machine in
  two)
    with -m 1024 -smp "4,sockets=2,cores=2"
    node 0 cpus=0-1 memory
    node 1 cpus=2-3 memory
    distances 0 1 21
    ;;
  four)
    with -m 1536 -smp "6,sockets=3,cores=2"
    node 0 cpus=0-1 memory
    node 1 cpus=2-3 memory
    node 2 memory
    node 3 cpus=4-5
    distances 0 1 21 31 21
    distances 1 2 17 31
    distances 2 3 41
    with -device "pxb-pcie,id=bridge,bus_nr=64,numa_node=1,bus=pcie.0"
    with -device "pcie-root-port,id=slot1,bus=bridge,chassis=1"
    with -device "e1000e,bus=slot1,romfile="
    ;;
  rdma | rdma-pair)
    with -m 1536 -smp 2
    [[ -d $(dirname "$kernel")/modules ]] || skip "there are no modules beside $kernel"
    for command in ip rdma tc; do
      command -v "$command" >/dev/null || skip "$command is not installed"
    done
    ;;
  *)
    echo "unknown machine '$machine'; it must be two, four, rdma or rdma-pair" >&2
    exit 64
    ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
mkdir -p "$tree"/{dev,proc,sys,tmp,test} "$tree"/usr/{bin,lib,lib64,sbin}
for folder in bin lib lib64 sbin; do  # Libraries are found by either name.
  ln -s "usr/$folder" "$tree/$folder"
done
cp "$(command -v busybox)" "$tree/bin/busybox"
cp "$(dirname "${BASH_SOURCE[0]}")/init.sh" "$tree/init"
cp "$@" "$tree/test/"
for file in "$tree"/test/*; do  # What debuggers read would fill the memory of a node.
  if [[ $(head --bytes=4 "$file" | tail --bytes=3) == ELF ]]; then
    strip --strip-debug "$file"
  fi
done
printf '%s\n' "$machine" "/test/$(basename "$1")" "$(command -v ip)" "$(command -v tc)" \
  >"$tree/test/plan"
# What is looked for at run time lies in the machine where it lies here.
in_place=()
if [[ $machine == rdma* ]]; then
  # All of the list is read: ldconfig would fail if somebody went before its end.
  libraries=$(ldconfig -p | awk '/libucp\.so\.0 / { found = $NF } END { print found }')
  [[ -n $libraries ]] || skip "UCX is not installed"
  libraries=$(dirname "$libraries")
  in_place=("$libraries/libucp.so.0" "$libraries"/ucx/libuct_{ib,rdmacm}.so{,.0}
    "$libraries"/libibverbs/librxe-*.so /etc/libibverbs.d/rxe.driver
    "$(command -v ip)" "$(command -v rdma)" "$(command -v tc)")
  for file in "${in_place[@]}"; do
    [[ -e $file ]] || skip "there is no $file"
    mkdir -p "$tree$(dirname "$file")"
    cp --dereference "$file" "$tree$file"
  done
  cp --recursive "$(dirname "$kernel")/modules/lib/modules" "$tree/lib/modules"
fi
# The libraries where the programs look for them, the loader included; none for scripts and texts.
for file in "$@" "${in_place[@]}"; do
  ldd "$file" 2>/dev/null | grep --only-matching '/[^ ]*' || true
done | sort --unique | while read -r library; do
  mkdir -p "$tree$(dirname "$library")"
  cp --dereference "$library" "$tree$library"
done
(cd "$tree" && find . | cpio --quiet --create --format=newc --owner=0:0 | gzip -1) \
  >"$work/initrd.gz"

# boot HOST [OPTION]...: the machine, which knows itself as number HOST. Its kernel would give up a
# timer that ticks too late when it is tried, which one of an emulator on a busy machine does.
boot() {
  exec timeout --foreground "${PINION_VM_SECONDS:-240}" qemu-system-x86_64 "${arguments[@]}" \
    -kernel "$kernel" -initrd "$work/initrd.gz" \
    -append "console=ttyS0 quiet panic=-1 no_timer_check init=/init rdinit=/init pinion_host=$1" \
    "${@:2}" </dev/null
}
# boot_at_cable OWN OTHER: as boot, at one end of the cable.
boot_at_cable() {
  local ends="local.type=unix,local.path=$work/end$1,remote.type=unix,remote.path=$work/end$2"
  boot "$1" -netdev "dgram,id=cable,$ends" \
    -device "virtio-net-pci,netdev=cable,mac=52:54:00:77:00:0$1,romfile="
}
status=0
if [[ $machine == rdma-pair ]]; then
  (boot_at_cable 2 1) >"$work/serial2" 2>"$work/errors2" &
  second=$!
  trap 'kill "$second" 2>/dev/null || true; wait "$second" || true; rm -rf "$work"' EXIT
  (boot_at_cable 1 2) >"$work/serial" 2>"$work/errors" || status=$?
else
  (boot 1) >"$work/serial" 2>"$work/errors" || status=$?
fi
tr --delete '\r' <"$work/serial" >"$work/output"
sed '1,/^VM-BEGIN$/d; /^VM-END /,$d' "$work/output"
if ((status == 124)); then
  echo "the machine did not end in ${PINION_VM_SECONDS:-240} s; its last lines:" >&2
  tail -n 20 "$work/output" >&2
  exit 124
fi
answer=$(sed --quiet 's/^VM-END \([0-9]*\)$/\1/p' "$work/output" | tail -n 1)
if [[ -z $answer ]]; then
  echo "the machine ended before the program did (QEMU: $status); its last lines:" >&2
  tail -n 20 "$work/errors" "$work/output" >&2
  exit 70
fi
exit "$answer"
