"""Returning a Gymnasium environment to an earlier moment, where its simulator can.

It can when it has `clone_state(include_rng=True)` and `restore_state(state)`, as the
Arcade Learning Environment does, or an environment of your own. A state must hold all
that decides what happens next, random numbers included, and fit any other instance of
the same environment. It may be shared with the environment: it is copied here.
"""

import copy
from typing import Any

import gymnasium
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

_WITHOUT_STATE = (OrderEnforcing, PassiveEnvChecker, TimeLimit)


def can_return(environment: gymnasium.Env) -> bool:
    """Return whether snapshots hold all of an environment's state."""
    simulator = environment.unwrapped
    has_both = hasattr(simulator, "clone_state") and hasattr(simulator, "restore_state")
    wrappers = _wrappers(environment)
    return has_both and all(isinstance(each, _WITHOUT_STATE) for each in wrappers)


def take_snapshot(environment: gymnasium.Env) -> tuple[Any, list[int]]:
    """Return the simulator's state, random numbers included, and the clocks."""
    clocks = [limit._elapsed_steps for limit in _time_limits(environment)]
    return _own(environment.unwrapped.clone_state(include_rng=True)), clocks


def put_back(environment: gymnasium.Env, snapshot: tuple[Any, list[int]]) -> None:
    """Return to a snapshot."""
    state, clocks = snapshot
    environment.unwrapped.restore_state(_own(state))
    for limit, elapsed in zip(_time_limits(environment), clocks, strict=True):
        limit._elapsed_steps = elapsed


def _own(state: Any) -> Any:
    """Return a copy, of what is not known to stay as it is."""
    if type(state).__module__.startswith("ale_py"):
        return state
    return copy.deepcopy(state)


def _wrappers(environment: gymnasium.Env) -> list[gymnasium.Wrapper]:
    wrappers = []
    while isinstance(environment, gymnasium.Wrapper):
        wrappers.append(environment)
        environment = environment.env
    return wrappers


def _time_limits(environment: gymnasium.Env) -> list[TimeLimit]:
    return [each for each in _wrappers(environment) if isinstance(each, TimeLimit)]
