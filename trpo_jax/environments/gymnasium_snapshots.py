"""Returning a Gymnasium environment to an earlier moment, where its simulator can.

It can when it has `clone_state(include_rng=True)` and `restore_state(state)`, as the
Arcade Learning Environment does, or an environment of your own. A state must hold all
that decides what happens next, random numbers included (those of `np_random` are kept
here in any case), and fit any other instance of the same environment. It may be shared
with the environment: it is copied here.
"""

import copy
from typing import Any, NamedTuple

import flax.serialization
import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from trpo_jax.environments.host import LARGEST_STATE

_WITHOUT_STATE = (OrderEnforcing, PassiveEnvChecker, TimeLimit)
_WORD = 2**63  # integers beyond it travel as text


class Snapshot(NamedTuple):
    """A moment of an environment.

    Attributes:
        state: of the simulator, as it gives it.
        elapsed: steps that each time limit has counted.
        random: state of the generator that Gymnasium gives to every environment.
        action: the last one of the episode, an integer, or None at its start.
    """

    state: Any
    elapsed: list[int]
    random: dict[str, Any]
    action: int | None = None


def can_return(environment: gymnasium.Env) -> bool:
    """Return whether snapshots hold all of an environment's state."""
    simulator = environment.unwrapped
    has_both = hasattr(simulator, "clone_state") and hasattr(simulator, "restore_state")
    wrappers = _wrappers(environment)
    return has_both and all(isinstance(each, _WITHOUT_STATE) for each in wrappers)


def take_snapshot(environment: gymnasium.Env, action: int | None = None) -> Snapshot:
    """Return the simulator's state, random numbers included, and the clocks.

    Args:
        environment: that can return.
        action: see `Snapshot`.
    """
    simulator = environment.unwrapped
    return Snapshot(
        _own(simulator.clone_state(include_rng=True)),
        [limit._elapsed_steps for limit in _time_limits(environment)],
        copy.deepcopy(simulator.np_random.bit_generator.state),
        action,
    )


def put_back(environment: gymnasium.Env, snapshot: Snapshot) -> None:
    """Return to a snapshot."""
    simulator = environment.unwrapped
    simulator.np_random.bit_generator.state = snapshot.random
    simulator.restore_state(_own(snapshot.state))
    if _is_ale(snapshot.state) and hasattr(simulator, "_action_set"):
        _remember(simulator, snapshot.action)
        simulator.restore_state(snapshot.state)
    limits = _time_limits(environment)
    for limit, elapsed in zip(limits, snapshot.elapsed, strict=True):
        limit._elapsed_steps = elapsed


def _remember(simulator: Any, action: int | None) -> None:
    """Have an Atari emulator take an action for its last one.

    With sticky actions it repeats that one, in a quarter of the frames, and its state
    does not hold it. It takes what it is told unless it repeats an older one in all
    frames of all these steps.
    """
    last = simulator._action_set[0 if action is None else action]
    for _ in range(3):
        simulator.ale.act(last)


def to_bytes(snapshot: Snapshot) -> bytes:
    """Return a snapshot as bytes: numbers, texts and arrays, no code.

    Raises:
        TypeError: when the simulator's state is made of anything but numbers, strings,
            bytes and arrays, in lists, tuples and dictionaries.
        ValueError: when it is larger than `LARGEST_STATE`.
    """
    content = flax.serialization.msgpack_serialize(_tagged(snapshot._asdict()))
    if len(content) > LARGEST_STATE:
        raise ValueError(f"a state of {len(content)} bytes")
    return content


def from_bytes(content: bytes) -> Snapshot:
    """Return the snapshot that `to_bytes` has written.

    Raises:
        ValueError: when it has not written this.
    """
    try:
        if len(content) > LARGEST_STATE:
            raise ValueError(f"it has {len(content)} bytes")
        return Snapshot(**_untagged(flax.serialization.msgpack_restore(content)))
    except Exception as error:  # of whatever was met in there
        said = f"the state of a simulator cannot be read: {error}"
        raise ValueError(said) from error


def _tagged(value: Any) -> Any:
    """Return a value with the kinds named that a file of numbers does not tell."""
    kind = type(value)  # exactly: what is derived from it comes back as something else
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
        raise TypeError(f"a {kind.__name__}")
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
    """Return a copy, of what is not known to stay as it is."""
    return state if _is_ale(state) else copy.deepcopy(state)


def _is_ale(state: Any) -> bool:
    return type(state).__module__.startswith("ale_py")


def _wrappers(environment: gymnasium.Env) -> list[gymnasium.Wrapper]:
    wrappers = []
    while isinstance(environment, gymnasium.Wrapper):
        wrappers.append(environment)
        environment = environment.env
    return wrappers


def _time_limits(environment: gymnasium.Env) -> list[TimeLimit]:
    return [each for each in _wrappers(environment) if isinstance(each, TimeLimit)]
