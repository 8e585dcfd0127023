"""The shape of the house: files that one can hold in the head, small functions, few parameters, values by keyword."""

import ast
import re
import statistics
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROOT = REPOSITORY / "src" / "art"
MODULES = sorted(ROOT.rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS, MOST_POSITIONAL_FIELDS = 350, 45, 6, 3

MOST_LINES_OF_THE_MEDIAN = 8
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

# Words that name nothing: a variable is called by what it holds.
NO_NOUNS = {"asked", "done", "found", "said", "there"}
# What others have decided: the documented API, transformers' attention, and options that typer reads off a signature.
GIVEN_SIGNATURES = {
    "adapter/attention.py",
    "gather.py",
    "local/backend.py",
    "mcp/generate_scenarios.py",
    "model.py",
    "rollouts.py",
    "utils/benchmarking/charts/percentage_comparison_bar_chart.py",
    "utils/benchmarking/charts/training_progress_chart.py",
    "utils/s3.py",
    "utils/sft.py",
}
# What two classes may be called. ART's scripts import the settings by these names, from `art` and from `art.dev`. A
# branch is one thing, held by our training functions and by the script of another trainer.
SAME_NAMES = {"LoRAConfig", "TrainConfig", "TrainSFTConfig", "Branch"}
# Wider still, and by how much: these may only shrink.
STILL_WIDE: dict[str, int] = {}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Everything in a file, from the outside in."""
    return list(ast.walk(ast.parse(path.read_text())))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in nodes(path) if isinstance(node, ast.ClassDef)]


def test_a_file_can_be_held_in_the_head():
    lines = {named(path): len(path.read_text().splitlines()) for path in MODULES}

    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_functions_are_small():
    lines = {f"{named(path)}: {each.name}": _lines(each) for path in MODULES for each in functions(path)}

    assert {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_FUNCTION} == {}


def test_most_functions_are_seen_at_a_glance():
    lines = [_lines(each) for path in MODULES for each in functions(path)]

    assert statistics.median(lines) <= MOST_LINES_OF_THE_MEDIAN


def test_functions_have_few_parameters():
    ours = [path for path in MODULES if named(path) not in GIVEN_SIGNATURES and not named(path).startswith("cli/")]
    wide = [
        f"{named(path)}: {each.name}: {_parameters(each)}"
        for path in ours
        for each in functions(path)
        if _parameters(each) > STILL_WIDE.get(named(path), MOST_PARAMETERS)
    ]

    assert wide == []


def test_values_with_many_fields_are_made_by_keyword():
    positional = [
        f"{named(path)}: {each.name}"
        for path in MODULES
        for each in classes(path)
        if _is_positional(each) and _fields(each) > MOST_POSITIONAL_FIELDS
    ]

    assert positional == []


def test_the_name_of_a_class_means_one_thing():
    places: dict[str, list[str]] = {}
    for path in MODULES:
        module, *_ = nodes(path)
        assert isinstance(module, ast.Module)
        for node in module.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(named(path))
    twice = {name: where for name, where in places.items() if len(where) > 1 and name not in SAME_NAMES}

    assert twice == {}


def test_the_name_of_a_variable_has_a_noun():
    empty = [
        f"{named(path)}, line {line}: {name}"
        for path in MODULES
        for name, line in _bound(nodes(path))
        if name.lstrip("_") in NO_NOUNS
    ]

    assert empty == []


def test_the_name_of_a_function_or_a_class_has_a_noun_or_a_verb():
    empty = [
        f"{named(path)}: {each.name}"
        for path in MODULES
        for each in (*functions(path), *classes(path))
        if each.name.strip("_").lower() in NO_NOUNS
    ]

    assert empty == []


def test_what_a_newcomer_copies_has_variables_with_nouns():
    examples = [(path.name, path.read_text()) for path in (REPOSITORY / "examples").rglob("*.py")]
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    blocks = [(path.name, block) for path in pages for block in PYTHON_BLOCK.findall(path.read_text())]
    empty = [
        f"{name}: {variable}"
        for name, code in [*examples, *blocks]
        for variable, _ in _bound(ast.walk(ast.parse(code)))
        if variable.lower() in NO_NOUNS
    ]

    assert empty == []


def _bound(where: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    """Yield the names of variables, parameters, fields and attributes where they get their value."""
    for node in where:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node.lineno
            case ast.MatchMapping(rest=str(name)):
                yield name, node.lineno
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from ((alias.asname, node.lineno) for alias in names if alias.asname)
            case _:
                pass


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def _is_positional(node: ast.ClassDef) -> bool:
    decorators = [ast.unparse(each) for each in node.decorator_list]
    return any(each.startswith("dataclass") and "kw_only=True" not in each for each in decorators)


def _fields(node: ast.ClassDef) -> int:
    return sum(1 for each in node.body if isinstance(each, ast.AnnAssign) and "field(" not in ast.unparse(each))
