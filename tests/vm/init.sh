#!/bin/busybox sh
# shellcheck shell=dash
# The first process of the virtual machine: mounts, runs the program that /test/plan names, and
# switches off.
/bin/busybox --install -s /bin
export PATH=/bin:/usr/sbin:/usr/bin:/sbin TMPDIR=/tmp HOME=/tmp LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
ip link set lo up
{
  read -r PINION_VM_MACHINE
  read -r program
  read -r ip  # Those of busybox, which have the short names here, know less.
  read -r tc
} </test/plan
export PINION_VM_MACHINE
load_rdma() {
  for module in crc32_generic rdma_rxe rdma_ucm sch_netem "$@"; do
    modprobe "$module"
  done
  # Of the addresses of rxe0 that by IPv4: UCX chooses by what real adapters say of theirs.
  export UCX_IB_GID_INDEX=1
}

# Runs the commands of the other machine.
serve() {
  cat >/tmp/serve <<'END'
#!/bin/sh
read -r command
exec $command
END
  chmod +x /tmp/serve
  nc -ll -p 2222 -e /tmp/serve
}

if [ "$PINION_VM_MACHINE" = rdma ]; then
  load_rdma veth
  "$ip" link add veth0 type veth peer name veth1
  "$ip" addr add 10.77.0.1/24 dev veth0
  "$ip" link set veth0 up
  "$ip" link set veth1 up
  rdma link add rxe0 type rxe netdev veth0
elif [ "$PINION_VM_MACHINE" = rdma-pair ]; then
  load_rdma virtio_pci virtio_net
  # rxe does not see that a packet of an answer is missing, but waits for its timer, of 1 s by UCX's
  # choice; what is behind the answer waits with it.
  export UCX_RC_TIMEOUT=30ms
  host=$(sed 's/.*pinion_host=\([0-9]*\).*/\1/' /proc/cmdline)
  hostname "host$host"
  "$ip" addr add "10.77.0.$host/24" dev eth0
  "$ip" link set eth0 up
  rdma link add rxe0 type rxe netdev eth0
  "$tc" qdisc add dev eth0 root netem loss 1%
  if [ "$host" = 2 ]; then
    cd /tmp && serve
  fi
  until nc -w 1 10.77.0.2 2222 </dev/null; do  # Until it serves; boot.sh bounds the time.
    sleep 1
  done
elif [ "$PINION_VM_MACHINE" = two ]; then
  mount -t cgroup2 cgroup /sys/fs/cgroup
else
  mount -t tmpfs cgroup /sys/fs/cgroup
  for controller in cpu cpuset memory; do
    mkdir "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
  done
fi
cd /tmp || exit 1
# The kernel's own lines would fall between those of the test.
dmesg -n 1
echo
echo VM-BEGIN
"$program"
echo "VM-END $?"
poweroff -f
