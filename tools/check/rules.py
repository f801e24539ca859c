"""The rules that tidy.py applies. check() is the only entry."""

import os
import re

import source

FILE_LINES_MAX = 600
EXAMPLE_LINES_MAX = 59
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
FILE_BYTES_MAX = 512 * 1024

CPP = (".cpp", ".hpp", ".h", ".cu", ".cuh")
HEADERS = (".hpp", ".h", ".cuh")
SCRIPTS = (".cmake", ".py", ".sh")
TEXTS = (".md", ".in", ".fbs", ".json", ".toml", ".yml")


class Word:
    """A pattern that code, or comments, may hold only in files whose path matches `allowed`."""

    def __init__(self, rule, pattern, advice, allowed=None, only=None):
        self.rule = rule
        self.pattern = re.compile(pattern)
        self.advice = advice
        self.allowed = re.compile(allowed) if allowed else None
        self.only = re.compile(only) if only else None

    def applies(self, path):
        return not (self.allowed and self.allowed.match(path)) and (
            not self.only or bool(self.only.match(path)))


PROTOCOL = r"shard/(src|include/pinion/shard)/protocol/"

CODE_WORDS = [
    Word("thread", r"\bstd::j?thread\b|\bpthread_create\b",
         "threads are made by the executor, by runtime, and where CUDA waits for events",
         r"(core/src|runtime/src|gpu/src/cuda|tests|bench)/"),
    Word("clock", r"\b(steady|system|high_resolution)_clock::now\b|\bsystem_clock\b|"
         r"\bclock_gettime\b|\bgettimeofday\b|\btime\s*\(\s*(nullptr|NULL|0)\s*\)",
         "take the time from an IClock", r"(core/src/clock\.cpp|tests/core/clock_test\.cpp)$"),
    Word("environment", r"\b(secure_)?getenv\b", "settings come from runtime's settings",
         r"(runtime/src/settings\.cpp$|tests/)"),
    Word("random", r"\brandom_device\b|\bs?rand\s*\(", "take a seed from the job",
         r"(runtime/src|tests)/"),
    Word("volatile", r"\bvolatile\b", "use std::atomic"),
    Word("using-std", r"\busing\s+namespace\s+std\s*;", "write std::"),
    Word("assert", r"\bassert\s*\(", "use PINION_ASSERT, which release builds check too"),
    Word("sleep", r"\bsleep_(for|until)\b|\b(u|nano)?sleep\s*\(",
         "wait for the condition itself, or own the clock", only=r"tests/"),
    Word("protocol",
         r"(::|\.|->)now\s*\(|\bstd::(mutex|atomic|unordered_\w+|cout|cerr)\b|\bf?printf\s*\(",
         "the protocol is a pure state machine: no clock, thread, output, no order made by hashes",
         only=PROTOCOL),
    Word("exit-status", r"\breturn\s+1;|\?\s*0\s*:\s*1;",
         "1 is not in the table of errors; return report(status)", only=r"examples/"),
]

COMMENT_WORDS = [
    Word("todo", r"\bTODO(?!\(#[0-9]+\):)|\b(FIXME|XXX|HACK)\b",
         "say TODO(#issue): or open an issue"),
    Word("placeholder", r"(?i)\b(placeholder|for now|stub|dummy)\b",
         "say what the code does; what is not there has an issue"),
]

INCLUDE_WORDS = [
    Word("protocol", r"<(thread|mutex|shared_mutex|condition_variable|atomic|fstream|iostream|"
         r"filesystem|random|unordered_map|unordered_set|unistd\.h|fcntl\.h|sys/.*|netinet/.*)>",
         "the protocol is a pure state machine", only=PROTOCOL),
    Word("seam", r"<(sys/socket\.h|sys/un\.h|netinet/.*|arpa/.*|cuda.*|ucp/.*|uct/.*|ucs/.*)>",
         "shard and dag see no socket, no CUDA and no UCX",
         only=rf"(?!{PROTOCOL})(shard|dag)/"),
    Word("third-party",
         r"[<\"](tbb|oneapi|hwloc|boost|flatbuffers|fmt|spdlog|CLI|nlohmann|toml\+\+|hwy|xxhash|"
         r"zstd|zlib|ucp|ucs|uct|cuda\w*|nvml)[./]",
         "third-party types stay out of public headers", only=r"[a-z]+/include/pinion/.*\.hpp$"),
    Word("include", r"\"pinion/|\"\.\./", "public headers are included as <pinion/module/x.hpp>, "
         "private ones by their name"),
]


def _kind(path):
    name = os.path.basename(path)
    extension = os.path.splitext(name)[1]
    if extension in CPP:
        return "cpp"
    if extension in SCRIPTS or name == "CMakeLists.txt" or path == ".ci/run":
        return "script"
    return "text" if extension in TEXTS else "other"


def _check_text(lines):
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            yield number, "whitespace", "a tab; indent with spaces"
        if line != line.rstrip():
            yield number, "whitespace", "trailing white space or a carriage return"


def _check_sizes(path, lines):
    most = EXAMPLE_LINES_MAX if re.match(r"examples/.*\.(cpp|cu)$", path) else FILE_LINES_MAX
    if len(lines) > most:
        yield (len(lines), "file-length",
               f"{len(lines)} lines, at most {most}; split it by subject")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            yield number, "columns", f"{len(line)} columns, at most {COLUMNS_MAX}"


def _check_words(path, text, words):
    for word in words:
        if word.applies(path):
            for match in word.pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                yield line, word.rule, f"'{match.group().strip()}': {word.advice}"


def _check_cpp(path, text):
    code, comments = source.split(text)
    for first, last in source.functions(code):
        if last - first + 1 > FUNCTION_LINES_MAX:
            yield (first, "function-length",
                   f"{last - first + 1} lines, at most {FUNCTION_LINES_MAX}; split it")
    yield from _check_words(path, code, CODE_WORDS)
    yield from _check_words(path, comments, COMMENT_WORDS)
    includes = re.sub(r"(?m)^(?!\s*#\s*include\b).*$", "", text)
    yield from _check_words(path, includes, INCLUDE_WORDS)
    if path.endswith(HEADERS) and not re.search(r"(?m)^#pragma once$", code):
        yield 1, "pragma-once", "a header begins with #pragma once"


def _check_script(path, text):
    comments = "\n".join(match.group() if (match := re.search(r"(^|\s)#.*$", line)) else ""
                         for line in text.split("\n"))
    if not path.startswith(("tools/check/", "tests/style/")):
        yield from _check_words(path, comments, COMMENT_WORDS)


def check(path, content):
    """The violations of one file as lines of words. `path` is relative to the repository."""
    if len(content) > FILE_BYTES_MAX:
        return [f"{path}:1: [file-size] {len(content)} bytes, at most {FILE_BYTES_MAX}"]
    if re.search(r"_generated\.h(pp)?$", path):
        return [f"{path}:1: [generated] generated files stay in the build folder"]
    kind = _kind(path)
    if kind == "other" or b"\0" in content:
        return []
    text = content.decode("utf-8", errors="replace")
    lines = text.split("\n")
    found = list(_check_text(lines))
    if text and not text.endswith("\n"):
        found.append((len(lines), "whitespace", "the last line does not end"))
    if kind in ("cpp", "script"):
        found += _check_sizes(path, lines[:-1])
    if kind == "cpp":
        found += _check_cpp(path, text)
    if kind == "script":
        found += _check_script(path, text)
    return [f"{path}:{line}: [{rule}] {advice}" for line, rule, advice in sorted(found)]
