"""`make docs` builds a site without a warning: every link arrives, every public name is there, nothing is fetched."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import art

ROOT = Path(__file__).parents[2]
FETCHED = re.compile(r"""<(?:script|img|link)\b[^>]*?(?:src|href)=["']https?://[^>]*>""")
# Types that Sphinx cannot describe, and packages whose names are listed on their own.
NO_DOCSTRING = {"Messages", "MessagesAndChoices", "Tools", "branches", "dev", "errors", "local", "types", "utils"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(ROOT, folder / "html")
    return folder / "html"


def build(source: Path, out: Path) -> None:
    options = ("--quiet", "--fail-on-warning", "--keep-going", "-b", "html", "-d", str(out.parent / "doctrees"))
    command = [sys.executable, "-m", "sphinx", *options, "-c", str(ROOT / "docs/site"), str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_page_is_in_the_site_and_in_its_search(site: Path):
    pages = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "docs").rglob("*.md")]
    index = (site / "searchindex.js").read_text()

    for page in [*pages, Path("README"), Path("CONTRIBUTING"), Path("bench/README")]:
        if page.name != "contents":
            assert (site / f"{page}.html").is_file()
            assert f'"{page}"' in index


def test_every_public_name_is_described_from_its_docstring(site: Path):
    described = set(re.findall(r'id="art\.(\w+)"', (site / "docs/site/docstrings.html").read_text()))

    assert set(art.__all__) - NO_DOCSTRING <= described


def test_the_site_fetches_nothing(site: Path):
    fetched = {found for page in site.rglob("*.html") for found in FETCHED.findall(page.read_text())}

    assert fetched == set()
    assert "README.html" in (site / "index.html").read_text()


@pytest.mark.parametrize("line", ["[gone](docs/gone.md)", "[no such heading](#nowhere)"])
def test_a_link_that_leads_nowhere_fails(tmp_path: Path, line: str):
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository/README.md").write_text(f"# A page\n\n{line}\n")

    with pytest.raises(AssertionError, match=r"(?:target|id) not found: '(?:docs/gone.md|nowhere)'"):
        build(tmp_path / "repository", tmp_path / "html")
