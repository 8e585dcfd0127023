"""The server's description, given to schemathesis: it makes requests of it, good and bad, and checks every answer."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from sample.serving import AUTHORIZED, Served

EXAMPLES = 40


def ask_everything(schemathesis: Any, description: dict[str, Any], served: Served) -> int:
    """Ask each operation many times; gives how many requests were sent. Raises for an answer that is not described."""
    from schemathesis.generation import GenerationMode

    schema = schemathesis.openapi.from_dict(_with_one_model(description))
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        # What has neither a body nor a parameter cannot be asked wrongly.
        is_open = bool(operation.body or operation.path_parameters)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[: 1 + is_open]:
            count += _ask(operation, mode, served)
    return count


def _with_one_model(description: dict[str, Any]) -> dict[str, Any]:
    """Let requests name the model that is served, and ask for few tokens."""
    schemas = dict(description["components"]["schemas"])
    bounded = {"max_tokens": {"enum": [1, 2, None]}, "max_completion_tokens": {"enum": [1, None]}}
    for name in ("ChatRequest", "TextRequest", "ResponseBody"):
        own = {**bounded, "model": {"enum": ["agent", "other"]}, "max_output_tokens": {"enum": [1, 2]}}
        properties = {key: own.get(key, value) for key, value in schemas[name]["properties"].items()}
        schemas[name] = {**schemas[name], "properties": properties}
    return {**description, "components": {**description["components"], "schemas": schemas}}


def _ask(operation: Any, mode: Any, served: Served) -> int:
    count = 0

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        nonlocal count
        response = case.call(base_url=served.base_url.removesuffix("/v1"), headers=AUTHORIZED, timeout=60)
        count += 1
        assert response.status_code < 500, response.text[:300]
        documented = operation.definition.raw["responses"]
        assert str(response.status_code) in documented, (response.status_code, response.text[:300])
        if response.status_code != 200:
            assert response.json()["error"].keys() == {"message", "type", "param", "code"}

    each()
    return count
