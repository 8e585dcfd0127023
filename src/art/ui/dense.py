"""Our own scripts and styles without what only their readers need: indentation, comments, and blanks beside signs.

Pure. Reads the JavaScript that we write: each statement ends in a semicolon or a brace. What the page shows stays as it
is: texts keep their blanks, and where htm reads a line break as nothing, one is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_TOKEN = re.compile(
    r"""(?P<blank>(?:\s|//[^\n]*|/\*.*?\*/)+)|(?P<word>[\w$]+)|(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"""|(?P<sign>=>|\.\.\.|.)""",
    re.DOTALL,
)
_PATTERN = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\[])+/[a-z]*")
_TEMPLATE = re.compile(r"((?:\\.|\$(?!\{)|[^\\`$])*)(`|\$\{)", re.DOTALL)
_BEFORE_PATTERN = frozenset("(,=:[!&|?{};+-*%<>~^") | {"=>", "return", "typeof", ""}
_BREAK = re.compile(r"[ \t]*\n\s*")
_TAGS = re.compile(r">\n<")
_QUOTED = re.compile(r'="([\w-]+)"(?=[\s/>])')
_OPEN, _CLOSING = frozenset(";{(,[=&|?:+-*<>!"), frozenset(")]},;.?:=&|")
_STYLE = re.compile(r'("[^"]*")|(?:\s|/\*.*?\*/)*([{};,>])(?:\s|/\*.*?\*/)*|(:)\s+|/\*.*?\*/|\s+', re.DOTALL)


def dense_script(source: str) -> str:
    """Give a script that does the same in fewer bytes."""
    return "".join(_needed(_merged(_shorter(_tokens(source)))))


def dense_style(source: str) -> str:
    """Give a style sheet that says the same in fewer bytes."""
    dense = _STYLE.sub(lambda match: match[1] or match[2] or match[3] or ("" if "/*" in match[0] else " "), source)
    return dense.replace(";}", "}").strip()


def _tokens(source: str) -> Iterator[str]:
    """Yield words, signs, texts and blanks; a template comes in parts, each from its sign to the next."""
    at, last, templates = 0, "", list[tuple[int, bool]]()
    depth = 0
    while at < len(source):
        if source[at] == "`" or (source[at] == "}" and templates and templates[-1][0] == depth):
            is_markup = templates.pop()[1] if source[at] == "}" else last == "html"
            match = _TEMPLATE.match(source, at + 1)
            assert match is not None, "a template that ends"
            if match[2] == "${":
                templates.append((depth, is_markup))
            piece = source[at] + (_markup(match[1]) if is_markup else match[1]) + match[2]
        else:
            is_pattern = source[at] == "/" and source[at + 1] not in "/*" and last in _BEFORE_PATTERN
            match = (_PATTERN if is_pattern else _TOKEN).match(source, at)
            assert match is not None, "a sign, if nothing else"
            piece = match[0]
            depth += (piece == "{") - (piece == "}")
            if match.lastgroup == "blank":
                piece = "\n" if "\n" in piece else " "
        at = match.end()
        last = last if piece.isspace() else piece
        yield piece


def _markup(text: str) -> str:
    """Give a piece of htm's markup; an attribute that is one word needs no quotes."""
    return _QUOTED.sub(r"=\1", _TAGS.sub("><", _BREAK.sub("\n", text))).replace(" />", "/>")


def _shorter(tokens: Iterator[str]) -> Sequence[str]:
    """Leave out the comma before a closing bracket, and the brackets of a function's one argument."""
    shorter, solid = list[str](), list[int]()
    for token in tokens:
        if not token.isspace():
            last = [shorter[place] for place in solid[-4:]]
            if token in ("}", "]") and last[-1] == ",":
                shorter[solid.pop()] = ""
            elif token == "=>" and last[1::2] == ["(", ")"] and _is_word(last[2][-1]) and not _is_word(last[0][-1]):
                shorter[solid[-3]] = shorter[solid[-1]] = ""
                solid = [*solid[:-3], solid[-2]]
            solid.append(len(shorter))
        shorter.append(token)
    return [token for token in shorter if token]


def _merged(tokens: Sequence[str]) -> Sequence[str]:
    """Make one `const` of those that follow each other in a block."""
    merged, is_const, last = list[str](), [False], 0
    for token in tokens:
        if token.isspace():
            merged.append(token)
            continue
        is_closing = token[0] in ")]}"
        if is_closing:
            is_const.pop()
        begins = not merged or merged[last] == ";"
        if begins and not is_closing and token != "const":
            is_const[-1] = False
        elif begins and token == "const" and is_const[-1]:
            merged[last] = ","
            continue
        elif token == "const":
            is_const[-1] = True
        if token in ("(", "[", "{") or token.endswith("${"):
            is_const.append(False)
        last = len(merged)
        merged.append(token)
    return merged


def _needed(tokens: Sequence[str]) -> Iterator[str]:
    """Leave out the blanks that separate nothing."""
    for place, token in enumerate(tokens):
        before, after = tokens[place - 1][-1] if place else "", tokens[place + 1][0] if place + 1 < len(tokens) else ""
        if not token.isspace() or _separates(token, before, after):
            yield token


def _separates(blank: str, before: str, after: str) -> bool:
    if not before or not after:
        return False
    if _is_word(before) and _is_word(after):
        return True
    if blank == "\n":
        return before not in _OPEN and after not in _CLOSING
    return before == after and before in "+-/"


def _is_word(character: str) -> bool:
    return character.isalnum() or character in "_$"
