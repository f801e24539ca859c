#!/usr/bin/env bash
# What takes longer than the tests of a change may: everything of tools/test.sh, and more of it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/packages.sh
source "$root/tools/packages.sh"

if [[ ${1:-} == --help ]]; then
  cat <<'HELP'
Usage: tools/nightly.sh [--all] [--from PHASE]

Runs these phases, with --from only the named one and those after it:
  test      tools/test.sh
  clang     a whole build with clang, and every test in it
  tidy      clang-tidy over the sources that differ from the branch's start, --all: over all
  sim       the simulations with PINION_SIM_SEEDS seeds each (default here: 10000, with a million
            faults); fails when a rare path is never reached
  resume    agents killed and resumed PINION_RESUME_CYCLES times (default here: 200), and a journal
            cut at every byte of its end
  mp        the tests with real processes and kill -9, on one host and on several, PINION_MP_REPEAT
            times (default here: 20)
  kill      PINION_KILL_LOOPS jobs of each kind (default here: 100) that are killed and paused at
            random moments while they work, and four times as many whose agent or launcher is
            killed; a tenth of them again under the address sanitizer; three times as many in
            which rank 0 of a k-means is killed in its second step, and as many in which a rank of
            a word count is killed anywhere; and PINION_SLAB_KILLS random kills (default here:
            2000) of a process with blobs in slabs, and of an agent of such. PINION_KILL_SEED is
            the first seed (default here: the time, so that each night has its own)
  vm        what needs several NUMA nodes, on a real kernel in QEMU; prints why where that cannot be
  fuzz      the decoders under the sanitizers with PINION_FUZZ_SECONDS each (default here: 120)
  dag       graphs: every task once and in order, over PINION_DAG_RUNS runs of tasks (default here:
            10^8), a third of them in each of the ways in which a run goes
  bench     the benchmarks built, every workload's answer compared with that of the plain programs
            on small data, and a job over 30 GB under a memory limit of 2 GB beside one over 3 GB;
            prints why where no control group can be made

Exit status 0 when everything passed.
HELP
  exit 0
fi
tidy_all=false
phases=(test clang tidy sim resume mp kill vm fuzz dag bench)
first_phase='test'
while (($# > 0)); do
  case $1 in
    --all) tidy_all=true ;;
    --from)
      first_phase=${2:-}
      shift
      ;;
    *)
      say "unknown argument '$1'; try tools/nightly.sh --help"
      exit 64
      ;;
  esac
  (($# > 0)) && shift
done
if [[ " ${phases[*]} " != *" $first_phase "* || -z $first_phase ]]; then
  say "--from must name one of: ${phases[*]}; found '$first_phase'"
  exit 64
fi

start=$SECONDS

# The .cpp files of the build/clang compilation database that lie in the repository, outside tests;
# without --all only those that differ from where this branch left main.
sources_to_tidy() {
  local base
  python3 - "$root" <<'PYTHON' | sort >"$root/build/clang/sources"
import json, os, sys
root = sys.argv[1]
skip = tuple(os.path.join(root, part) + os.sep for part in ("build", "tests"))
for entry in json.load(open(os.path.join(root, "build/clang/compile_commands.json"))):
    path = os.path.realpath(os.path.join(entry["directory"], entry["file"]))
    if path.startswith(root + os.sep) and not path.startswith(skip):
        print(os.path.relpath(path, root))
PYTHON
  base=$(git -C "$root" merge-base origin/main HEAD 2>/dev/null) || base=
  if $tidy_all || [[ -z $base || $base == "$(git -C "$root" rev-parse HEAD)" ]]; then
    uniq "$root/build/clang/sources"
  else
    comm -12 <(uniq "$root/build/clang/sources") \
      <(git -C "$root" diff --name-only "$base" -- '*.cpp' | sort)
  fi
}

tidy() {
  local -a sources
  mapfile -t sources < <(sources_to_tidy)
  if ((${#sources[@]} == 0)); then
    say "no source differs; nothing to check"
    return 0
  fi
  (cd "$root" && printf '%s\0' "${sources[@]}" |
    xargs --null --max-args=1 --max-procs="$(nproc)" clang-tidy -p build/clang --quiet)
}

test_release() {
  (cd "$root" && ctest --preset release --no-tests=error --output-on-failure "$@")
}

test_asan() {
  (cd "$root" && "${fixed_addresses[@]}" ctest --preset asan --no-tests=error \
    --output-on-failure "$@")
}

fuzz() {
  local found
  found=$(cd "$root" && ctest --preset asan --show-only --label-regex '^fuzz$') || return
  if grep --quiet '^Total Tests: 0$' <<<"$found"; then
    say "no test has the label fuzz; nothing to run"
    return 0
  fi
  test_asan --label-regex '^fuzz$'
}

# Exit status 77 of the preparation: this system cannot, and has said why.
vm() {
  local status=0
  "$root/tests/vm/prepare.sh" || status=$?
  if ((status == 77)); then
    say "the tests in virtual machines are skipped"
    return 0
  fi
  ((status == 0)) || return "$status"
  test_release --label-regex '^vm$'
}

# As vm().
bounded() {
  local status=0
  "$root/bench/bounded" --build "$root/build/bench" || status=$?
  if ((status == 77)); then
    say "the job under a memory limit is skipped"
    return 0
  fi
  return "$status"
}

# Tests do more here than in the run of a change.
export PINION_TEST_SECONDS=3600
export PINION_FUZZ_SECONDS=${PINION_FUZZ_SECONDS:-120}

run_test() {
  phase "the tests of a change" "$root/tools/test.sh"
}

run_clang() {
  phase "clang: configure" configure clang --log-level=WARNING
  phase "clang: build" build clang
  phase "clang: test" env -C "$root" ctest --preset clang --output-on-failure \
    --parallel "$(nproc)" --label-exclude '^(package|style|layers|vm)$'
}

run_tidy() {
  phase "tidy: clang-tidy" tidy
}

run_sim() {
  PINION_SIM_SEEDS=${PINION_SIM_SEEDS:-10000} \
    phase "sim: more seeds" test_release --label-regex '^sim$'
}

run_resume() {
  PINION_RESUME_CYCLES=${PINION_RESUME_CYCLES:-200} \
    phase "resume: agents killed and resumed" test_release --tests-regex '^ResumedJob'
}

run_mp() {
  phase "mp: real processes, again and again" test_release --label-regex '^(mp|net)$' \
    --parallel "$(nproc)" --repeat "until-fail:${PINION_MP_REPEAT:-20}"
}

run_kill() {
  local -r loops=${PINION_KILL_LOOPS:-100}
  # In seconds: two nights are further apart than the seeds that one of them counts up.
  local -rx PINION_KILL_SEED=${PINION_KILL_SEED:-$(date +%s)}
  say "PINION_KILL_SEED=$PINION_KILL_SEED"
  PINION_KILL_LOOPS=$loops \
    phase "kill: jobs that are disturbed" test_release --tests-regex 'DisturbedRanks|KilledAgent'
  PINION_KILL_LOOPS=$(((loops + 9) / 10)) \
    phase "kill: the same under the address sanitizer" \
    test_asan --tests-regex 'DisturbedRanks|KilledAgent'
  phase "kill: rank 0 of a k-means in step 2" test_release \
    --tests-regex '^KilledRank\.ChangesNothingAboutTheAnswer$' --repeat "until-fail:$((3 * loops))"
  PINION_KILL_TRIALS=$((3 * loops)) \
    phase "kill: a rank of a word count anywhere" test_release --tests-regex '^RandomKill\.'
  PINION_SLAB_KILLS=${PINION_SLAB_KILLS:-2000} \
    phase "kill: processes and agents with slabs" test_release \
    --tests-regex '^Killed(Process|SlabAgent)\..*AtRandomMoments$'
}

run_vm() {
  phase "vm: several NUMA nodes in QEMU" vm
}

run_fuzz() {
  phase "fuzz: the decoders" fuzz
}

run_dag() {
  local -r ways=(counting waves sweep)
  local -r run_count=$(((${PINION_DAG_RUNS:-100000000} + ${#ways[@]} - 1) / ${#ways[@]}))
  local way
  for way in "${ways[@]}"; do
    PINION_DAG_WAY=$way PINION_DAG_RUNS=$run_count \
      phase "dag: every task once, $way, $run_count runs of tasks" \
      test_release --tests-regex '^ManyRuns'
  done
}

run_bench() {
  phase "bench: configure" configure bench --log-level=WARNING
  phase "bench: build" build bench bench_programs
  phase "bench: all contenders agree" "$root/bench/compare" --quick --build "$root/build/bench"
  phase "bench: bounded memory" bounded
}

phase "packages: what the nightly run needs" install_packages "${pinion_build_packages[@]}" \
  "${pinion_check_packages[@]}" "${pinion_nightly_packages[@]}"
is_reached=false
for name in "${phases[@]}"; do
  [[ $name != "$first_phase" ]] || is_reached=true
  ! $is_reached || "run_$name"
done

say "passed, in $((SECONDS - start)) s"
