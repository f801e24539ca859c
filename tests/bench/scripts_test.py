"""bench/compare and bench/scaling, with small scripts in place of workload programs."""

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
import xml.dom.minidom

sys.dont_write_bytecode = True
BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench")
sys.path.insert(0, BENCH)

import runs  # noqa: E402


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(BENCH, name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


scaling = load("scaling")

PROGRAM = """#!/usr/bin/env python3
import json, sys
workers = int(sys.argv[sys.argv.index("--workers") + 1])
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

    def test_refuses_when_answers_differ(self):
        with Build(pinion=program("pinion", 1), plain=program("plain", 1, "beef")) as build:
            done = compare(build, "-n", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("the checksums differ (plain beef, pinion cafe)", done.stderr)
        self.assertNotIn("x the speed", done.stdout)

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


if __name__ == "__main__":
    unittest.main()
