"""The scripts of bench, with scripts in place of workload programs."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import stat
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
import xml.dom.minidom

sys.dont_write_bytecode = True
BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench")
sys.path.insert(0, BENCH)

import memory_group  # noqa: E402
import runs  # noqa: E402


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(BENCH, name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


launch = load("launch")
scaling = load("scaling")
bounded = load("bounded")
dag_compare = load("dag_compare")
transport_hosts = load("transport_hosts")

PROGRAM = """#!/usr/bin/env python3
import json, sys
option = "--ranks" if "--ranks" in sys.argv else "--workers"
workers = int(sys.argv[sys.argv.index(option) + 1])
print(json.dumps({{"workload": "pi", "contender": "{name}", "workers": workers,
                   "seconds": {seconds} / workers, "cpu_seconds": {seconds}, "bytes": 0,
                   "rows": 1000, "checksum": "{checksum}", "peak_rss_bytes": 1000000}}))
"""


class Build:
    """A build folder with programs of the workload pi."""

    def __init__(self, **programs):
        self.folder = tempfile.TemporaryDirectory(prefix="pinion-bench-test-")
        pi = os.path.join(self.folder.name, "bench", "workloads", "pi")
        os.makedirs(pi)
        with open(os.path.join(self.folder.name, "CMakeCache.txt"), "w", encoding="utf-8") as file:
            file.write("CMAKE_BUILD_TYPE:STRING=Release\nCMAKE_CXX_COMPILER:FILEPATH=true\n")
        for name, text in programs.items():
            path = os.path.join(pi, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, stat.S_IRWXU)

    def __enter__(self):
        return self.folder.name

    def __exit__(self, *error):
        self.folder.cleanup()


def program(name, seconds, checksum="cafe"):
    return PROGRAM.format(name=name, seconds=seconds, checksum=checksum)


def compare(build, *options):
    return subprocess.run([sys.executable, "-B", os.path.join(BENCH, "compare"), "--build", build,
                           "--workload", "pi", *options], capture_output=True, text=True,
                          check=False)


class Compare(unittest.TestCase):
    def test_prints_ratios_and_writes_every_repetition(self):
        with Build(pinion=program("pinion", 1), plain=program("plain", 1.5)) as build:
            target = os.path.join(build, "out.json")
            done = compare(build, "-n", "3", "--json", target)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("pi 4e9, 2 workers: 1.50 x the speed of the best, plain", done.stdout)
            with open(target, encoding="utf-8") as file:
                written = json.load(file)
        self.assertEqual([result["workers"] for result in written["results"]], [1, 2])
        plain = written["results"][0]["contenders"]["plain"]
        self.assertEqual(plain["median_seconds"], 1.5)
        self.assertEqual(len(plain["runs"]), 3 + plain["reruns"])
        self.assertEqual(written["build_type"], "Release")
        self.assertGreater(written["machine"]["cpus"], 0)

    def test_runs_jobs_of_several_processes(self):
        with Build(pinion=program("pinion", 1), plain=program("plain", 9),
                   openmpi=program("openmpi", 3)) as build:
            tools = os.path.join(build, "tools")
            os.makedirs(tools)
            launcher = os.path.join(tools, "pinion")
            for name in (launcher, os.path.join(tools, "mpirun")):
                with open(name, "w", encoding="utf-8") as file:
                    # What follows the options is the program.
                    file.write('#!/bin/sh\nwhile [ ! -f "$1" ]; do shift; done\nexec "$@"\n')
                os.chmod(name, stat.S_IRWXU)
            with unittest.mock.patch.dict(os.environ,
                                          {"PATH": tools + ":" + os.environ["PATH"]}):
                done = compare(build, "-n", "1", "--ranks", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("pi 4e9, 2 workers: 1.00 x the speed of the best, pinion, one rank",
                      done.stdout)
        self.assertIn("openmpi", done.stdout)
        self.assertNotIn("plain", done.stdout)

    def test_leaves_programs_of_mpi_out_where_there_is_one_process(self):
        with Build(pinion=program("pinion", 1), openmpi=program("openmpi", 3)) as build:
            done = compare(build, "-n", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("openmpi", done.stdout)

    def test_refuses_ranks_without_the_command(self):
        with Build(pinion=program("pinion", 1)) as build:
            done = compare(build, "-n", "1", "--ranks", "2")
        self.assertEqual(done.returncode, 66)
        self.assertIn("tools/pinion is not there", done.stderr)

    def test_refuses_when_answers_differ(self):
        with Build(pinion=program("pinion", 1), plain=program("plain", 1, "beef")) as build:
            done = compare(build, "-n", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("the checksums differ (plain beef, pinion cafe)", done.stderr)
        self.assertNotIn("x the speed", done.stdout)

    def test_refuses_a_program_that_needs_more_memory_than_it_may(self):
        bounded_program = program("pinion", 1).replace(
            '"peak_rss_bytes"', '"memory_bytes": 400 << 20, "memory_bytes_max": {} << 20, '
            '"peak_rss_bytes"')
        with Build(pinion=bounded_program.replace("{}", "300")) as build:
            done = compare(build, "-n", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("pinion had 400 MiB of memory beside its mapped input at once; at most 300 "
                      "MiB are right", done.stderr)
        with Build(pinion=bounded_program.replace("{}", "500")) as build:
            done = compare(build, "-n", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("peak memory beside the mapped input 400 MiB, at most 500 MiB", done.stdout)

    def test_says_which_program_failed_and_how(self):
        failing = "#!/bin/sh\necho 'no such column' >&2\nexit 3\n"
        with Build(pinion=program("pinion", 1), plain=failing) as build:
            done = compare(build, "-n", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ended with status 3: no such column", done.stderr)

    def test_refuses_what_is_no_json(self):
        with Build(pinion="#!/bin/sh\necho fast\n") as build:
            done = compare(build, "-n", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not a line of JSON", done.stderr)

    def test_says_what_is_missing(self):
        with Build(pinion=program("pinion", 1)) as build:
            self.assertEqual(compare(build, "--workload", "sort", "--data", build).returncode, 66)
            self.assertEqual(compare(build, "--workload", "soft", "--data", build).returncode, 64)
            self.assertEqual(compare(build, "--workers", "0").returncode, 64)
            self.assertEqual(compare(build, "-n", "0").returncode, 64)
        with tempfile.TemporaryDirectory() as empty:
            self.assertEqual(compare(empty).returncode, 66)


class Measuring(unittest.TestCase):
    @staticmethod
    def repetition(foreign, disturbed, checksum="1"):
        return {"seconds": 1.0, "cpu_seconds": 1.0, "rows": 1, "bytes": 0, "peak_rss_bytes": 1,
                "load_average": 0.0, "foreign_share": foreign, "disturbed": disturbed,
                "checksum": checksum}

    def test_a_disturbed_repetition_is_run_again_and_kept(self):
        planned = iter([self.repetition(0.5, True), self.repetition(0.2, True),
                        self.repetition(0.01, False)])
        best, attempts = runs.measure(["x"], run=lambda command: next(planned))
        self.assertEqual(best["foreign_share"], 0.01)
        self.assertEqual(len(attempts), 3)

    def test_gives_up_after_three_and_takes_the_least_disturbed(self):
        shares = iter([0.5, 0.3, 0.4, 0.6])
        best, attempts = runs.measure(
            ["x"], run=lambda command: self.repetition(next(shares), True))
        self.assertEqual(best["foreign_share"], 0.3)
        self.assertTrue(best["disturbed"])
        self.assertEqual(len(attempts), 4)

    def test_contenders_take_turns_in_being_first(self):
        order = []

        def run(command):
            order.append(command[0])
            return self.repetition(0, False)

        case = runs.Case("pi", "pi", [])
        with contextlib.redirect_stderr(io.StringIO()):
            runs.compare(case, {"a": "a", "b": "b", "c": "c"}, 1, 3, run=run)
        self.assertEqual("".join(order), "abcbcacab")

    def test_the_disturbance_of_a_short_run_is_not_seen_in_a_few_ticks(self):
        self.assertFalse(runs.is_disturbed(foreign_ticks=4, capacity_ticks=20))
        self.assertTrue(runs.is_disturbed(foreign_ticks=30, capacity_ticks=400))
        self.assertFalse(runs.is_disturbed(foreign_ticks=20, capacity_ticks=400))

    def test_a_busy_neighbour_is_seen(self):
        burn = "import time\nend = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass\n"
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2 or os.cpu_count() > 8:
            self.skipTest("one neighbour is more than 6 % of 2 to 8 CPUs only")
        quiet = "import json, time\ntime.sleep(0.4)\nprint(json.dumps({}))\n"
        with subprocess.Popen([sys.executable, "-c", burn]):
            seen = runs.run_once([sys.executable, "-c", quiet])
        self.assertTrue(seen["disturbed"], seen)


class Scaling(unittest.TestCase):
    def test_counts_double_up_to_all_cpus(self):
        self.assertEqual(scaling.worker_counts(1), [1])
        self.assertEqual(scaling.worker_counts(2), [1, 2])
        self.assertEqual(scaling.worker_counts(12), [1, 2, 4, 8, 12])
        self.assertEqual(scaling.worker_counts(16), [1, 2, 4, 8, 16])

    def test_the_table_says_what_was_not_measured(self):
        series = {"pi": ({1: 2.0, 4: 7.6}, "G/s"), "bulk": ({}, "M/s")}
        text = scaling.table(series, [1, 2, 4])
        self.assertIn("| pi | 2 G/s | not measured | 7.6 G/s | 0.95 at 4 |", text)
        self.assertIn("| bulk | not measured | not measured | not measured | not measured |", text)

    def test_the_drawing_is_xml_with_a_curve_each(self):
        series = {"pi <4e9>": ({1: 2.0, 2: 3.9}, "G/s"), "bulk": ({1: 1.0}, "M/s")}
        drawing = xml.dom.minidom.parseString(scaling.draw(series, [1, 2], "a & b"))
        self.assertEqual(len(drawing.getElementsByTagName("polyline")), 4)

    def test_reads_medians_of_google_benchmark(self):
        report = {"benchmarks": [
            {"run_name": "bulk/pinion/2/real_time", "aggregate_name": "median", "p50": 10.0},
            {"run_name": "bulk/pinion/2/real_time", "aggregate_name": "mean", "p50": 20.0},
            {"run_name": "bulk/pinion/64/real_time", "aggregate_name": "median", "p50": 1.0}]}
        self.assertEqual(scaling.parse_micro(report, [1, 2]),
                         {"bulk": {2: 100.0}, "submission": {}})


def write(root, path, text):
    path = os.path.join(root, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Launch(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        os.mkdir(os.path.join(self.folder.name, "tools"))
        self.add("tools/pinion", "exit 0")

    def add(self, name, script):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n" + script + "\n")
        os.chmod(path, 0o755)

    def contenders(self):
        said = io.StringIO()
        with unittest.mock.patch.dict(os.environ, {"PATH": self.folder.name}), \
                contextlib.redirect_stderr(said):
            return launch.contenders(self.folder.name, 3), said.getvalue()

    def test_names_what_is_not_installed_and_goes_on(self):
        self.add("mpirun.mpich", "exit 0")
        found, said = self.contenders()
        self.assertEqual(list(found), ["Pinion", "MPICH"])
        self.assertEqual(found["MPICH"][1:], ["-n", "3", "true"])
        self.assertIn("Open MPI is left out: none of mpirun.openmpi is installed", said)

    def test_measures_by_turns_and_prints_ratios(self):
        found = launch.compare({"Pinion": ["true"], "other": ["true"]}, 4)
        self.assertEqual({name: len(times) for name, times in found.items()},
                         {"Pinion": 4, "other": 4})
        lines = launch.table({"Pinion": [10, 12, 11], "other": [30, 22, 21]}).splitlines()
        self.assertEqual(lines[2], "| Pinion | 11.0 ms | 10.0 | 12.0 | 1.00 |")
        self.assertEqual(lines[3], "| other | 22.0 ms | 21.0 | 30.0 | 2.00 |")

    def test_says_which_launcher_failed(self):
        self.add("tools/pinion", "echo 'no CPU' >&2; exit 71")
        found, _ = self.contenders()
        with self.assertRaises(runs.Refused) as refused:
            launch.compare(found, 1)
        self.assertIn("ended with status 71: no CPU", str(refused.exception))

    def test_refuses_without_pinion(self):
        with self.assertRaises(runs.Refused) as refused:
            launch.contenders("/nowhere", 2)
        self.assertEqual(refused.exception.status, 66)


class MemoryGroups(unittest.TestCase):
    """Where a group with a limit is made, on systems that are folders of the test."""

    MOUNT = "31 23 0:28 {top} {point} rw,relatime - {kind} none rw,{options}\n"

    def parents(self, cgroup, *mounts):
        with tempfile.TemporaryDirectory(prefix="pinion-bench-test-") as root:
            write(root, "proc/self/cgroup", cgroup)
            write(root, "proc/self/mountinfo", "".join(self.MOUNT.format(**mount)
                                                       for mount in mounts))
            return [(hierarchy.version, parent.removeprefix(root))
                    for hierarchy in memory_group._hierarchies(root)
                    for parent in hierarchy.parents()]

    def test_version_1_our_own_group_first_then_those_around_it(self):
        found = self.parents(
            "5:cpu:/elsewhere\n4:memory:/service/ours\n0::/\n",
            {"top": "/", "point": "/sys/cpu", "kind": "cgroup", "options": "cpu"},
            {"top": "/", "point": "/sys/memory", "kind": "cgroup", "options": "memory"})
        self.assertEqual(found, [(1, "/sys/memory/service/ours"), (1, "/sys/memory/service"),
                                 (1, "/sys/memory")])

    def test_version_2_of_a_container_that_sees_the_lower_end_of_its_path(self):
        found = self.parents("0::/docker/abc/inner\n", {
            "top": "/docker/abc", "point": "/sys/fs/cgroup", "kind": "cgroup2", "options": "x"})
        self.assertEqual(found, [(2, "/sys/fs/cgroup/inner"), (2, "/sys/fs/cgroup")])

    def test_refuses_in_words_where_no_group_can_be_made(self):
        with tempfile.TemporaryDirectory(prefix="pinion-bench-test-") as root:
            write(root, "proc/self/cgroup", "0::/ours\n")
            with self.assertRaises(runs.Refused) as refused:
                memory_group.MemoryGroup(1 << 30, root)
            self.assertEqual(refused.exception.status, 77)
            self.assertIn("none of version 1 or 2 is mounted", str(refused.exception))
            write(root, "proc/self/mountinfo", self.MOUNT.format(
                top="/", point="/groups", kind="cgroup2", options="x"))
            write(root, "groups/cgroup.subtree_control", "memory\n")
            with self.assertRaises(runs.Refused) as refused:
                memory_group.MemoryGroup(1 << 30, root)
            self.assertEqual(refused.exception.status, 77)
            for words in ("groups/ours", "memory.max: No such file", "run as root"):
                self.assertIn(words, str(refused.exception))
            self.assertEqual(os.listdir(os.path.join(root, "groups")), ["cgroup.subtree_control"])

    def test_limits_a_program_and_goes(self):
        try:
            group = memory_group.MemoryGroup(64 << 20)
        except runs.Refused as refusal:
            self.skipTest(str(refusal))
        with group:
            greedy = [sys.executable, "-c", "print(len(bytearray(1 << 30)))"]
            self.assertEqual(subprocess.run(group.inside(["true"]), check=False).returncode, 0)
            self.assertEqual(subprocess.run(group.inside(greedy), check=False).returncode, -9)
            self.assertLessEqual(group.peak_bytes(), 64 << 20)
        self.assertFalse(os.path.exists(group.folder))


class Unlimited:
    """In place of a control group."""

    version = 2

    def __init__(self, limit_bytes):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def inside(self, command):
        return command

    def peak_bytes(self):
        return 7_000_000


SIZED_PROGRAM = """#!/usr/bin/env python3
import json, sys
size = int(sys.argv[sys.argv.index("--size") + 1])
print(json.dumps({{"seconds": size / 1e9 * (1 if size < 1e10 else {slowness}), "cpu_seconds": 1,
                   "rows": size / 12, "bytes": 0, "checksum": "1", "peak_rss_bytes": 5000000}}))
"""


class Bounded(unittest.TestCase):
    def ratio(self, slowness):
        output = io.StringIO()
        with Build(pinion=SIZED_PROGRAM.format(slowness=slowness)) as build, \
                unittest.mock.patch("memory_group.MemoryGroup", Unlimited), \
                contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
            program = [os.path.join(build, "bench", "workloads", "pi", "pinion")]
            ratio = bounded.compare_amounts(program, bounded.FULL, 3, 0)
        return ratio, output.getvalue()

    def test_prints_rates_their_ratio_and_peaks(self):
        ratio, output = self.ratio(1)
        self.assertAlmostEqual(ratio, 1)
        self.assertRegex(output, r"(?m)^3 GB of rows .* 83.33 Mrow/s +5 MB +7 MB ")
        self.assertRegex(output, r"(?m)^30 GB of rows .* 83.33 Mrow/s +1.00 +5 MB +7 MB ")

    def test_sees_a_job_that_slows_down(self):
        self.assertAlmostEqual(self.ratio(1.25)[0], 0.8)


def repetition(nanoseconds, before=None, after=None, disturbed=False):
    return {"nanoseconds": nanoseconds, "line_before": before, "line_after": after,
            "disturbed": disturbed}


class DagCompare(unittest.TestCase):
    def test_lists_repetitions_apart_when_the_cpus_were_far(self):
        lines = dag_compare.report("chain", {
            "pinion": [repetition(10, 60, 70), repetition(30, 60, 300), repetition(12, 80, 75)],
            "threads": [repetition(22, 60, 60), repetition(90, 310, 320)]})
        self.assertEqual(lines, [
            "chain, lines near (65 ns): pinion 11.0 (1.00x) n=2, threads 22.0 (2.00x) n=1",
            "chain, lines far (305 ns): pinion 30.0 (1.00x) n=1, threads 90.0 (3.00x) n=1",
            "    0 of 5 repetitions stayed disturbed"])

    def test_leaves_out_what_stayed_disturbed(self):
        lines = dag_compare.report("chain", {
            "pinion": [repetition(10), repetition(90, disturbed=True), repetition(12)],
            "threads": [repetition(33, disturbed=True)]})
        self.assertEqual(lines, ["chain: pinion 11.0 (1.00x), threads 33.0* (3.00x)",
                                 "    2 of 4 repetitions stayed disturbed"])


class TransportHosts(unittest.TestCase):
    def compare(self, **outputs):
        """What measure_by_turns() makes of contenders that print so, in two rounds."""
        named = {name: lambda hosts, options, text=text: transport_hosts.samples_of(text)
                 for name, text in outputs.items()}
        with unittest.mock.patch.object(transport_hosts, "Hosts", contextlib.nullcontext):
            return transport_hosts.measure_by_turns(named, 2, [])

    def test_has_the_median_of_each_round(self):
        medians = self.compare(one="request 3 1 2\n65536x1 5 7\nanswer 65536x1 ab\nother 9\n",
                               two="65536x1 4\nanswer 65536x1 ab\n")
        self.assertEqual(medians, {"one": {"request": [2, 2], "65536x1": [6, 6]},
                                   "two": {"65536x1": [4, 4]}})

    def test_refuses_two_answers(self):
        with self.assertRaisesRegex(runs.Refused, "65536x1: two received cd and one ab"):
            self.compare(one="answer 65536x1 ab\n", two="answer 65536x1 cd\n")

    def test_names_what_is_carried(self):
        self.assertEqual([transport_hosts.title_of(work) for work in ("65536x1", "1048576x8")],
                         ["64 KiB, GB/s", "8 of 1 MiB, GB/s"])


if __name__ == "__main__":
    unittest.main()
