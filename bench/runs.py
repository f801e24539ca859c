"""Runs workload programs, one repetition at a time, and tells how quiet the machine was meanwhile.

What bench/compare, bench/scaling and bench/bounded share.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

# A repetition counts as disturbed when other processes used more than this share of all CPUs.
FOREIGN_SHARE_MAX = 0.06
# The kernel counts CPU time in ticks; a few more or less say nothing about a short run.
FOREIGN_TICKS_MIN = 4
RERUNS_MAX = 3

RATES = {"word_count": ("GB/s", "bytes", 1e9), "sort": ("GB/s", "bytes", 1e9),
         "group_by": ("Mrow/s", "rows", 1e6), "bounded": ("Mrow/s", "rows", 1e6),
         "pi": ("Gsample/s", "rows", 1e9)}

DATA = {
    "word_count": [("word_count linux", "linux.txt")],
    "group_by": [("group_by 1e2", "groupby.1e2.bin"), ("group_by 1e6", "groupby.1e6.bin"),
                 ("group_by zipf", "groupby.zipf.bin")],
    "sort": [("sort 20e6", "sort.20e6.bin")],
    "pi": [("pi 4e9", None)],
}
PI_SAMPLES = 4_000_000_000

MPI = "openmpi"


class Refused(Exception):
    """Ends a script with `status` and the words of the exception."""

    def __init__(self, status, words):
        super().__init__(words)
        self.status = status


def say(words):
    print(words, file=sys.stderr, flush=True)


class Case:
    """A workload on one input: what its programs are given beside --workers."""

    def __init__(self, name, workload, arguments):
        self.name = name
        self.workload = workload
        self.arguments = arguments

    def rate(self, repetition):
        unit, field, scale = RATES.get(self.workload, ("MB/s", "bytes", 1e6))
        return repetition[field] / repetition["seconds"] / scale, unit


def cases(workloads, folder, pi_samples=PI_SAMPLES):
    """The cases of `workloads` on the data sets in `folder`."""
    found = []
    for workload in workloads:
        if workload not in DATA:
            raise Refused(64, f"unknown workload '{workload}'; there are {', '.join(DATA)}")
        for name, file in DATA[workload]:
            if file is None:
                found.append(Case(name, workload, ["--size", str(pi_samples)]))
                continue
            path = os.path.join(folder or "", file)
            if not os.path.exists(path):
                raise Refused(66, f"{path} is not there; bench/data/prepare.sh makes the data sets")
            found.append(Case(name, workload, [path]))
    return found


def programs(build, workload, several_processes=False):
    """{contender: path} of what was built for a workload, Pinion's program first.

    Programs of MPI are among them only where there are to be several processes.
    """
    folder = os.path.join(build, "bench", "workloads", workload)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    found = {name: os.path.join(folder, name) for name in names
             if os.access(os.path.join(folder, name), os.X_OK)
             and os.path.isfile(os.path.join(folder, name))
             and (several_processes or name != MPI)}
    if not found:
        raise Refused(66, f"no program in {folder}; build the target bench_programs first")
    return dict(sorted(found.items(), key=lambda item: (item[0] != "pinion", item[0])))


def read_into_cache(case):
    for path in case.arguments:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                while file.read(1 << 24):
                    pass


def _busy_ticks():
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return user + nice + system + irq + softirq + steal


def is_disturbed(foreign_ticks, capacity_ticks):
    return (foreign_ticks > FOREIGN_TICKS_MIN
            and foreign_ticks > FOREIGN_SHARE_MAX * capacity_ticks)


def run_once(command):
    """One repetition of a program: what it prints, and what else the machine did meanwhile.

    Time that the hypervisor took counts as foreign, as does what the kernel did for others.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    load = os.getloadavg()[0]
    busy = _busy_ticks()
    begin = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          stdin=subprocess.DEVNULL) as process:
        output, errors = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begin
    busy = _busy_ticks() - busy
    if process.returncode != 0:
        raise Refused(1, f"{' '.join(command)} ended with status {process.returncode}: "
                         f"{errors.strip() or 'no words'}")
    try:
        repetition = json.loads(output)
    except ValueError:
        raise Refused(1, f"{' '.join(command)} printed {output!r}, not a line of JSON") from None
    own = (usage.ru_utime + usage.ru_stime) * ticks
    capacity = wall * ticks * os.cpu_count()
    foreign = max(0.0, busy - own)
    repetition.update(process_cpu_seconds=own / ticks, process_wall_seconds=wall, load_average=load,
                      foreign_share=min(1.0, foreign / capacity),
                      disturbed=is_disturbed(foreign, capacity))
    return repetition


def after_warming(build, byte_count):
    """run_once(), each time just after so much memory was used."""
    program = os.path.join(build, "bench", "warm_memory")

    def run(command):
        warmed = subprocess.run([program, str(byte_count)], check=False, capture_output=True,
                                text=True)
        if warmed.returncode != 0:
            raise Refused(71, warmed.stderr.strip() or f"{program} ended with {warmed.returncode}")
        return run_once(command)

    return run


def measure(command, reruns=RERUNS_MAX, run=run_once):
    """A repetition, again while it is disturbed: (the one that counts, all of them)."""
    attempts = [run(command)]
    while attempts[-1]["disturbed"] and len(attempts) <= reruns:
        attempts.append(run(command))
    return min(attempts, key=lambda attempt: (attempt["disturbed"],
                                              attempt["foreign_share"])), attempts


def summary(case, counted, attempts):
    """Of one contender's repetitions that count, and of all that were made."""
    seconds = [repetition["seconds"] for repetition in counted]
    median = statistics.median(seconds)
    typical = min(counted, key=lambda repetition: abs(repetition["seconds"] - median))
    rate, unit = case.rate({**typical, "seconds": median})
    return {"median_seconds": median, "min_seconds": min(seconds), "max_seconds": max(seconds),
            "spread": (max(seconds) - min(seconds)) / median,
            "cpu_seconds": statistics.median(
                repetition["cpu_seconds"] for repetition in counted), "rate": rate,
            "rate_unit": unit,
            "peak_rss_bytes": max(repetition["peak_rss_bytes"] for repetition in counted),
            **{field: max(repetition[field] for repetition in counted)
               for field in ("memory_bytes", "memory_bytes_max") if field in counted[0]},
            "load_average_max": max(repetition["load_average"] for repetition in counted),
            "foreign_share_max": max(repetition["foreign_share"] for repetition in counted),
            "repetitions": len(counted),
            "disturbed": sum(repetition["disturbed"] for repetition in counted),
            "reruns": len(attempts) - len(counted)}


def ranked_programs(build, workload, ranks):
    """{contender: command} for jobs of several processes with one worker each.

    Pinion on that many ranks first, then on one rank with as many workers, then MPI by hand.
    """
    found = programs(build, workload, several_processes=True)
    if "pinion" not in found:
        raise Refused(66, f"Pinion has no program for {workload}")
    command = os.path.join(build, "tools", "pinion")
    if not os.path.exists(command):
        raise Refused(66, f"{command} is not there; build the target bench_programs first")
    ranked = {"pinion": [command, "run", "-n", str(ranks), "--workers-per-rank", "1", "--quiet",
                         "--", found["pinion"], "--ranks", str(ranks)],
              "pinion, one rank": [found["pinion"], "--workers", str(ranks)]}
    if MPI in found:
        ranked[MPI] = ["mpirun", "-n", str(ranks), "--allow-run-as-root", "--bind-to", "core",
                       found[MPI], "--ranks", str(ranks)]
    else:
        say(f"{workload}: no program of MPI was built; is libopenmpi-dev installed?")
    return ranked


def command_of(contender, workers, case):
    """`contender` is the path of a program, or a whole command before its input."""
    words = [contender, "--workers", str(workers)] if isinstance(contender, str) else contender
    return [*words, *case.arguments]


def compare(case, contenders, workers, repetitions, reruns=RERUNS_MAX, run=run_once,
            checks_memory=True):
    """Runs `contenders` ({name: path or command}) by turns; {name: (summary, attempts)}.

    Raises Refused when the checksums of two repetitions differ, and when a program needed more
    memory than it says that it may.
    """
    names = list(contenders)
    counted = {name: [] for name in names}
    attempts = {name: [] for name in names}
    for repetition in range(repetitions):
        # Whoever comes first meets what the repetition before left behind.
        shift = repetition % len(names)
        for name in names[shift:] + names[:shift]:
            command = command_of(contenders[name], workers, case)
            best, made = measure(command, reruns, run)
            counted[name].append(best)
            attempts[name] += made
            say(f"{case.name}, {workers} workers, {repetition + 1}/{repetitions}: {name} "
                f"{best['seconds']:.3f} s"
                + (f", disturbed: {best['foreign_share']:.0%} of the CPUs went to others"
                   if best["disturbed"] else ""))
            check_answers(case, attempts)
            if checks_memory:
                check_memory(case, name, best)
            else:
                for field in ("memory_bytes", "memory_bytes_max"):
                    best.pop(field, None)
    return {name: (summary(case, counted[name], attempts[name]), attempts[name])
            for name in names}


def check_answers(case, attempts):
    answers = {repetition["checksum"]: name for name, made in attempts.items()
               for repetition in made}
    if len(answers) > 1:
        said = ", ".join(f"{name} {checksum}" for checksum, name in sorted(answers.items()))
        raise Refused(1, f"{case.name}: the checksums differ ({said}); nothing is compared")


def check_memory(case, name, repetition):
    """Against the bound that the program states for itself, if it has one."""
    had, bound = repetition.get("memory_bytes", 0), repetition.get("memory_bytes_max", 0)
    if had > bound:
        raise Refused(1, f"{case.name}: {name} had {had / 2**20:.0f} MiB of memory beside its "
                         f"mapped input at once; at most {bound / 2**20:.0f} MiB are right (its "
                         "answer, its input buffers and 256 MiB)")


def _output_of(command):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine():
    """What the figures were measured on."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"(?m)^model name\s*: (.*)$", file.read())
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = re.search(r"MemTotal:\s*(\d+) kB", file.read())
    return {"processor": model.group(1) if model else platform.processor(),
            "cpus": os.cpu_count(), "kernel": platform.release(),
            "memory_bytes": int(memory.group(1)) * 1024 if memory else 0}


def build_facts(build):
    """Compiler, build type and commit."""
    try:
        with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8") as file:
            cache = dict(re.findall(r"(?m)^(\w+):\w+=(.*)$", file.read()))
    except OSError:
        raise Refused(66, f"{build} is no build folder: it has no CMakeCache.txt") from None
    compiler = _output_of([cache.get("CMAKE_CXX_COMPILER", "c++"), "--version"])
    source = cache.get("CMAKE_HOME_DIRECTORY", ".")
    commit = _output_of(["git", "-C", source, "rev-parse", "HEAD"])
    changed = _output_of(["git", "-C", source, "status", "--porcelain", "--untracked-files=no"])
    return {"compiler": compiler.split("\n")[0], "build_type": cache.get("CMAKE_BUILD_TYPE", ""),
            "commit": commit + (" with changes" if changed else "")}


def facts(build):
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine(),
            **build_facts(build)}


def describe(known):
    of = known["machine"]
    return (f"{known['date']}, {of['processor']}, {of['cpus']} CPUs, "
            f"{of['memory_bytes'] / 2**30:.0f} GiB, Linux {of['kernel']}; {known['compiler']}, "
            f"{known['build_type']}; commit {known['commit'] or 'unknown'}")


def numbers(text, what):
    try:
        parsed = [int(word) for word in text.split(",")]
    except ValueError:
        parsed = []
    if not parsed or min(parsed) < 1:
        raise Refused(64, f"{what} is '{text}'; expected numbers of at least 1, as in 1,2")
    return parsed


def main(body):
    try:
        body()
    except Refused as refusal:
        say(f"{os.path.basename(sys.argv[0])}: {refusal}")
        sys.exit(refusal.status)
