"""Every rule of tools/check refuses its bad snippet and leaves the good one alone."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/check"))

import rules  # noqa: E402
import source  # noqa: E402

SOURCE = "numa/src/pin.cpp"
HEADER = "numa/include/pinion/numa/pin.hpp"
PROTOCOL = "shard/src/protocol/coordinator.cpp"
TEST = "tests/numa/pin_test.cpp"

# (rule, path, snippet that is refused)
BAD = [
    ("thread", SOURCE, "std::thread worker(run);\n"),
    ("thread", SOURCE, "std::jthread worker(run);\n"),
    ("clock", SOURCE, "const auto begin = std::chrono::steady_clock::now();\n"),
    ("clock", TEST, "const auto begin = std::chrono::system_clock::now();\n"),
    ("clock", SOURCE, "clock_gettime(CLOCK_MONOTONIC, &spec);\n"),
    ("environment", SOURCE, 'const char* home = std::getenv("HOME");\n'),
    ("random", SOURCE, "std::random_device device;\n"),
    ("random", SOURCE, "int roll = rand();\n"),
    ("volatile", SOURCE, "volatile int flag = 0;\n"),
    ("using-std", SOURCE, "using namespace std;\n"),
    ("assert", SOURCE, "assert(count > 0);\n"),
    ("sleep", TEST, "std::this_thread::sleep_for(delay);\n"),
    ("sleep", TEST, "usleep(1000);\n"),
    ("protocol", PROTOCOL, "const Instant now = clock.now();\n"),
    ("protocol", PROTOCOL, "std::unordered_map<int, int> leases;\n"),
    ("protocol", PROTOCOL, "#include <thread>\n"),
    ("protocol", PROTOCOL, "#include <unordered_set>\n"),
    ("protocol", PROTOCOL, "#include <fstream>\n"),
    ("protocol", PROTOCOL, "#include <sys/socket.h>\n"),
    ("protocol", "shard/include/pinion/shard/protocol/wire.hpp",
     "#pragma once\n#include <mutex>\n"),
    ("exit-status", "examples/13_pin.cpp", "  return printed.ok() ? 0 : 1;\n"),
    ("exit-status", "examples/13_pin.cpp", "    return 1;\n"),
    ("seam", "shard/src/engine/input.cpp", "#include <sys/socket.h>\n"),
    ("seam", "dag/src/graph.cpp", "#include <cuda_runtime.h>\n"),
    ("third-party", HEADER, "#pragma once\n#include <hwloc.h>\n"),
    ("third-party", HEADER, "#pragma once\n#include <tbb/task_arena.h>\n"),
    ("include", SOURCE, '#include "pinion/numa/pin.hpp"\n'),
    ("include", SOURCE, '#include "../core/pin.hpp"\n'),
    ("pragma-once", HEADER, "int pin();\n"),
    ("pragma-once", HEADER, "// #pragma once\nint pin();\n"),
    ("todo", SOURCE, "// TODO: bind the memory as well\n"),
    ("todo", "core/CMakeLists.txt", "# FIXME later\n"),
    ("placeholder", SOURCE, "// Returns zero for now.\n"),
    ("whitespace", SOURCE, "int\tpin();\n"),
    ("whitespace", "README.md", "words \n"),
    ("whitespace", SOURCE, "int pin();\r\n"),
    ("whitespace", SOURCE, "int pin();"),
    ("columns", SOURCE, "// " + "x" * 98 + "\n"),
    ("columns", "cmake/PinionModule.cmake", "# " + "x" * 99 + "\n"),
    ("file-length", SOURCE, "int pin();\n" * 601),
    ("file-length", "examples/13_pin.cpp", "int pin();\n" * 60),
    ("file-length", "examples/30_own_kernel.cu", "int pin();\n" * 60),
    ("function-length", SOURCE, "void pin() {\n" + "  step();\n" * 69 + "}\n"),
    ("function-length", SOURCE,
     "class Pin {\n  void pin() const noexcept {\n" + "  step();\n" * 69 + "  }\n};\n"),
    ("function-length", TEST, "TEST(Pin, Holds) {\n" + "  step();\n" * 69 + "}\n"),
    ("file-size", "tests/data/machine.xml", "x" * (512 * 1024 + 1)),
    ("generated", "shard/src/job_generated.h", "#pragma once\n"),
]

# (path, snippet that every rule accepts)
GOOD = [
    ("core/src/executor.cpp", "std::thread worker(run);\n"),
    ("core/src/clock.cpp", "return std::chrono::steady_clock::now();\n"),
    ("runtime/src/settings.cpp", 'const char* value = std::getenv("PINION_LOG");\n'),
    ("tests/sim/lease_sim.cpp", "std::random_device device;\n"),
    (SOURCE, "const std::string_view text = \"std::thread, volatile, rand()\";\n"),
    (SOURCE, "const auto text = R\"(using namespace std; TODO)\";\n"),
    (SOURCE, "// A volatile thing: std::thread is what the executor has.\n"),
    (SOURCE, "static_assert(sizeof(int) == 4);\n"),
    (SOURCE, "using namespace std::chrono_literals;\n"),
    (SOURCE, "std::this_thread::yield();\n"),
    (SOURCE, "constexpr int kMillion = 1'000'000;  // Not the start of 'a character'.\n"),
    (SOURCE, "// TODO(#12): bind the memory as well\n"),
    (HEADER, "// What pins.\n#pragma once\n\n#include <pinion/core/place.hpp>\n"),
    (SOURCE, "#include <hwloc.h>\n"),
    ("README.md", "| " + "x" * 120 + " |\n"),
    (PROTOCOL, "void step(Instant now);\n"),
    ("examples/13_pin.cpp", "  return pinion::report(printed);\n"),
    (SOURCE, "  return 1;\n"),
    (SOURCE, "// " + "x" * 97 + "\n"),
    (SOURCE, "int pin();\n" * 600),
    ("examples/13_pin.cpp", "int pin();\n" * 59),
    ("examples/30_own_kernel.cu", "int pin();\n" * 59),
    ("examples/CMakeLists.txt", "pinion_add_example(13_pin)\n" * 60),
    (SOURCE, "void pin() {\n" + "  step();\n" * 68 + "}\n"),
    (SOURCE, "namespace pinion {\n" + "int pin();\n" * 90 + "}  // namespace pinion\n"),
    (SOURCE, "class PINION_TSA(capability(\"mutex\")) Pin {\n" + "  int pin();\n" * 90 + "};\n"),
    (SOURCE, "constexpr int kTable[] = {\n" + "    1,\n" * 90 + "};\n"),
]


def rules_broken(path, snippet):
    return {line.split("[")[1].split("]")[0] for line in rules.check(path, snippet.encode())}


class Rules(unittest.TestCase):
    def test_each_bad_snippet_is_refused_by_its_rule_alone(self):
        for rule, path, snippet in BAD:
            with self.subTest(rule=rule, snippet=snippet[:60]):
                self.assertEqual(rules_broken(path, snippet), {rule})

    def test_no_good_snippet_is_refused(self):
        for path, snippet in GOOD:
            with self.subTest(path=path, snippet=snippet[:60]):
                self.assertEqual(rules_broken(path, snippet), set())

    def test_every_rule_has_a_bad_snippet(self):
        words = rules.CODE_WORDS + rules.COMMENT_WORDS + rules.INCLUDE_WORDS
        tried = {rule for rule, _, _ in BAD}
        self.assertEqual({word.rule for word in words} - tried, set())

    def test_a_violation_names_file_line_and_rule(self):
        self.assertEqual(
            rules.check(SOURCE, b"int a;\nvolatile int b;\n"),
            ["numa/src/pin.cpp:2: [volatile] 'volatile': use std::atomic"])


class Source(unittest.TestCase):
    def test_code_and_comments_keep_their_lines(self):
        code, comments = source.split('int a; // one\n/* two\n */ const char* b = "// no";\n')
        self.assertEqual(code.split("\n")[0].rstrip(), "int a;")
        self.assertIn("// one", comments.split("\n")[0])
        self.assertNotIn("no", code + comments)

    def test_a_function_is_counted_from_its_head_to_its_brace(self):
        code = "namespace a {\n\nint f(int x,\n      int y) {\n  if (x) {\n  }\n}\n}\n"
        self.assertEqual(source.functions(code), [(3, 7)])

    def test_macros_with_braces_do_not_upset_the_count(self):
        code = "#define A \\\n  do {      \\\n  } while (0)\nint f() {\n}\n"
        self.assertEqual(source.functions(code), [(4, 5)])


if __name__ == "__main__":
    unittest.main()
