#!/usr/bin/env bash
# Counts the words of the given files, directories or globs (- is standard input) on two ranks.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/packages.sh
source "$root/tools/packages.sh"

if [[ ${1:-} == --help ]]; then
  cat <<'HELP'
Usage: tools/demo.sh [PATH...]

Installs the packages that are missing (as root or with sudo), configures and builds what the main
job needs, and counts the words of PATH... on two ranks: files, directories, quoted globs, or - for
standard input. Default: the text under /usr/include and /usr/share/doc.

Safe to repeat; the second time it only runs the job.
HELP
  exit 0
fi

paths=("$@")
if ((${#paths[@]} == 0)); then
  for path in /usr/include /usr/share/doc; do
    if [[ -d $path ]]; then
      paths+=("$path")
    fi
  done
fi

phase "packages: what the build needs" install_packages "${pinion_build_packages[@]}"
phase "configure: build/release" configure release --log-level=WARNING
phase "build: the pinion command and the word count" \
  build release pinion_cli 02_word_count

trace="$root/build/demo-trace"
rm -rf "$trace"
say "run: pinion run -n 2 02_word_count ${paths[*]}"
exec "$root/build/release/tools/pinion" run -n 2 --oversubscribe --report-bindings \
  --trace "$trace" \
  "$root/build/release/examples/02_word_count" "${paths[@]}"
