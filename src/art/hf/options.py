"""What the script asks of its optimizer, where a resume would go on with what the checkpoint was trained with.

A Trainer loads an optimizer's options with its moments, so a script that was given another learning rate trains with
the old one. Here the moments stay, and the script's options count. Where both agree nothing is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from art.hf.words import warn

BASE_RATE = "initial_lr"
"""The learning rate that a schedule starts from, as torch calls it."""
OPTIONS = ("weight_decay", "betas", "eps")
_NAMES = {BASE_RATE: "learning_rate"}

Group = dict[str, Any]


@dataclass
class Options:
    """The options of one Trainer's optimizer, as the script gives them; noted when the Trainer makes it."""

    trainer: Any
    _groups: Sequence[Mapping[str, Any]] = field(default=(), init=False)

    def __post_init__(self) -> None:
        # An optimizer of the script's own may have its options scheduled, all but the rate that a schedule starts from.
        names = (BASE_RATE,) if self.trainer.optimizer is not None else (BASE_RATE, *OPTIONS)
        make = self.trainer.create_optimizer

        def make_and_note(*arguments: Any, **named: Any) -> Any:
            optimizer = make(*arguments, **named)
            groups = ({BASE_RATE: group.get("lr"), **group} for group in self.trainer.optimizer.param_groups)
            self._groups = [{name: group[name] for name in names if name in group} for group in groups]
            return optimizer

        self.trainer.create_optimizer = make_and_note

    def give(self, model: object) -> None:
        """Give the optimizer what the script asked for, after its checkpoint was loaded, and tell what differs."""
        groups: list[Group] = self.trainer.optimizer.param_groups
        changes = dict[str, None]()
        for number, (group, wanted) in enumerate(zip(groups, self._groups, strict=False)):
            for name, value in wanted.items():
                loaded = group.get(name)
                if _is_other(loaded, value):
                    changes[f"{_NAMES.get(name, name)} {value} in place of {loaded}"] = None
                    group[name] = value
                    if name == BASE_RATE:
                        _start_schedule_from(value, loaded, number, self.trainer)
        if changes:
            warn(self.trainer.args, "%s: the optimizer goes on with this script's %s.", model, ", ".join(changes))


def warn_of_rate(model: object, settings: Any, optimizer: Any) -> None:
    """Tell that the checkpoint's learning rate goes on, where the script names another one."""
    rates = {group.get(BASE_RATE) for group in optimizer.param_groups} if optimizer is not None else set[Any]()
    if len(rates) == 1 and None not in rates and rates != {settings.learning_rate}:
        warn(
            settings,
            "%s: the Trainer goes on with its checkpoint's learning rate %g, not with this script's %g. "
            "branch.resume(trainer) takes the script's.",
            model,
            rates.pop(),
            settings.learning_rate,
        )


def _is_other(loaded: Any, value: Any) -> bool:
    if isinstance(value, Sequence) and isinstance(loaded, Sequence):
        return tuple(loaded) != tuple(value)
    return isinstance(loaded, int | float) and isinstance(value, int | float) and loaded != value


def _start_schedule_from(rate: float, loaded: Any, number: int, trainer: Any) -> None:
    """Set the rate of a group's next step to what its schedule makes of another rate to start from."""
    group = trainer.optimizer.param_groups[number]
    # accelerate wraps schedules.
    schedule = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)
    if lambdas := getattr(schedule, "lr_lambdas", None):
        group["lr"] = rate * lambdas[number](schedule.last_epoch)
    else:
        group["lr"] = group["lr"] * rate / loaded if loaded else rate
    if hasattr(schedule, "base_lrs"):
        schedule.base_lrs[number] = rate
        schedule._last_lr[number] = group["lr"]
