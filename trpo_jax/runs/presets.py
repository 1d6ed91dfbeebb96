"""Presets: the hyper-parameters of environments, and where they come from."""

import dataclasses
import functools
from typing import Any

from trpo_jax.config import Config, NetworkConfig
from trpo_jax.config.options import split_options


@dataclasses.dataclass(frozen=True)
class Preset:
    """The values that an environment is trained with by default.

    Attributes:
        total_steps: environment steps for each seed.
        config: the hyper-parameters of the algorithm.
        network: the shape of the agent's networks.
        source: where the values come from.
    """

    total_steps: int
    config: Config
    network: NetworkConfig
    source: str


def _preset(source: str, total_steps: int = 1_000_000, **values: Any) -> Preset:
    _, algorithm, network = split_options(values)
    return Preset(total_steps, Config(**algorithm), NetworkConfig(**network), source)


# What the presets of a family share; a preset may replace these values.
# fmt: off
_classic = functools.partial(_preset, total_steps=100_000)
_minatar = functools.partial(
    _preset, total_steps=5_000_000, num_envs=16, num_steps=128, hidden_sizes=(128,),
    activation="relu", fisher_fraction=0.1, critic_learning_rate=1e-3, critic_epochs=4,
    critic_minibatch_size=256,
)
_minatar_large_batches = functools.partial(
    _minatar, num_envs=64, critic_epochs=2, critic_minibatch_size=1024
)
_brax = functools.partial(
    _preset, num_envs=64, num_steps=32, max_kl=0.03, final_max_kl=0.003,
    log_std_init=-0.5,
)
_lander = functools.partial(
    _classic, num_envs=4, num_steps=128, stagger_starts=True, max_kl=0.02,
    final_max_kl=0.002, discount=0.995, gae_lambda=0.98, critic_learning_rate=3e-3,
    critic_epochs=20, critic_minibatch_size=128,
)
_mujoco = functools.partial(_preset, num_envs=16, num_steps=128, log_std_init=-1.0)
_mujoco_easy = functools.partial(_mujoco, max_kl=0.03, final_max_kl=0.003)
_mujoco_well_fitted = functools.partial(
    _mujoco, critic_epochs=20, critic_minibatch_size=128
)

_TUNED = "tuned for this library on other seeds than those reported; "
_EVIDENCE = "runs in benchmarks/results/tuning.jsonl; "
_SPRING = _EVIDENCE + "one run with the spring backend: decreasing δ"
PRESETS: dict[str, Preset] = {
    "CartPole-v1": _classic(
        _TUNED + "a large critic step size prevents collapses",
        num_envs=16, num_steps=64, gae_lambda=0.98, hidden_sizes=(32, 32),
        critic_learning_rate=1e-2, fisher_fraction=0.1, critic_epochs=1,
        critic_minibatch_size=128,
    ),
    "Acrobot-v1": _classic(
        _TUNED + "a well-fitted critic, a short horizon, actions held for two steps",
        num_envs=8, num_steps=64, action_repeat=2, max_kl=0.02, discount=0.97,
        hidden_sizes=(32, 32), critic_learning_rate=1e-2, critic_epochs=8,
        critic_minibatch_size=128,
    ),
    "Pendulum-v1": _classic(
        _TUNED + "γ 0.9 as in rl-zoo3, and whole episodes in every batch",
        num_envs=6, num_steps=67, action_repeat=3, max_kl=0.007, discount=0.9,
        gae_lambda=0.9, critic_learning_rate=5e-3, critic_epochs=15,
        critic_minibatch_size=250,
    ),
    "MountainCar-v0": _classic(
        _TUNED + "held actions reach the goal, which independent ones never do; little "
        "damping",
        num_envs=6, num_steps=20, action_repeat=10, discount=1.0, gae_lambda=0.97,
        cg_damping=0.02, hidden_sizes=(32, 32), critic_learning_rate=1e-2,
        critic_epochs=24, critic_minibatch_size=40,
    ),
    "MountainCarContinuous-v0": _classic(
        _TUNED + "held actions reach the goal, which independent ones never do",
        total_steps=50_000, num_envs=8, num_steps=64, action_repeat=4, max_kl=0.02,
        hidden_sizes=(32, 32), fisher_fraction=0.5, critic_learning_rate=5e-3,
        critic_epochs=8,
    ),
    "Asterix-MinAtar": _minatar(
        _TUNED + "a small λ, whose value targets the critic can explain",
        max_kl=0.02, gae_lambda=0.5,
    ),
    "Breakout-MinAtar": _minatar_large_batches(
        _TUNED + "without normalised observations, or with small batches in a long "
        "run, training ends in a local optimum",
    ),
    "Freeway-MinAtar": _minatar_large_batches(
        "values of Breakout; with small batches the policy became deterministic early",
    ),
    "Seaquest-MinAtar": _minatar("values of SpaceInvaders, not tuned", gae_lambda=0.8),
    "HalfCheetah-v*": _mujoco_well_fitted(
        _EVIDENCE + "a small λ, a well-fitted critic, little initial noise, and a "
        "large, decreasing δ; with more noise some seeds stayed below 2000",
        num_envs=32, num_steps=64, max_kl=0.06, final_max_kl=0.006, gae_lambda=0.9,
        fisher_fraction=0.25,
    ),
    "Ant-v*": _mujoco_well_fitted(
        _EVIDENCE + "a small λ, a well-fitted critic, and a constant δ",
        max_kl=0.04, gae_lambda=0.9, log_std_init=-0.5,
    ),
    "Hopper-v*": _mujoco_well_fitted(
        _EVIDENCE + "a longer horizon, a well-fitted critic, staggered starts and a "
        "small δ; with less initial noise some seeds only learn to stand",
        stagger_starts=True, max_kl=0.02, final_max_kl=0.005, discount=0.995,
        log_std_init=0.0,
    ),
    "Walker2d-v*": _mujoco_well_fitted(
        _EVIDENCE + "a small λ, much initial noise, a well-fitted critic, and a large "
        "δ that decreases a little; seeds differ widely",
        max_kl=0.05, final_max_kl=0.015, gae_lambda=0.9, log_std_init=-0.5,
    ),
    "BipedalWalker-v*": _mujoco(
        _EVIDENCE + "decreasing δ", max_kl=0.04, final_max_kl=0.004, log_std_init=-0.5
    ),
    "Reacher-v*": _mujoco_easy(_EVIDENCE + "decreasing δ"),
    "brax:ant": _brax(_SPRING, discount=0.97, gae_lambda=0.9),
    "brax:halfcheetah": _brax(_SPRING, discount=0.97, gae_lambda=0.9),
    "brax:hopper": _brax(_SPRING),
    "InvertedPendulum-v*": _mujoco_easy(
        _EVIDENCE + "decreasing δ, and observations that are not normalised: once the "
        "pole balances, their running standard deviations shrink, and some seeds "
        "failed again",
        normalize_observation=False,
    ),
    "InvertedDoublePendulum-v*": _mujoco_easy(
        _EVIDENCE + "short episodes: once the pole balances, long ones rarely contain "
        "the start, which is where the policy then fails",
        training_time_limit=100,
    ),
    "Swimmer-v*": _mujoco_well_fitted(
        "values of rl-zoo3, with which more seeds learn the fast stroke than with a "
        "larger δ, a larger λ or more environments; benchmarks/results/tuning.jsonl",
        num_envs=2, num_steps=1024, max_kl=0.01, cg_iterations=25, discount=0.9999,
        gae_lambda=0.95, log_std_init=0.0,
    ),
    "Humanoid-v*": _mujoco_well_fitted(
        _EVIDENCE + "many short trajectories, a small λ, a well-fitted critic and a "
        "large δ; a quarter of the rows in the Fisher products for speed",
        num_envs=32, num_steps=64, fisher_fraction=0.25, max_kl=0.05,
        final_max_kl=0.025, gae_lambda=0.9,
    ),
    "LunarLander-v*": _lander(
        _EVIDENCE + "values of LunarLanderContinuous, where small batches and a large "
        "critic step size did best",
        total_steps=200_000, log_std_init=0.0,
    ),
    "LunarLanderContinuous-v*": _lander(
        _EVIDENCE + "small batches, a fast critic", log_std_init=-0.5
    ),
    "SpaceInvaders-MinAtar": _minatar(
        _TUNED + "many small iterations and a smaller λ", gae_lambda=0.8
    ),
}
# fmt: on

DEFAULT = _preset("defaults: common values of public TRPO implementations")


def preset_of(environment: str) -> Preset:
    """Return the preset of an environment, or the default preset.

    Args:
        environment: a full name, such as `gymnax:CartPole-v1`.

    Returns:
        A `Preset`.

    Example:
        >>> preset_of("gymnax:CartPole-v1").total_steps
        100000
    """
    simulator, _, task = environment.partition(":")
    if simulator in ("envpool", "gymnasium"):  # the same tasks, in several versions
        same = PRESETS.get(task, DEFAULT)  # the preset of the task in gymnax
        if same.config.action_repeat == 1 and same is not DEFAULT:
            return same
        task = f"{task.rpartition('-v')[0]}-v*"
    elif simulator != "gymnax":
        task = environment.partition("@")[0]  # without the backend
    return PRESETS.get(task, DEFAULT)
