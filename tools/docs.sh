#!/usr/bin/env bash
# Builds the reference of the public headers into build/docs/html; a warning is an error.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
mkdir -p build/docs
doxygen docs/Doxyfile
