"""bench/gpu.sh, with scripts in place of CMake, of what it builds and of the sanitizer."""

import os
import shutil
import stat
import subprocess
import tempfile
import unittest

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench/gpu.sh")

# What configuring and building leave behind.
CMAKE = """#!/bin/sh
[ "$1" = -S ] || exit 0
mkdir -p "$4" && cp "$(dirname "$0")"/built/* "$4"
"""
PASSED = "echo '[==========] 2 tests ran.'; echo '[  PASSED  ] 2 tests.'"
SKIPPED = """echo 'NOT_FOUND: this process has no GPU: the driver says no'
echo '[  PASSED  ] 0 tests.'; echo '[  SKIPPED ] 2 tests, listed below:'"""
SOME_SKIPPED = "echo '[  PASSED  ] 1 test.'; echo '[  SKIPPED ] 1 test, listed below:'"
NO_GPU = """for argument; do [ "$argument" != --emulated ] || { echo emulated; exit 0; }; done
exit 77"""
HANGS = "exec sleep 600"


def write_program(path, body):
    with open(path, "w", encoding="utf-8") as file:
        file.write(body if body.startswith("#!") else "#!/bin/sh\n" + body + "\n")
    os.chmod(path, stat.S_IRWXU)


class GpuScript(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="pinion-gpu-script-test-")
        self.addCleanup(folder.cleanup)
        self.root = folder.name
        self.programs = os.path.join(self.root, "programs")
        self.out = os.path.join(self.root, "out")
        for name in ("bench", "out", "programs/built"):
            os.makedirs(os.path.join(self.root, name))
        shutil.copy(SCRIPT, os.path.join(self.root, "bench/gpu.sh"))

    def run_script(self, limits=(), cmake=CMAKE, contract=PASSED, benchmark="echo rows",
                   sanitizer='shift 2; "$@"', under_sanitizer=None):
        """The script's exit status and output; `limits` are seconds of phases, as it names them."""
        if limits:
            path = os.path.join(self.root, "bench/gpu.sh")
            with open(path, encoding="utf-8") as file:
                text = file.read()
            for phase in limits:
                text = text.replace(f"\n{phase}_seconds=", f"\n{phase}_seconds=1 #")
            write_program(path, text)
        if under_sanitizer is not None:
            contract = f'[ -z "$SANITIZED" ] || {{ {under_sanitizer}; exit; }}; {contract}'
        built = {"cuda_conformance_test": contract, "30_own_kernel": "true", "gpu_bench": benchmark}
        for name, body in built.items():
            write_program(os.path.join(self.programs, "built", name), body)
        write_program(os.path.join(self.programs, "cmake"), cmake)
        write_program(os.path.join(self.programs, "compute-sanitizer"),
                      "SANITIZED=1; export SANITIZED; " + sanitizer)
        result = subprocess.run(
            ["bash", os.path.join(self.root, "bench/gpu.sh")], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, cwd=self.root,
            env={"PATH": self.programs + ":/usr/bin:/bin", "OUT": self.out})
        return result.returncode, result.stdout

    def read(self, name):
        with open(os.path.join(self.out, name), encoding="utf-8") as file:
            return file.read()

    def test_ends_well_where_all_is_well_and_leaves_its_report_in_out(self):
        status, output = self.run_script()
        self.assertEqual(status, 0, output)
        self.assertIn("compute-sanitizer: no error\nexit status 0\n", output)
        self.assertEqual(self.read("report.txt"), output)
        self.assertIn("PASSED", self.read("contract.txt"))
        self.assertIn("PASSED", self.read("sanitizer.txt"))
        self.assertLess(output.index("rows"), output.index("compute-sanitizer"))

    def test_says_what_is_missing_where_the_build_cannot_be_configured(self):
        status, output = self.run_script(cmake="exit 1")
        self.assertEqual(status, 69)
        self.assertIn("libhwloc-dev", output)
        self.assertIn("--fetch", output)

    def test_tries_the_benchmark_on_an_emulated_device_where_there_is_no_gpu(self):
        status, output = self.run_script(contract=SKIPPED, benchmark=NO_GPU)
        self.assertEqual(status, 77, output)
        self.assertIn("\nemulated\n", output)
        self.assertIn("does not work here: NOT_FOUND: this process has no GPU", output)

    def test_takes_no_word_of_a_sanitizer_that_let_no_test_run(self):
        for words in (SKIPPED, "echo '========= Error: Device not supported.'; exit 9"):
            status, output = self.run_script(under_sanitizer=words)
            self.assertEqual(status, 0, output)
            self.assertIn("compute-sanitizer: does not work here: ", output)
            self.assertNotIn("no error", output)

    def test_is_not_content_with_a_sanitizer_that_let_some_tests_run_or_none(self):
        for words in (SOME_SKIPPED, "echo '[  PASSED  ] 0 tests.'", "true"):
            status, output = self.run_script(under_sanitizer=words)
            self.assertEqual(status, 1, output)
            self.assertIn("compute-sanitizer: FAILED", output)

    def test_shows_what_the_sanitizer_has_found(self):
        found = "echo '========= Invalid __global__ write'; exit 9"
        status, output = self.run_script(under_sanitizer=found)
        self.assertEqual(status, 1)
        self.assertIn("Invalid __global__ write", output)

    def test_goes_on_behind_a_phase_that_hangs(self):
        status, output = self.run_script(limits=("contract", "benchmark", "sanitizer"),
                                         contract=HANGS, benchmark=HANGS)
        self.assertEqual(status, 1)
        for phase in ("contract", "benchmark", "compute-sanitizer"):
            self.assertIn(f"{phase}: has not ended within 1 s", output)
        self.assertTrue(output.endswith("exit status 1\n"), output)

    def test_ends_badly_when_a_result_is_wrong(self):
        for wrong in ({"contract": "exit 1"}, {"benchmark": "exit 70"}):
            status, output = self.run_script(**wrong, under_sanitizer=PASSED)
            self.assertEqual(status, 1, output)


if __name__ == "__main__":
    unittest.main()
