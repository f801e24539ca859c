#!/usr/bin/env bash
# Checks every shell script with shellcheck. Exit status 77: it is not installed here, so nothing
# was checked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v shellcheck >/dev/null; then
  echo "skipped: shellcheck is not installed (package shellcheck)"
  exit 77
fi
mapfile -t scripts < <(find . -path ./build -prune -o -path ./.git -prune -o \
  -type f \( -name '*.sh' -o -path ./.ci/run \) -print | sort)
shellcheck --external-sources --source-path=SCRIPTDIR/../.. --source-path=SCRIPTDIR "${scripts[@]}"
echo "${#scripts[@]} scripts are clean"
