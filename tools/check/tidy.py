#!/usr/bin/env python3
"""Checks what clang-format and the compilers do not: sizes, words outside their place, includes.

Usage: tidy.py [ROOT]

Prints one line for each violation, "path:line: [rule] what to do", and ends with status 1 when
there was one. The rules are in rules.py, each with a bad snippet of its own in tests/style.
"""

import os
import subprocess
import sys

import rules

SKIPPED_FOLDERS = {".git", ".cache", "build"}


def tracked_files(root):
    """What git tracks or would track; without git, every file outside the build folders."""
    command = ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "--cached", "--others",
               "--exclude-standard", "-z"]
    try:
        listing = subprocess.run(command, check=True, capture_output=True).stdout.decode()
        return sorted({path for path in listing.split("\0")
                       if path and os.path.isfile(os.path.join(root, path))})
    except (OSError, subprocess.CalledProcessError):
        paths = []
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
            paths += [os.path.relpath(os.path.join(folder, name), root) for name in names]
        return sorted(paths)


def main(arguments):
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    root = os.path.abspath(arguments[0] if arguments else default)
    paths = tracked_files(root)
    if not paths:
        print(f"tidy.py: no files under {root}", file=sys.stderr)
        return 66
    count = 0
    for path in paths:
        with open(os.path.join(root, path), "rb") as file:
            for violation in rules.check(path, file.read()):
                print(violation)
                count += 1
    print(f"tidy.py: {len(paths)} files, {count} violations")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
