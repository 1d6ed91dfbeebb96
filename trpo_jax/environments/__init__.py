"""Environments by name; a simulator is imported only when it is asked for.

`gymnax:CartPole-v1` names the simulator, plain `CartPole-v1` means gymnax, and
`probe:discount` is one of the small environments of `trpo_jax.environments.probe`.
"""

import difflib
from typing import TYPE_CHECKING

from trpo_jax.config import COUNT, check

if TYPE_CHECKING:
    from trpo_jax.environments.base import Environment

# Kept as data, so that a misspelt name is refused without importing a simulator; a test
# holds the list against gymnax's own.
GYMNAX = (
    "CartPole-v1",
    "Pendulum-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Asterix-MinAtar",
    "Breakout-MinAtar",
    "Freeway-MinAtar",
    "Seaquest-MinAtar",
    "SpaceInvaders-MinAtar",
    "Catch-bsuite",
    "DeepSea-bsuite",
    "MemoryChain-bsuite",
    "UmbrellaChain-bsuite",
    "DiscountingChain-bsuite",
    "MNISTBandit-bsuite",
    "SimpleBandit-bsuite",
    "FourRooms-misc",
    "MetaMaze-misc",
    "PointRobot-misc",
    "BernoulliBandit-misc",
    "GaussianBandit-misc",
    "Reacher-misc",
    "Swimmer-misc",
    "Pong-misc",
    "FrozenLake-misc",
)
PROBES = (
    "value",
    "observation",
    "discount",
    "action",
    "policy",
    "continuous",
    "truncation",
)
_NAMES = {"gymnax": GYMNAX, "probe": PROBES}


def check_name(name: str) -> tuple[str, str]:
    """Split a name into simulator and environment, both known.

    Raises:
        ValueError: with the nearest name that exists.

    Example:
        >>> check_name("CartPole-v1")
        ('gymnax', 'CartPole-v1')
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        prefix, rest = "gymnax", name
    if prefix not in _NAMES:
        raise ValueError(
            f"unknown simulator {prefix!r} in {name!r}; known: {', '.join(_NAMES)}"
        )
    if rest not in _NAMES[prefix]:
        lower = {known.lower(): known for known in _NAMES[prefix]}
        near = difflib.get_close_matches(rest.lower(), lower, 1, 0.0)
        nearest = f"{prefix}{colon}{lower[near[0]]}" if colon else lower[near[0]]
        raise ValueError(f"unknown environment {name!r}; nearest: {nearest!r}")
    if rest == "MNISTBandit-bsuite":
        raise ValueError(
            "MNISTBandit-bsuite downloads its data when it is made, and nothing here "
            "uses the network; try SimpleBandit-bsuite"
        )
    return prefix, rest


def make_environment(name: str, *, action_repeat: int = 1) -> "Environment":
    """Return the environment of a name.

    Args:
        name: as `gymnax:CartPole-v1`, `CartPole-v1` or `probe:discount`.
        action_repeat: steps of the simulator that each action is held.

    Returns:
        An `Environment`, single: `collect` makes a batch of it.

    Raises:
        ValueError: for an unknown name, with the nearest that exists, or for spaces
            that are not supported.

    Example:
        >>> make_environment("CartPole-v1").action_space
        Discrete(n=2)
    """
    check("action_repeat", action_repeat, COUNT)
    if action_repeat > 1:
        from trpo_jax.environments.action_repeat import ActionRepeat

        return ActionRepeat(make_environment(name), action_repeat)
    prefix, rest = check_name(name)
    if prefix == "probe":
        from trpo_jax.environments.probe import make_probe

        return make_probe(rest)
    from trpo_jax.environments.gymnax import GymnaxEnvironment

    return GymnaxEnvironment(rest)
