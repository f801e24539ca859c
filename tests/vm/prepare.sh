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
the repository). Does nothing when the kernel is there. Exit status 77: this system cannot.
HELP
  exit 0
fi

folder=${PINION_VM_KERNEL_DIR:-$root/build/vm}
if [[ $(uname -m) != x86_64 ]]; then
  say "the virtual machines are x86_64 only; this is $(uname -m)"
  exit 77
fi
install_packages "${pinion_vm_packages[@]}"
if [[ -e $folder/vmlinuz ]]; then
  exit 0
fi

# The small kernels for virtual machines, as Debian and as Ubuntu name them.
kernel=
for package in linux-image-cloud-amd64 linux-image-virtual; do
  kernel=$(apt-cache depends "$package" 2>/dev/null |
    awk '/Depends: linux-image-[0-9]/ { print $2; exit }') || true
  [[ -z $kernel ]] || break
done
if [[ -z $kernel ]]; then
  say "no kernel package is known to apt; run apt-get update"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get --quiet download "$kernel" && dpkg -x "$kernel"_*.deb kernel)
mkdir -p "$folder"
cp "$work"/kernel/boot/vmlinuz-* "$folder/vmlinuz.new"
mv "$folder/vmlinuz.new" "$folder/vmlinuz"
say "the kernel of $kernel is $folder/vmlinuz"
