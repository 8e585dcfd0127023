"""The servers that the tests of remotes start, and the program with a store, as its own tests have them."""

from cli.conftest import art, store  # noqa: F401 - fixtures
from remote.conftest import (  # noqa: F401 - fixtures
    _no_credentials_of_this_machine,
    azurite,
    ceph,
    ceph_bucket,
    container,
    moto,
    moto_bucket,
    proxy,
)
