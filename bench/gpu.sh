#!/usr/bin/env bash
# One command on a machine with a GPU: builds without a network, checks, measures, prints a table.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
carried=$root/.gpu-packages
build=$root/build/gpu

# What core, numa, gpu and their tests need beside a compiler, CMake and CUDA; as Debian 12 has it.
packages=(googletest libgmock-dev libgtest-dev libhwloc-dev libhwloc15 libtbb-dev libtbb12
  libtbbbind-2-5 libtbbmalloc2 libudev1 libxxhash-dev libxxhash0)

say() {
  printf 'gpu.sh: %s\n' "$*" >&2
}

usage() {
  cat <<'HELP'
Usage: bench/gpu.sh [--fetch | --quick]

  --fetch   on a machine with a network: puts the packages that the build needs into .gpu-packages/
            of the repository (2 MB), which then travels along. Needed where hwloc and oneTBB are
            not installed.
  --quick   small data: does everything work and agree?

Without --fetch, on the machine with the GPU: unpacks .gpu-packages/ when it is there, builds into
build/gpu/, runs the contract of devices and Pinion's kernels beside their CPU twins, then under
compute-sanitizer where that works, and prints the table of docs/gpu.md. All output is also in
build/gpu/report.txt, and in the folder that OUT names when that is set. Without a GPU the benchmark
runs on small data on an emulated device, which tries the program and measures nothing.

Exit status: 0 when all was checked and measured; 77 when there is no GPU, after everything that can
be done without one; 69 when something that the build needs is missing.
HELP
}

fetch() {
  mkdir -p "$carried"
  (cd "$carried" && rm -f ./*.deb && apt-get --quiet download "${packages[@]}") || return
  say "$(du -sh "$carried" | cut -f1) of packages in $carried"
}

# The packages are unpacked and not installed: that needs no root and leaves the machine as it is.
unpack() {
  local prefix=$build/prefix package
  [[ -d $carried ]] || return 0
  if ! command -v dpkg-deb >/dev/null; then
    say "there is no dpkg-deb, so $carried cannot be unpacked; install: ${packages[*]}"
    return 69
  fi
  rm -rf "$prefix"
  mkdir -p "$prefix"
  for package in "$carried"/*.deb; do
    dpkg-deb --extract "$package" "$prefix" || return
  done
  local libraries
  libraries=$(dirname "$(find "$prefix" -name 'libhwloc.so.15' | head -n 1)")
  export CMAKE_PREFIX_PATH=$prefix/usr
  export CPATH=$prefix/usr/include:$prefix/usr/include/x86_64-linux-gnu
  export LIBRARY_PATH=$libraries
  LD_LIBRARY_PATH=$libraries:$prefix/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LD_LIBRARY_PATH
  # What pkg-config knows is of another place.
  export PKG_CONFIG_LIBDIR=$prefix/none
}

configure_and_build() {
  local -a generator=()
  if command -v ninja >/dev/null; then
    generator=(-G Ninja)
  fi
  cmake -S "$root/bench/gpu" -B "$build/tree" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release \
    -DPINION_CUDA=ON --log-level=WARNING || return
  cmake --build "$build/tree" --parallel "${PINION_BUILD_JOBS:-$(nproc)}"
}

# describe: what the figures are figures of.
describe() {
  date --utc '+%Y-%m-%d %H:%M UTC'
  uname --kernel-release --machine
  nproc | sed 's/$/ CPUs/'
  sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
  nvidia-smi --query-gpu=name,memory.total,driver_version,pcie.link.gen.max,pcie.link.width.max \
    --format=csv,noheader 2>/dev/null || echo "no nvidia-smi"
}

# Every test would say alone that there is no GPU.
run_contract() {
  local log=$build/contract.txt status=0
  "$build/tree/cuda_conformance_test" --gtest_brief=1 >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    cat "$log"
  else
    grep --max-count=1 '^NOT_FOUND' "$log" || true
    tail -n 3 "$log"
  fi
  return "$status"
}

# It refuses devices on some machines, which says nothing of the program.
sanitize() {
  local tool log=$build/sanitizer.txt
  tool=$(command -v compute-sanitizer || true)
  if [[ -z $tool ]]; then
    echo "compute-sanitizer: not installed"
    return 0
  fi
  if "$tool" --error-exitcode 9 "$build/tree/cuda_conformance_test" \
    --gtest_filter='CudaKernels.*:Cuda/*.DoesTheWork*' >"$log" 2>&1; then
    echo "compute-sanitizer: no error"
  elif grep --quiet --ignore-case 'not supported\|unable to' "$log"; then
    echo "compute-sanitizer: does not work here: $(grep --ignore-case --max-count=1 \
      'not supported\|unable to' "$log")"
  else
    cat "$log"
    echo "compute-sanitizer: FAILED"
    return 1
  fi
}

try_on_emulation() {
  echo
  echo "The same program on an emulated device; its figures say nothing:"
  "$build/tree/gpu_bench" --quick --emulated emu:1,time=real,mem=4g,pinned=4g,latency=5us
}

main() {
  local -a quick=()
  case ${1:-} in
    --help)
      usage
      return 0
      ;;
    --fetch)
      fetch
      return
      ;;
    --quick) quick=(--quick) ;;
    '') ;;
    *)
      say "unknown argument '$1'; try bench/gpu.sh --help"
      return 64
      ;;
  esac
  mkdir -p "$build"
  unpack || return
  configure_and_build || return
  local report=$build/report.txt status=0
  {
    describe
    run_contract || status=1
    "$build/tree/30_own_kernel" || status=1
    sanitize || status=1
    echo
    "$build/tree/gpu_bench" "${quick[@]}" || {
      local code=$?
      ((status != 0)) || status=$code
      ((code != 77)) || try_on_emulation || status=1
    }
    echo "exit status $status"
  } 2>&1 | tee "$report"
  if [[ -n ${OUT:-} && -d $OUT ]]; then
    cp "$report" "$OUT/"
  fi
  return "$(sed -n '$s/^exit status //p' "$report")"
}

main "$@"
