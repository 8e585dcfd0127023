"""The servers that the tests of remotes start."""

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
