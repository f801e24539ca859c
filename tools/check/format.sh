#!/usr/bin/env bash
# Checks that every C++ file is as clang-format leaves it. Version 14 decides: other versions break
# lines elsewhere. Exit status 77: there is no such clang-format here, so nothing was checked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

formatter=
for candidate in clang-format-14 clang-format; do
  if "$candidate" --version 2>/dev/null | grep --quiet 'version 14\.'; then
    formatter=$candidate
    break
  fi
done
if [[ -z $formatter ]]; then
  echo "skipped: clang-format 14 is not installed (package clang-format-14)"
  exit 77
fi

mapfile -t files < <(find . -path ./build -prune -o -path ./.git -prune -o \
  -type f \( -name '*.cpp' -o -name '*.hpp' -o -name '*.cu' -o -name '*.cuh' \) -print | sort)
if ((${#files[@]} == 0)); then
  echo "no C++ file found under $PWD"
  exit 66
fi
"$formatter" --dry-run -Werror "${files[@]}"
echo "${#files[@]} files are as $formatter leaves them"
