"""What a policy has to know of the environment that it was trained in, as JSON."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.nested import map_nested, space_tree, walk
from trpo_jax.environments.space_json import (
    space_as_json,
    space_from_json,
    type_from_json,
)
from trpo_jax.environments.spaces import Box, Dict, Space, Tuple
from trpo_jax.validation import COUNT, FLAG, check


class EnvironmentDescription(NamedTuple):
    """An environment, without its simulator.

    Attributes:
        name: the name with the simulator.
        own: whether it is the user's own, which no name can make.
        on_host: whether Python steps its simulator.
        observation_space: the space of one observation; None if it is the user's own.
        action_space: the space of one action; None if it is the user's own.
        action_dtype: the name of the type of the simulator's actions; dictionaries and
            tuples of names where the actions are nested.
        action_repeat: the simulator steps for which each action is held.
        num_envs: the number of environments in training.
    """

    name: str
    own: bool
    on_host: bool
    observation_space: Space | None
    action_space: Space | None
    action_dtype: Any
    action_repeat: int
    num_envs: int


def describe_environment(
    environment: Any, *, own: bool, num_envs: int = 1, observation: Any = None
) -> EnvironmentDescription:
    """Return the description of an `Environment` or a `HostEnvironment`.

    Observations in a `Box` have the type that `observation` has there, a pytree of
    arrays; with None, that of the space.

    Example:
        >>> from trpo_jax import make_environment
        >>> environment = make_environment("CartPole-v1")
        >>> describe_environment(environment, own=False).action_dtype
        'int32'
    """
    repeat, one = 1, environment
    if isinstance(environment, ActionRepeat):
        repeat, one = environment.repeat, environment.environment
    seen: Any = one.observation_space
    if observation is not None and isinstance(seen, Space):
        seen = _with_types(seen, observation)
    actions: Any = one.action_space
    usual: Any = "int64"
    if isinstance(actions, Space):
        usual = map_nested(_usual_type, space_tree(actions))
    return EnvironmentDescription(
        name=one.name,
        own=own,
        on_host=not hasattr(one, "step"),
        observation_space=seen if isinstance(seen, Space) else None,
        action_space=actions if isinstance(actions, Space) else None,
        action_dtype=getattr(one, "action_dtype", usual),
        action_repeat=int(repeat),
        num_envs=num_envs,
    )


def _usual_type(space: Any) -> str:
    return np.dtype(space.dtype).name if isinstance(space, Box) else "int64"


def _with_types(space: Space, observation: Any) -> Space:
    """Return a space whose boxes have the types of an observation."""
    if isinstance(space, Dict):
        parts = space.spaces.items()
        return Dict({key: _with_types(part, observation[key]) for key, part in parts})
    if isinstance(space, Tuple):
        pairs = zip(space.spaces, observation, strict=True)
        return Tuple(tuple(_with_types(part, seen) for part, seen in pairs))
    if isinstance(space, Box):
        return dataclasses.replace(space, dtype=np.dtype(observation.dtype).name)
    return space


def require_same_spaces(description: EnvironmentDescription, environment: Any) -> None:
    """Raise a `ValueError` unless an environment has the spaces of training."""
    other = describe_environment(environment, own=description.own)
    pairs = {
        "observations": (
            _shapes(description.observation_space),
            _shapes(other.observation_space),
        ),
        "actions": (description.action_space, other.action_space),
    }
    for kind, (trained, found) in pairs.items():
        if trained != found:
            raise ValueError(
                f"{environment.name} must have the {kind} of training, {trained}; got "
                f"{found}"
            )


def _shapes(space: Space | None) -> Any:
    """Return the leaves of a space, with the shape alone of each box."""
    shape = lambda leaf: leaf.shape if isinstance(leaf, Box) else leaf  # noqa: E731
    return map_nested(shape, space_tree(space))


def as_json(description: EnvironmentDescription) -> dict[str, Any]:
    """Return a description as JSON can hold it."""
    content = description._asdict()
    content["observations"] = space_as_json(content.pop("observation_space"))
    content["action_space"] = space_as_json(description.action_space)
    content["action_dtype"] = _lists(description.action_dtype)
    return content


def from_json(content: Any) -> EnvironmentDescription:
    """Return the description that `as_json` wrote; refuse any other content.

    What is refused is a `ValueError` or a `TypeError`.
    """
    if not isinstance(content, dict):
        raise ValueError(f"the environment must be described; got {content!r}")
    names = {"observations", *EnvironmentDescription._fields} - {"observation_space"}
    if wrong := names ^ content.keys():
        raise ValueError(f"{min(wrong)!r} is missing or unknown in the environment")
    if not isinstance(content["name"], str):
        raise ValueError(f"name must be a text; got {content['name']!r}")
    for name in ("own", "on_host"):
        check(name, content[name], FLAG)
    for name in ("action_repeat", "num_envs"):
        check(name, content[name], COUNT)
    values = dict(content)
    values["observation_space"] = space_from_json(values.pop("observations"))
    values["action_space"] = space_from_json(content["action_space"])
    values["action_dtype"] = type_from_json(content["action_dtype"])
    description = EnvironmentDescription(**values)
    if as_json(description) != content:
        raise ValueError("a space is not described as trpo_jax does")
    _require_a_type_each(description.action_space, description.action_dtype)
    return description


def _lists(types: Any) -> Any:
    """Return the names of types in dictionaries and lists."""
    if isinstance(types, dict):
        return {key: _lists(part) for key, part in types.items()}
    return list(map(_lists, types)) if isinstance(types, tuple) else str(types)


def _require_a_type_each(space: Space | None, types: Any) -> None:
    """Refuse types of actions that do not have the structure of their space."""

    def text(name: str, leaf: Any, kind: Any) -> None:
        if not isinstance(kind, str):
            raise ValueError(f"{name} must be a text; got {kind!r}")

    walk(text, space, types, "action_dtype")
