"""Tests of the object-store side, on real servers that this package starts itself."""
