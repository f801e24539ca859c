"""Reads C++ just well enough for tidy.py: what is code, what is a comment, where functions lie."""

import re

_TOKEN = re.compile(
    r"""
      (?P<line_comment>//[^\n]*)
    | (?P<block_comment>/\*.*?\*/)
    | (?P<raw>R"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)")
    | (?P<string>"(?:\\.|[^"\\\n])*")
    | (?P<number>\b[0-9][0-9A-Za-z_.']*)
    | (?P<character>'(?:\\.|[^'\\\n])+')
    """,
    re.VERBOSE | re.DOTALL,
)


def _blank(part):
    return re.sub(r"[^\n]", " ", part)


def split(text):
    """(code, comments): both as long as `text`, line for line, with all else made blank."""
    code, comments = [], []
    position = 0

    for match in _TOKEN.finditer(text):
        plain = text[position:match.start()]
        code.append(plain)
        comments.append(_blank(plain))
        part = match.group()
        is_comment = match.lastgroup in ("line_comment", "block_comment")
        code.append(part if match.lastgroup == "number" else _blank(part))
        comments.append(part if is_comment else _blank(part))
        position = match.end()
    code.append(text[position:])
    comments.append(_blank(text[position:]))
    return "".join(code), "".join(comments)


_CONTAINER = re.compile(
    r"^(?:template\s*<.*>\s*)?(?:inline\s+)?(?:namespace|class|struct|union|enum|extern)\b",
    re.DOTALL,
)


# A preprocessor directive with its continuation lines.
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", re.MULTILINE)


def _line_of(text, position):
    return text.count("\n", 0, position) + 1


def functions(code):
    """(first line, last line) of each function body with its head, lambdas within counted in."""
    found = []
    depth_of_function = None
    head_start = 0
    depth = 0
    first_line = 0
    code = _DIRECTIVE.sub(lambda directive: _blank(directive.group()), code)
    for match in re.finditer(r"[{};]", code):
        position = match.start()
        if match.group() == "{":
            if depth_of_function is None:
                head = code[head_start:position]
                if ")" in head and not _CONTAINER.match(head.strip()):
                    depth_of_function = depth
                    start = head_start + len(head) - len(head.lstrip())
                    first_line = _line_of(code, start)
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if depth_of_function is not None and depth == depth_of_function:
                found.append((first_line, _line_of(code, position)))
                depth_of_function = None
        head_start = position + 1
    return found
