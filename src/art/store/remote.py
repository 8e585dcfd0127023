"""The name under which `Remote` was published first; it lies in `art.remote.remote` now."""

from art.remote.remote import Remote

__all__ = ["Remote"]
