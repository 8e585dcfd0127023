"""Which dialect a chat template teaches its model."""

from __future__ import annotations

from art.http.calling.dialect import Dialect
from art.http.calling.elements import Elements
from art.http.calling.hermes import START, Hermes
from art.http.calling.llama import TAG, Llama
from art.http.calling.mistral import ARGUMENTS, CALLS, Mistral


def find_dialect(template: str) -> Dialect:
    """Give the dialect of a template; Hermes's, which most models have learnt, where it shows none."""
    if "<function=" in template and "<parameter=" in template:
        return Elements()
    if CALLS in template:
        return Mistral(is_listing=ARGUMENTS not in template)
    if START in template:
        return Hermes()
    if TAG in template or ('"parameters"' in template and "ipython" in template):
        return Llama()
    return Hermes()
