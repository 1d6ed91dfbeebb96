"""Saving and restoring the state of a Gymnasium environment.

This needs `clone_state(include_rng=True)` and `restore_state(state)`, which the Arcade
Learning Environment has, and which an environment of your own may have. The state must
contain everything that decides what happens next, including random numbers (except
those of `np_random`, which are saved here), and must fit every other instance of the
same environment. The environment need not copy it; that is done here.
"""

import copy
from typing import Any, NamedTuple

import flax.serialization
import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from trpo_jax.environments.gymnasium_make import CopiedObservation
from trpo_jax.environments.host import LARGEST_STATE

_WITHOUT_STATE = (CopiedObservation, OrderEnforcing, PassiveEnvChecker, TimeLimit)
_WORD = 2**63  # larger integers are written as text


class Snapshot(NamedTuple):
    """The saved state of an environment."""

    state: Any  # what the simulator returned
    elapsed: list[int]  # the steps that each time limit has counted
    random: dict[str, Any]  # the state of the generator `np_random`
    action: int | None = None  # the last one of the episode, or None at its start


def can_return(environment: gymnasium.Env) -> bool:
    """Return whether a snapshot contains the whole state of an environment.

    It does not if the simulator cannot save its state, or if a wrapper may have one.
    """
    simulator = environment.unwrapped
    has_both = hasattr(simulator, "clone_state") and hasattr(simulator, "restore_state")
    wrappers = _wrappers(environment)
    return has_both and all(isinstance(each, _WITHOUT_STATE) for each in wrappers)


def take_snapshot(environment: gymnasium.Env, action: int | None = None) -> Snapshot:
    """Return a snapshot of an environment for which `can_return` is True."""
    simulator: Any = environment.unwrapped  # with methods that `can_return` checks
    return Snapshot(
        _own(simulator.clone_state(include_rng=True)),
        [limit._elapsed_steps for limit in _time_limits(environment)],
        copy.deepcopy(simulator.np_random.bit_generator.state),
        action,
    )


def put_back(environment: gymnasium.Env, snapshot: Snapshot) -> None:
    """Put an environment into the state of a snapshot of it, or of one like it."""
    simulator: Any = environment.unwrapped
    simulator.np_random.bit_generator.state = snapshot.random
    simulator.restore_state(_own(snapshot.state))
    if _is_ale(snapshot.state) and hasattr(simulator, "_action_set"):
        _remember(simulator, snapshot.action)
        simulator.restore_state(snapshot.state)
    limits = _time_limits(environment)
    for limit, elapsed in zip(limits, snapshot.elapsed, strict=True):
        limit._elapsed_steps = elapsed


def _remember(simulator: Any, action: int | None) -> None:
    """Make an Atari emulator remember an action as its last one.

    With sticky actions the emulator repeats its last action in a quarter of the frames,
    and its state does not contain that action. Three steps suffice unless every frame
    of them repeats an older action.
    """
    last = simulator._action_set[0 if action is None else action]
    for _ in range(3):
        simulator.ale.act(last)


def to_bytes(snapshot: Snapshot) -> bytes:
    """Convert a snapshot into bytes that contain no code.

    More than `LARGEST_STATE` bytes are a `ValueError`. A state that contains anything
    but numbers, strings, bytes and arrays, in lists, tuples and dictionaries, is a
    `TypeError`.
    """
    content = flax.serialization.msgpack_serialize(_tagged(snapshot._asdict()))
    if len(content) > LARGEST_STATE:
        raise ValueError(f"a state has {len(content)} > {LARGEST_STATE} bytes")
    return content


def from_bytes(content: bytes) -> Snapshot:
    """Return the snapshot that `to_bytes` has converted; refuse any other bytes."""
    try:
        if len(content) > LARGEST_STATE:
            raise ValueError(f"it has {len(content)} > {LARGEST_STATE} bytes")
        return Snapshot(**_untagged(flax.serialization.msgpack_restore(content)))
    except Exception as error:  # damaged bytes may raise anything
        message = f"the state of a simulator cannot be read: {error}"
        raise ValueError(message) from error


def _tagged(value: Any) -> Any:
    """Mark the values whose type msgpack would not preserve."""
    kind = type(value)  # a subclass would come back as another type
    if kind is dict:
        return {"dict": [[_tagged(k), _tagged(v)] for k, v in value.items()]}
    if kind in (tuple, list):
        parts = [_tagged(part) for part in value]
        return parts if kind is list else {"tuple": parts}
    if kind is int and not -_WORD <= value < _WORD:
        return {"int": str(value)}
    if _is_ale(value):
        return {"ale": value.serialize()}
    if kind is np.ndarray or isinstance(value, np.generic):
        known = value.dtype.kind in "biufc" and value.dtype.isnative
    else:
        known = kind in (bool, int, float, str, bytes, type(None))
    if not known:
        raise TypeError(f"a state must not contain a {kind.__name__}")
    return value


def _untagged(value: Any) -> Any:
    match value:
        case {"dict": pairs}:
            return {_untagged(k): _untagged(v) for k, v in pairs}
        case {"tuple": parts}:
            return tuple(map(_untagged, parts))
        case {"int": text}:
            return int(text)
        case {"ale": content}:
            from ale_py import ALEState

            return ALEState(content)
        case list():
            return list(map(_untagged, value))
    return value


def _own(state: Any) -> Any:
    """Copy a state, unless it is known to be immutable."""
    return state if _is_ale(state) else copy.deepcopy(state)


def _is_ale(state: Any) -> bool:
    return type(state).__module__.startswith("ale_py")


def _wrappers(environment: gymnasium.Env) -> list[gymnasium.Wrapper]:
    wrappers = []
    while isinstance(environment, gymnasium.Wrapper):
        wrappers.append(environment)
        environment = environment.env
    return wrappers


def _time_limits(environment: gymnasium.Env) -> list[Any]:
    return [each for each in _wrappers(environment) if isinstance(each, TimeLimit)]
