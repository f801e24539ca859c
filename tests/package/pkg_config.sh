#!/bin/sh
# Builds a stranger's one file with a plain compiler call and pkg-config, and runs it.
# pkg_config.sh <pkg-config option> <folder of pinion.pc> <source> <program> <compiler> <flags>
#               [argument of the program]...
set -eu
option=$1
export PKG_CONFIG_PATH="$2"
source=$3 program=$4 compiler=$5 flags=$6
shift 6
words=$(pkg-config "$option" --cflags --libs pinion)
# The flags are words for the compiler, not one argument.
# shellcheck disable=SC2086
"$compiler" -std=c++20 $flags "$source" -o "$program" $words
exec "$program" "$@"
