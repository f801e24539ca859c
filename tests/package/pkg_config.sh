#!/bin/sh
# Builds a stranger's one file with a plain compiler call and pkg-config, and runs it.
# pkg_config.sh <folder of pinion.pc> <source> <program> <compiler> <flags> [argument]...
set -eu
export PKG_CONFIG_PATH="$1"
source=$2 program=$3 compiler=$4 flags=$5
shift 5
words=$(pkg-config --static --cflags --libs pinion)
# The flags are words for the compiler, not one argument.
# shellcheck disable=SC2086
"$compiler" -std=c++20 $flags "$source" -o "$program" $words
exec "$program" "$@"
