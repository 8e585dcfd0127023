"""Who works on branches: this process, one after the other. What every executor promises, and how a function is named.

Others are in `processes` and `ray`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from art.branches.task import Result, Task, is_count
from art.branches.work import Script, Train, perform, threads
from art.errors import ConfigurationError

OF_SCRIPT = "__art_script__"
"""The name under which a worker imports the script that a function was defined in."""


class Executor(Protocol):
    """Works on branches, and gives a result for each in their order. One that fails does not stop the others."""

    @property
    def threads(self) -> int | None:
        """What each worker computes with; None is what the checkpoint was trained with."""
        ...

    async def run(self, tasks: Sequence[Task], work: Train | Script) -> list[Result]: ...


@dataclass(frozen=True, kw_only=True)
class InTurn:
    """Trains one branch after the other in this process. The base model is loaded once."""

    threads: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, threads=1)

    async def run(self, tasks: Sequence[Task], work: Train | Script) -> list[Result]:
        from art.local import LocalBackend

        if isinstance(work, Script):
            raise ConfigurationError("A script needs a process of its own; give executor=Processes(workers=1).")
        settings: dict[str, Any] = dict(tasks[0].backend)
        async with LocalBackend(**settings) as backend:
            with threads(tasks[0].threads):
                return [await perform(task, work, backend) for task in tasks]


def check_counts(executor: object, **least: int) -> None:
    """Check whole numbers that an executor was given; None is left to the checkpoint. Raises `ConfigurationError`."""
    for name, lowest in least.items():
        value = getattr(executor, name)
        if value is not None and not (is_count(value) and value >= lowest):
            raise ConfigurationError(
                f"{type(executor).__name__}({name}={value!r}) cannot be: give a whole number from {lowest}."
            )


def reference_to(work: Train | Script) -> dict[str, Any]:
    """Name a function or a script so that another process finds it; raises `ConfigurationError` where none can."""
    if isinstance(work, Script):
        return {"script": str(Path(work.path).absolute()), "arguments": list(work.arguments)}
    module, name = getattr(work, "__module__", ""), getattr(work, "__qualname__", "")
    if not name or "<" in name:
        raise ConfigurationError(
            f"{name or work!r} cannot reach a worker, which is a process of its own. Put the function at the top of a "
            "module or of the script; or give executor=InTurn()."
        )
    if module == OF_SCRIPT:
        raise ConfigurationError(
            f"A worker that looked for {name} in {sys.modules[OF_SCRIPT].__file__} began to fork branches itself. Put "
            'what the script does when it is run under `if __name__ == "__main__":`.'
        )
    if module != "__main__":
        return {"module": module, "name": name}
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None:
        raise ConfigurationError(
            f"{name} was typed into an interpreter or a notebook, where no worker finds it. Put it into a module and "
            "import it; or give executor=InTurn()."
        )
    return {"file": str(Path(file).absolute()), "name": name}


def work_of(reference: dict[str, Any]) -> Train | Script:
    """Find what another process named."""
    if "script" in reference:
        return Script(reference["script"], tuple(reference["arguments"]))
    value: Any = _module_of(reference)
    for part in reference["name"].split("."):
        value = getattr(value, part)
    return value


def _module_of(reference: dict[str, Any]) -> Any:
    if "module" in reference:
        return importlib.import_module(reference["module"])
    # Not as `__main__`: what the script does when it is run, it does not do here.
    spec = importlib.util.spec_from_file_location(OF_SCRIPT, reference["file"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[OF_SCRIPT] = module
    spec.loader.exec_module(module)
    return module
