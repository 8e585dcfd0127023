"""Settings of training: spelled right or refused with the nearest name, bounded, and ART's names understood."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from art.config import LoRAConfig, TrainConfig
from art.errors import ConfigurationError
from art.settings import ART

MISSPELT = {
    "learnin_rate": "learning_rate",
    "epsilon_hgih": "epsilon_high",
    "kl_penalty_reference": "kl_penalty_reference_step",
    "max_gradnorm": "max_grad_norm",
    "plot_tensor": "plot_tensors",
}


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_setting_is_refused_with_the_nearest_name_wherever_it_is_given(name):
    message = f"TrainConfig has no setting '{name}'. Did you mean {MISSPELT[name]}?"

    with pytest.raises(ConfigurationError) as at_the_start:
        TrainConfig(**{name: 1})
    with pytest.raises(ConfigurationError) as later:
        TrainConfig().with_settings({name: 1})

    assert str(at_the_start.value) == str(later.value) == message


def test_a_misspelt_setting_that_is_assigned_is_refused():
    config = TrainConfig()

    with pytest.raises(ConfigurationError, match="Did you mean learning_rate"):
        config.learnin_rate = 1e-5
    with pytest.raises(ConfigurationError, match="Did you mean rank"):
        LoRAConfig(rnk=8)


IMPOSSIBLE = [
    {"learning_rate": 1e30},
    {"learning_rate": -1e-5},
    {"learning_rate": math.nan},
    {"weight_decay": math.inf},
    {"weight_decay": 2.0},
    {"betas": (1.0, 0.9)},
    {"adam_epsilon": 0.0},
    {"max_grad_norm": 0.0},
    {"max_grad_norm": math.inf},
    {"beta": math.inf},
    {"epsilon": math.nan},
    {"micro_batch_tokens": 0},
    {"learning_rate": "fast"},
]


@pytest.mark.parametrize("settings", IMPOSSIBLE, ids=str)
def test_an_impossible_value_is_refused_by_name(settings):
    (name,) = settings

    with pytest.raises(ConfigurationError, match=name):
        TrainConfig(**settings)
    with pytest.raises(ConfigurationError, match=name):
        setattr(TrainConfig(), name, settings[name])
    with pytest.raises(ConfigurationError, match=name):
        TrainConfig().model_copy(update=settings).with_settings({})


def test_a_config_can_be_changed_and_copied():
    config = TrainConfig(learning_rate=np.float64(1e-4))
    copies = [config.model_copy(), copy.deepcopy(config), config.model_copy(update={"beta": 0.1})]

    config.learning_rate = 1e-3

    assert [each.learning_rate for each in copies] == [1e-4] * 3
    assert copies[-1].beta == 0.1


ART_SAYS = [
    ({"loss_fn": "ppo"}, {"loss": "ppo"}),
    ({"ppo": True}, {"loss": "ppo"}),
    ({"ppo": False}, {}),
    ({"normalize_advantages": False}, {"scale_rewards": False}),
    ({"normalize_advantages": True}, {}),
    ({"kl_penalty_reference_step": 40}, {"kl_reference": 40}),
    ({"kl_penalty_reference_step": None, "adam_params": None, "loss_fn_config": None}, {}),
    ({"adam_params": {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6}}, {"betas": (0.8, 0.95), "adam_epsilon": 1e-6}),
    ({"loss_fn_config": {"clip_low_threshold": 0.75}}, {"epsilon": 0.25}),
    ({"loss_fn_config": {"clip_high_threshold": 5.0}}, {"epsilon_high": 4.0}),
]


@pytest.mark.parametrize(("given", "meant"), ART_SAYS, ids=str)
def test_a_name_of_arts_means_what_it_means_there(given, meant):
    config = TrainConfig(**given)

    assert {name: getattr(config, name) for name in config.model_fields_set} == meant
    assert config.ignored == ()


@pytest.mark.parametrize("name", ART.without_effect)
def test_a_setting_that_changes_nothing_says_what_it_would_need(name):
    nothing_asked, need = ART.without_effect[name]

    assert TrainConfig(**{name: not nothing_asked}).ignored == (f"{name} ({need})",)
    assert TrainConfig(**{name: nothing_asked}).ignored == ()


def test_two_names_for_one_setting_that_disagree_are_refused():
    with pytest.raises(ConfigurationError, match="Name only one"):
        TrainConfig(loss="cispo", ppo=True)


def test_the_last_word_wins_over_the_config_and_the_config_over_defaults():
    config = TrainConfig(learning_rate=1e-4, weight_decay=0.2)

    combined = config.with_settings({"learning_rate": 1e-3}).with_defaults({"weight_decay": 0.5, "beta": 0.3})

    assert (combined.learning_rate, combined.weight_decay, combined.beta) == (1e-3, 0.2, 0.3)
    assert config.learning_rate == 1e-4
