#!/usr/bin/env bash
# One command on a machine with a GPU: builds without a network, checks, measures, prints a table.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
carried=$root/.gpu-packages
build=$root/build/gpu

# The report, and what each phase printed. Where files are taken back from a folder, they are
# written there at once, so that a run that is ended amid its work has given what it had.
reports=$build
if [[ -n ${OUT:-} && -d $OUT ]]; then
  reports=$OUT
fi

# What a phase may take, in seconds: a device that hangs must not cost the phases behind it.
contract_seconds=60
benchmark_seconds=300
sanitizer_seconds=120

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
            of the repository (2 MB). Git ignores that folder: what brings the repository to the
            machine with the GPU must be told to carry it along. Needed where hwloc and oneTBB are
            not installed there.
  --quick   small data: does everything work and agree?

Without --fetch, on the machine with the GPU: unpacks .gpu-packages/ when it is there, builds into
build/gpu/, runs the contract of devices and Pinion's kernels beside their CPU twins, prints the
table of docs/gpu.md, and runs the kernels again under compute-sanitizer where that works. All
output is also in report.txt, beside that of the contract and of the sanitizer: in the folder that
OUT names when that is there, else in build/gpu/. Without a GPU the benchmark runs on small data on
an emulated device, which tries the program and measures nothing.

Exit status: 0 when all was checked and measured; 77 when there is no GPU, after everything that can
be done without one; 69 when something that the build needs is missing; 1 when a result is wrong, or
a phase has failed or not ended in its time (60 s for the contract, 300 s for the benchmark, 120 s
for the sanitizer).
HELP
}

fetch() {
  mkdir -p "$carried"
  (cd "$carried" && rm -f ./*.deb && apt-get --quiet download "${packages[@]}") || return
  say "$(du -sh "$carried" | cut -f1) of packages in $carried, which git ignores: name" \
    "$(basename "$carried") to what carries the repository to the machine with the GPU"
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
  if ! cmake -S "$root/bench/gpu" -B "$build/tree" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release \
    -DPINION_CUDA=ON --log-level=WARNING; then
    say "something that the build needs is missing: a compiler, nvcc, or of ${packages[*]};" \
      "bench/gpu.sh --fetch on a machine with a network puts these into $carried"
    return 69
  fi
  cmake --build "$build/tree" --parallel "${PINION_BUILD_JOBS:-$(nproc)}"
}

# describe: what the figures are figures of.
describe() {
  date --utc '+%Y-%m-%d %H:%M UTC'
  uname --kernel-release --machine
  nproc | sed 's/$/ CPUs/'
  sed -n '/^model name/{s/^[^:]*: //p;q}' /proc/cpuinfo
  nvidia-smi --query-gpu=name,memory.total,driver_version,pcie.link.gen.max,pcie.link.width.max \
    --format=csv,noheader 2>/dev/null || echo "no nvidia-smi"
}

# limited PHASE SECONDS COMMAND...: its status, and words when it had to be ended.
limited() {
  local phase=$1 seconds=$2 status=0
  shift 2
  timeout --kill-after=5 "$seconds" "$@" || status=$?
  case $status in
    124) echo "$phase: has not ended within $seconds s" ;;
    137) echo "$phase: was killed: memory was short, or it had not ended within $seconds s" ;;
  esac
  return "$status"
}

# Every test would say alone that there is no GPU.
run_contract() {
  local log=$reports/contract.txt status=0
  limited contract "$contract_seconds" "$build/tree/cuda_conformance_test" --gtest_brief=1 \
    >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    cat "$log"
  else
    grep --max-count=1 '^NOT_FOUND' "$log" || true
    tail -n 3 "$log"
  fi
  return "$status"
}

# It refuses devices on some machines, which says nothing of the program: it says so itself, or all
# tests find no device and skip. It has found nothing only where tests have run and none skipped.
sanitize() {
  local tool status=0 refusal log=$reports/sanitizer.txt
  tool=$(command -v compute-sanitizer || true)
  if [[ -z $tool ]]; then
    echo "compute-sanitizer: not installed"
    return 0
  fi
  limited compute-sanitizer "$sanitizer_seconds" "$tool" --error-exitcode 9 \
    "$build/tree/cuda_conformance_test" --gtest_filter='CudaKernels.*:Cuda/*.DoesTheWork*' \
    >"$log" 2>&1 || status=$?
  refusal=$(grep --ignore-case --max-count=1 \
    '^=========.*\(device not supported\|unable to\|internal sanitizer error\)' "$log" ||
    grep --max-count=1 '^NOT_FOUND' "$log" || true)
  # What it has found counts, whatever else did not work.
  if [[ -n $refusal ]] && ! grep --quiet '^=========.*ERROR SUMMARY: [1-9]' "$log"; then
    echo "compute-sanitizer: does not work here: $refusal"
  elif ((status == 0)) && grep --quiet '^\[  PASSED  \] [1-9]' "$log" &&
    ! grep --quiet 'SKIPPED' "$log"; then
    echo "compute-sanitizer: no error"
  else
    cat "$log"
    echo "compute-sanitizer: FAILED"
    return 1
  fi
}

try_on_emulation() {
  echo
  echo "The same program on an emulated device; its figures say nothing:"
  limited benchmark "$benchmark_seconds" "$build/tree/gpu_bench" --quick \
    --emulated emu:1,time=real,mem=4g,pinned=4g,latency=5us
}

# measure [--quick]: every phase, whatever came of those before it. The sanitizer is the last one,
# as nothing is lost with it.
measure() {
  local status=0 code=0
  describe
  run_contract || status=1
  limited 30_own_kernel "$contract_seconds" "$build/tree/30_own_kernel" || status=1
  echo
  limited benchmark "$benchmark_seconds" "$build/tree/gpu_bench" "$@" || code=$?
  if ((code == 77)); then
    try_on_emulation || status=1
    ((status != 0)) || status=77
  elif ((code != 0)); then
    status=1
  fi
  echo
  sanitize || status=1
  echo "exit status $status"
  return "$status"
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
  measure "${quick[@]}" 2>&1 | tee "$reports/report.txt"
}

main "$@"
