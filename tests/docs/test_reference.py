"""What the reference lists is what there is: errors, public names with their parameters, pages."""

import ast
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

from art import errors
from art.absent import HOME_OF, INSTEAD

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TREE = re.compile(r"^    (?:[│├└─ ]*)(\w+)(?: +\((\w+)\))?", re.MULTILINE)
API = (ROOT / "docs/reference/api.md").read_text()
SIGNATURE = re.compile(r"^### `@?(?:await )?(art\.[\w.]+)\(([^`]*)\)`$", re.MULTILINE)
NAME = re.compile(r"`(art(?:\.[A-Za-z_]\w*)+)\b")
TAGS = {"art.forked_from", "art.inherited"}  # of a run in MLflow


def test_the_tree_of_errors_is_the_one_of_the_code_on_the_page_and_in_its_docstring():
    classes = [thing for thing in vars(errors).values() if inspect.isclass(thing)]
    tree = {error.__name__: _standard(error) for error in classes if issubclass(error, errors.ArtError)}

    for text in ((ROOT / "docs/reference/errors.md").read_text(), errors.__doc__ or ""):
        shown = {name: standard or None for name, standard in TREE.findall(text) if name in tree or "Error" in name}
        assert set(shown) == set(tree)
        assert {name: standard for name, standard in shown.items() if standard} == {
            name: tree[name] for name, standard in shown.items() if standard
        }


def test_every_error_has_a_row():
    page = (ROOT / "docs/reference/errors.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))

    assert rows == {name for name in vars(errors) if name.endswith("Error")} - {"ArtError", "IncompatibleError"}


@pytest.mark.parametrize(("name", "listed"), SIGNATURE.findall(API))
def test_a_signature_of_the_page_is_the_one_of_the_code(name: str, listed: str):
    module, _, attribute = name.rpartition(".")
    parameters = inspect.signature(pkgutil.resolve_name(f"{module}:{attribute}")).parameters

    for parameter, default in _defaults(listed).items():
        assert parameter in parameters
        real = parameters[parameter].default
        if default not in {"...", "(Exception,)"} and repr(real) != "<factory>":
            assert default == (None if real is inspect.Parameter.empty else repr(real))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_a_name_that_a_page_spells_is_there(page: Path):
    absent = {name for name in NAME.findall(page.read_text()) if not _is_there(name)}

    assert {name for name in absent - TAGS if not _is_said_to_be_absent(name)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_every_page_is_in_the_index(page: Path):
    name = page.relative_to(ROOT / "docs")
    of_its_folder = page.with_name("README.md")
    named = f"({name}" in (ROOT / "docs/README.md").read_text()

    assert (
        named
        or (of_its_folder.exists() and f"({page.name}" in of_its_folder.read_text())
        or str(name) in {"README.md", "site/contents.md"}
    )


def _standard(error: type) -> str | None:
    return next((base.__name__ for base in error.__bases__ if not issubclass(base, errors.ArtError)), None)


def _defaults(listed: str) -> dict[str, str | None]:
    (function,) = ast.parse(f"def function({listed}): ...").body
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    given = [ast.unparse(default) for default in arguments.defaults]
    names = [argument.arg for argument in arguments.args]
    positional = zip(names, [None] * (len(names) - len(given)) + given, strict=True)
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return dict(positional) | {key.arg: ast.unparse(value) if value else None for key, value in keywords}


def _is_there(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def _is_said_to_be_absent(name: str) -> bool:
    return any(name.startswith(module) for module in INSTEAD) or name.removeprefix("art.") in HOME_OF
