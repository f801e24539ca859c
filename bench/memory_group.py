"""Runs commands in a memory control group with a limit of its own, of version 1 or 2."""

import os
import signal

import runs


class _Hierarchy:
    """A mounted hierarchy: where it is, and what its files are called."""

    def __init__(self, version, point, own):
        self.version = version
        self.point = point
        self.own = own  # Our group's path below `point`.
        self.limit, self.peak, self.swap = (
            ("memory.max", "memory.peak", "memory.swap.max") if version == 2 else
            ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.memsw.limit_in_bytes"))

    def parents(self):
        """The folders that a group may be made in: our own first, then those around it."""
        below = self.own.strip("/")
        while below:
            yield os.path.join(self.point, below)
            below = os.path.dirname(below)
        yield self.point


def _lines(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _hierarchies(root):
    """Those that can limit memory; `root` stands for "/"."""
    own = {}
    for line in _lines(os.path.join(root, "proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        own.update({word: path for word in controllers.split(",")})
    found = []
    for line in _lines(os.path.join(root, "proc/self/mountinfo")):
        mount, _, source = line.partition(" - ")
        _, _, _, top, point = mount.split()[:5]
        kind, _, options = source.split()[:3]
        version = {"cgroup2": 2, "cgroup": 1}.get(kind)
        controller = "" if version == 2 else "memory"
        if version is None or controller not in own or (
                version == 1 and "memory" not in options.split(",")):
            continue
        # A container without a namespace of groups sees the lower end of its group's path only.
        path = own[controller]
        below = path.removeprefix(top) if top != "/" else path
        found.append(_Hierarchy(version, os.path.join(root, point.lstrip("/")), below))
    return found


class MemoryGroup:
    """A control group whose processes may have `limit_bytes` together; goes with the object.

    Raises runs.Refused with status 77 and the reasons where no group can be made.
    """

    def __init__(self, limit_bytes, root="/"):
        reasons = []
        for hierarchy in _hierarchies(root):
            for parent in hierarchy.parents():
                folder = os.path.join(parent, f"pinion-bench-{os.getpid()}")
                try:
                    self._make(hierarchy, parent, folder, limit_bytes)
                except OSError as error:
                    reasons.append(f"{error.filename or folder}: {error.strerror}")
                    continue
                self.version, self.folder, self._peak_file = (
                    hierarchy.version, folder, os.path.join(folder, hierarchy.peak))
                return
        raise runs.Refused(77, "no control group with a limit of memory can be made here: "
                           + ("; ".join(reasons) or "none of version 1 or 2 is mounted")
                           + "; run as root, or in a group that is delegated to you")

    @staticmethod
    def _make(hierarchy, parent, folder, limit_bytes):
        if hierarchy.version == 2:
            control = os.path.join(parent, "cgroup.subtree_control")
            if "memory" not in " ".join(_lines(control)).split():
                _write(control, "+memory")
        os.mkdir(folder)
        try:
            limit = os.path.join(folder, hierarchy.limit)
            _write(limit, str(limit_bytes))
            # The kernel rounds it to pages.
            if int(_lines(limit)[0]) not in range(limit_bytes - 65536, limit_bytes + 1):
                raise OSError(0, f"holds {_lines(limit)[0]} after writing {limit_bytes}", limit)
            swap = os.path.join(folder, hierarchy.swap)
            if os.path.exists(swap):
                _write(swap, "0" if hierarchy.version == 2 else str(limit_bytes))
            _try_to_enter(folder)
        except OSError:
            _remove(folder)
            raise

    def inside(self, command):
        """The command, and all that it starts, in the group."""
        return ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"',
                os.path.join(self.folder, "cgroup.procs"), *command]

    def peak_bytes(self):
        """The most that the group had at once, cached files included; 0 where it is not told."""
        lines = _lines(self._peak_file)
        return int(lines[0]) if lines else 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        _remove(self.folder)


def _write(path, text):
    try:
        # Without O_CREAT: what the kernel does not offer must not become a file.
        with open(os.open(path, os.O_WRONLY), "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def _try_to_enter(folder):
    """To make a group, and to put a process into it, are different rights."""
    child = os.fork()
    if child == 0:
        try:
            _write(os.path.join(folder, "cgroup.procs"), str(os.getpid()))
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        raise OSError(status, os.strerror(status), os.path.join(folder, "cgroup.procs"))


def _remove(folder):
    try:
        for pid in _lines(os.path.join(folder, "cgroup.procs")):
            os.kill(int(pid), signal.SIGKILL)
        os.rmdir(folder)
    except OSError as error:
        runs.say(f"{folder} stays behind: {error.strerror}")
