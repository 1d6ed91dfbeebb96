"""Environments by name; a simulator is imported only when one of its own is made.

`envpool:Hopper-v4` names the simulator and the environment. A name without a simulator
stands for the environment of the first of these simulators that has it and is
installed:

| simulator    | runs                 | comes with                                |
|--------------|----------------------|-------------------------------------------|
| `gymnax`     | in compiled programs | trpo-jax                                  |
| `envpool`    | on the host          | `pip install 'trpo-jax[envpool]'`         |
| `gymnasium`  | on the host          | trpo-jax; some tasks need another package |
| `brax`       | in compiled programs | `pip install 'trpo-jax[brax]'`            |
| `playground` | in compiled programs | `pip install 'trpo-jax[playground]'`      |

`brax:ant@spring` also names one of brax's physics backends. `probe:discount` is one of
the small environments of `trpo_jax.environments.probe`, which always need their prefix.
"""

import fnmatch
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trpo_jax.environments.lookup import (
    SIMULATORS,
    Simulator,
    adapter_of,
    check_name,
    full_name,
    known_names,
    module_of,
    require_installed,
    require_installed_module,
    runnable_names,
    runs_on_host,
)
from trpo_jax.validation import COUNT, check

if TYPE_CHECKING:
    from trpo_jax.environments.base import Environment
    from trpo_jax.environments.host import HostEnvironment

__all__ = [
    "SIMULATORS",
    "Simulator",
    "check_name",
    "full_name",
    "known_names",
    "list_environments",
    "make_environment",
    "make_host_environment",
    "module_of",
    "require_installed",
    "require_installed_module",
    "runs_on_host",
]


def list_environments(pattern: str = "") -> list[str]:
    """Return the full names of the environments that this installation can run.

    Args:
        pattern: a part of the name, or a pattern for the whole name with `*` and `?`.
            Upper and lower case do not matter.

    Returns:
        The names in the order of the simulators in the table above.

    Example:
        >>> list_environments("cartpole")[0]
        'gymnax:CartPole-v1'
    """
    pattern = pattern.lower()
    if not set("*?[") & set(pattern):
        pattern = f"*{pattern}*"
    return [
        f"{simulator}:{name}"
        for simulator in SIMULATORS
        for name in runnable_names(simulator)
        if fnmatch.fnmatchcase(f"{simulator}:{name}".lower(), pattern)
        or fnmatch.fnmatchcase(name.lower(), pattern)
    ]


def make_environment(name: str, *, action_repeat: int = 1) -> "Environment":
    """Make an environment that runs in compiled programs.

    Args:
        name: a name as in the table above.
        action_repeat: the number of simulator steps for which each action is repeated.

    Returns:
        A single `Environment`; `collect` runs a batch of it.

    Raises:
        ValueError: if the name is unknown, if its simulator is not installed or runs on
            the host, or if its spaces are not supported.

    Example:
        >>> make_environment("CartPole-v1").action_space
        Discrete(n=2)
    """
    check("action_repeat", action_repeat, COUNT)
    simulator, environment = check_name(name)
    if SIMULATORS[simulator].on_host:
        raise ValueError(
            f"{simulator}:{environment} runs on the host; use make_host_environment"
        )
    made = _maker(simulator)(environment)
    if action_repeat > 1:
        from trpo_jax.environments.action_repeat import ActionRepeat

        return ActionRepeat(made, int(action_repeat))
    return made


def make_host_environment(
    name: str, num_envs: int = 1, seed: int = 0, **options: Any
) -> "HostEnvironment":
    """Make a batch of environments that Python steps, outside compiled programs.

    Args:
        name: a name as in the table above.
        num_envs: the batch size B.
        seed: the seed of the simulator's random numbers.
        **options: options of the simulator, for example `render_mode="rgb_array"`.

    Returns:
        A `HostEnvironment`.

    Raises:
        ValueError: if the name is unknown, if its simulator is not installed or does
            not run on the host, or if its spaces are not supported.

    Example:
        >>> environment = make_host_environment("gymnasium:CartPole-v1", num_envs=2)
        >>> environment.reset().shape
        (2, 4)
        >>> environment.close()
    """
    check("num_envs", num_envs, COUNT)
    simulator, environment = check_name(name)
    if not SIMULATORS[simulator].on_host:
        raise ValueError(
            f"{simulator}:{environment} runs in compiled programs; use make_environment"
        )
    return _maker(simulator)(environment, int(num_envs), int(seed), **options)


def _maker(simulator: str) -> Callable[..., Any]:
    name = SIMULATORS[simulator].maker or f"{simulator.capitalize()}Environment"
    return getattr(adapter_of(simulator), name)
