#!/usr/bin/env bash
# Installs what the tests in tests/vm need and fetches the distribution's kernel: needs root or
# sudo, and a network. The tests themselves need neither.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tools/packages.sh
source "$root/tools/packages.sh"

if [[ ${1:-} == --help ]]; then
  cat <<'HELP'
Usage: tests/vm/prepare.sh

Installs QEMU, busybox and cpio where they are missing, downloads the kernel package of the
distribution (about 30 MB) and unpacks its kernel into $PINION_VM_KERNEL_DIR (default: build/vm in
the repository); likewise the larger kernel that has RDMA, with the modules for it, into the folder
"rdma" there (about 70 MB). Does nothing when both are there. Exit status 77: this system cannot.
HELP
  exit 0
fi

folder=${PINION_VM_KERNEL_DIR:-$root/build/vm}
if [[ $(uname -m) != x86_64 ]]; then
  say "the virtual machines are x86_64 only; this is $(uname -m)"
  exit 77
fi
install_packages "${pinion_vm_packages[@]}"
# Whether the larger kernel is there, with the last of the modules that a test began to need.
has_rdma() {
  [[ -e $folder/rdma/vmlinuz && -n $(find "$folder/rdma/modules" -name virtio_net.ko) ]]
}
if [[ -e $folder/vmlinuz ]] && has_rdma; then
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# unpack <folder> <package>...: downloads the kernel that the first known package stands for.
unpack() {
  local kernel='' package
  for package in "${@:2}"; do
    kernel=$(apt-cache depends "$package" 2>/dev/null |
      awk '/Depends: linux-image-[0-9]/ { print $2; exit }') || true
    [[ -z $kernel ]] || break
  done
  if [[ -z $kernel ]]; then
    say "no kernel package is known to apt; run apt-get update"
    exit 77
  fi
  mkdir -p "$1"
  (cd "$1" && apt-get --quiet download "$kernel" && dpkg -x "$kernel"_*.deb kernel)
  say "unpacked $kernel"
}

# The small kernels for virtual machines, as Debian and as Ubuntu name them.
if [[ ! -e $folder/vmlinuz ]]; then
  unpack "$work/small" linux-image-cloud-amd64 linux-image-virtual
  mkdir -p "$folder"
  cp "$work"/small/kernel/boot/vmlinuz-* "$folder/vmlinuz.new"
  mv "$folder/vmlinuz.new" "$folder/vmlinuz"
fi

# The modules that the machine with RDMA loads, and what these need.
if ! has_rdma; then
  unpack "$work/large" linux-image-amd64 linux-image-generic
  tree=$work/large/kernel
  version=$(ls "$tree/lib/modules")
  busybox depmod -b "$tree" "$version"
  modules=$folder/rdma/modules/lib/modules/$version
  rm -rf "$folder/rdma"
  mkdir -p "$modules"
  for module in veth crc32_generic rdma_rxe rdma_ucm sch_netem virtio_net virtio_pci; do
    grep "/$module\.ko:" "$tree/lib/modules/$version/modules.dep" || {
      say "the kernel $version has no module $module"
      exit 77
    }
  done | tr --squeeze-repeats ': ' '\n' | sort --unique | while read -r file; do
    mkdir -p "$modules/$(dirname "$file")"
    cp "$tree/lib/modules/$version/$file" "$modules/$file"
  done
  busybox depmod -b "$folder/rdma/modules" "$version"
  cp "$tree"/boot/vmlinuz-* "$folder/rdma/vmlinuz"
fi
say "the kernels are $folder/vmlinuz and $folder/rdma/vmlinuz"
