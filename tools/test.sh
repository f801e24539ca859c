#!/usr/bin/env bash
# All tests of a change: four builds, their tests, and the checks of style and documentation.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/packages.sh
source "$root/tools/packages.sh"

if [[ ${1:-} == --help ]]; then
  cat <<'HELP'
Usage: tools/test.sh

Installs the packages that are missing (as root or with sudo), then builds and tests:
  release   gcc, optimised: every test but those in virtual machines, the style checks, every
            public header alone, an installation and a stranger's project built against it
  asan      gcc with the address and the undefined-behaviour sanitizer: every test but those
            of the installation, the style, the layers and in virtual machines
  tsan      gcc with the thread sanitizer: the lock-free cores, runs of graphs (labels model, tsan)
  clang     the libraries and tools with clang's lock analysis, warnings as errors
  docs      the public headers through Doxygen, warnings as errors

Safe to repeat; the second time it builds only what changed. Exit status 0 when everything passed.
HELP
  exit 0
fi
if (($# > 0)); then
  say "unknown argument '$1'; try tools/test.sh --help"
  exit 64
fi

start=$SECONDS
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# run_tests <preset> [ctest option]...: keeps ctest's closing line for the end.
run_tests() {
  local preset=$1 status=0 log
  shift
  log=$(mktemp)
  (cd "$root" && "${fixed_addresses[@]}" ctest --preset "$preset" --no-tests=error \
    --output-on-failure --parallel "$(nproc)" "$@" 2>&1) | tee "$log" || status=$?
  printf '%s (%s)\n' "$(grep 'tests passed' "$log" || true)" "$preset" >>"$results"
  rm -f "$log"
  return "$status"
}

# need_space <MiB>: a disk that fills up ends a build late, and in the words of a linker. What lies
# under build/ already counts as there.
need_space() {
  local -r needed=$1
  local built=0 free
  if [[ -d $root/build ]]; then
    built=$(du --summarize --block-size=1M "$root/build" | cut --fields=1)
  fi
  free=$(df --output=avail --block-size=1M "$root" | tail -n 1)
  if ((free + built < needed)); then
    say "the builds take $needed MiB under $root/build; found $built MiB of them and" \
      "$free MiB free: make room for $((needed - built - free)) MiB more"
    return 1
  fi
}

phase "space: what the builds take" need_space 20480
phase "packages: what build and checks need" \
  install_packages "${pinion_build_packages[@]}" "${pinion_check_packages[@]}"

phase "release: configure" configure release --log-level=WARNING
phase "release: build" build release
phase "release: each public header alone" build release all_verify_interface_header_sets
phase "release: test" run_tests release --label-exclude '^vm$'
phase "asan: configure" configure asan --log-level=WARNING
phase "asan: build" build asan
phase "asan: test" run_tests asan --label-exclude '^(package|style|layers|vm)$'
phase "tsan: configure" configure tsan --log-level=WARNING
phase "tsan: build of the lock-free cores" build tsan model_tests tsan_tests
phase "tsan: test" run_tests tsan
phase "clang: configure" configure clang-libraries --log-level=WARNING
phase "clang: build with the lock analysis" build clang-libraries
phase "docs: public headers, warnings as errors" "$root/tools/docs.sh"

cat "$results"
say "passed: release, asan, tsan, clang, docs, in $((SECONDS - start)) s"
