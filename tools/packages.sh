# shellcheck shell=bash
# What Pinion is built and checked with, as Debian 12 and Ubuntu 24.04 name it, and the few shell
# functions that tools/demo.sh, tools/test.sh and tools/nightly.sh share. Sourced, not run; the
# script that sources it sets root, the top of the repository.
# shellcheck disable=SC2034,SC2154  # The lists are read, and root is set, where this is sourced.

# Enough to configure and to build everything, tests included.
pinion_build_packages=(
  ccache cmake flatbuffers-compiler flatbuffers-compiler-dev g++ libboost-dev libcli11-dev
  libflatbuffers-dev libfmt-dev libgmock-dev libgtest-dev libhwloc-dev libhwy-dev librapidcheck-dev
  libpmix-dev libsodium-dev libspdlog-dev libtbb-dev libtomlplusplus-dev libucx-dev libxxhash-dev
  libzstd-dev ninja-build nlohmann-json3-dev pkgconf python3 zlib1g-dev
)

# What only the checks of a change need: a second compiler, the formatter, the documentation; and
# launchers and a remote shell, which tests run by themselves.
pinion_check_packages=(
  clang clang-format-14 doxygen gdb munge openmpi-bin openssh-client openssh-server shellcheck
  slurm-wlm
)

# What only the nightly run needs.
pinion_nightly_packages=(
  clang-tidy libacl1-dev libbenchmark-dev libiceoryx-posh-dev libopenmpi-dev libstarpu-dev
  libzmq3-dev
)

# What only the tests in virtual machines need; tests/vm/prepare.sh fetches their kernel too.
pinion_vm_packages=(busybox-static cpio qemu-system-x86)

pinion_script=$(basename "$0")

say() {
  printf '%s: %s\n' "$pinion_script" "$*" >&2
}

# phase <what it does> <command>...: says what comes, runs it without standard input, says how long
# it took. A command that fails ends the script with the command's status.
phase() {
  local text=$1 start=$SECONDS status=0
  shift
  say "$text ..."
  # errexit is off inside a condition, so a compound command must be a function that ends with ||.
  "$@" </dev/null || status=$?
  if ((status != 0)); then
    say "$text: FAILED with exit status $status after $((SECONDS - start)) s"
    exit "$status"
  fi
  say "$text: done in $((SECONDS - start)) s"
}

# The packages among the arguments that are not installed, one a line.
missing_packages() {
  local installed package
  installed=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
    awk '$2 == "installed" { print $1 }') || true
  for package in "$@"; do
    grep --quiet --line-regexp --fixed-strings -- "$package" <<<"$installed" ||
      printf '%s\n' "$package"
  done
}

# install_packages <package>...: installs what is missing, and calls neither apt nor sudo when
# nothing is.
install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "this is not a Debian or Ubuntu system; taken as installed: $*"
    return 0
  fi
  local -a missing as_root=()
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    return 0
  fi
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      say "these packages are missing, and installing them needs root: ${missing[*]}"
      say "run as root: apt-get install --no-install-recommends ${missing[*]}"
      return 77
    fi
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=300 --quiet update || return
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=300 --quiet --yes --no-install-recommends \
    install "${missing[@]}" || return
}

# configure <preset> [cmake option]...
configure() {
  local preset=$1
  shift
  (cd "$root" && cmake --preset "$preset" "$@")
}

# build <preset> [target]...
build() {
  local preset=$1
  shift
  local -a targets=()
  if (($# > 0)); then
    targets=(--target "$@")
  fi
  # Relative paths let another checkout of the same sources find what was compiled before.
  (cd "$root" && env CCACHE_BASEDIR="$root" CCACHE_NOHASHDIR=1 \
    cmake --build --preset "$preset" --parallel "$(nproc)" "${targets[@]}")
}

# The sanitizers of gcc 12 and 13 cannot map their shadow under the widest address randomisation
# (vm.mmap_rnd_bits=32, the default of newer kernels), so their tests run without it where the
# system lets us.
fixed_addresses=()
if setarch "$(uname -m)" --addr-no-randomize true 2>/dev/null; then
  fixed_addresses=(setarch "$(uname -m)" --addr-no-randomize)
fi
