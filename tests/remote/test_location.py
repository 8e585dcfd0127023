"""What a URL of a bucket says: where it lies, or why it lies nowhere."""

from pathlib import Path

import pytest

from art.cli import addresses
from art.errors import ConfigurationError, InvalidNameError
from art.remote.location import Location, parse_location


@pytest.mark.parametrize(
    ("url", "prefix", "location"),
    [
        ("bucket", None, Location("s3", "bucket", "")),
        ("s3a://bucket/runs/", "/team/", Location("s3", "bucket", "runs/team")),
        ("file:///data/a%20b", None, Location("file", "", "data/a b")),
        ("file:///", "data", Location("file", "", "data")),
    ],
)
def test_a_place_is_read_from_its_url(url: str, prefix: str | None, location: Location):
    assert parse_location(url, prefix=prefix) == location


@pytest.mark.parametrize(
    "url", ["file://", "file:///", "file:////", "file://data/runs", "file://./runs", "file://~/runs"]
)
def test_a_folder_is_named_by_all_of_its_path(url: str):
    with pytest.raises(ConfigurationError, match=r"names no folder; write all of its path"):
        parse_location(url)


@pytest.mark.parametrize("path", ["/data/runs", "./runs", "../runs", "~/runs"])
def test_a_path_is_no_bucket_and_its_url_is_given(path: str):
    url = Path(path).expanduser().absolute().as_uri()

    with pytest.raises(ConfigurationError, match=f"is a path, where a URL belongs; write {url}"):
        parse_location(path)


@pytest.mark.parametrize(
    ("url", "problem"),
    [("", "is empty"), ("s3://", "names no bucket"), ("gs:///runs", "names no bucket"), ("ftp://x", "is not known")],
)
def test_what_names_no_bucket_is_refused(url: str, problem: str):
    with pytest.raises(ConfigurationError, match=problem):
        parse_location(url)


@pytest.mark.parametrize("text", ["/data/runs", "./shop/agent-1", "~/runs/shop/agent-1@5", "s3://bucket::/agent-1"])
def test_a_path_is_no_model(text: str):
    with pytest.raises(InvalidNameError, match="is a path, where project/model belongs; --root names another root"):
        addresses.parse(text)


@pytest.mark.parametrize("text", ["hf://", "hf://organisation", "hf://a/b/c", "hf://@main"])
def test_what_is_no_repository_is_refused_with_its_form(text: str):
    with pytest.raises(InvalidNameError, match=r"names no repository; write hf://organisation/repository@revision"):
        addresses.parse(text)
