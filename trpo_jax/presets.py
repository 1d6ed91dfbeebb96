"""Hyper-parameters that are known to work, and where they come from; plain data."""

import dataclasses
from typing import Any

from trpo_jax.config import Config, NetworkConfig, split_hyper_parameters


@dataclasses.dataclass(frozen=True)
class Preset:
    """What an environment is trained with unless told otherwise.

    Attributes:
        total_steps: environment steps a seed.
        config: of the algorithm.
        network: of the agent.
        source: where the values come from.
    """

    total_steps: int
    config: Config
    network: NetworkConfig
    source: str


def _preset(total_steps: int, source: str, **values: Any) -> Preset:
    algorithm, network = split_hyper_parameters(values)
    return Preset(total_steps, Config(**algorithm), NetworkConfig(**network), source)


PRESETS: dict[str, Preset] = {
    "CartPole-v1": _preset(
        100_000,
        "tuned here on seeds 1000-1009: a faster critic is what removes the collapses",
        num_envs=8,
        num_steps=128,
        gae_lambda=0.98,
        hidden_sizes=(32, 32),
        fisher_fraction=0.25,
        critic_learning_rate=5e-3,
        critic_epochs=4,
    ),
}

DEFAULT = _preset(1_000_000, "defaults: common values of public TRPO implementations")


def preset_of(environment: str) -> Preset:
    """Return the preset of an environment, prefix or not, or the default."""
    return PRESETS.get(environment.removeprefix("gymnax:"), DEFAULT)
