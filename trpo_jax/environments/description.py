"""What a policy has to know of the environment that it was trained in, as JSON."""

import math
from typing import Any, NamedTuple

import numpy as np

from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.host import Parts, convert_observations
from trpo_jax.environments.spaces import Box, Discrete, Space
from trpo_jax.validation import COUNT, FLAG, check

LARGEST_SPACE = 2**24  # numbers in one observation or action that a file may describe


class EnvironmentDescription(NamedTuple):
    """An environment, without its simulator.

    Attributes:
        name: the name with the simulator.
        own: whether it is the user's own, which no name can make.
        on_host: whether Python steps its simulator.
        observations: the observations of the simulator, see `describe_observations`;
            None if their space is the user's own.
        action_space: the space of one action; None if it is the user's own.
        action_dtype: the name of the type of the simulator's actions.
        action_repeat: the simulator steps for which each action is held.
        num_envs: the number of environments in training.
    """

    name: str
    own: bool
    on_host: bool
    observations: Parts | None
    action_space: Space | None
    action_dtype: str
    action_repeat: int
    num_envs: int

    @property
    def observation_space(self) -> Space | None:
        """The space of what the policy sees, in which a dictionary is one vector."""
        if self.observations is None:
            return None
        return convert_observations(self.name, self.observations)[0]


def describe_environment(
    environment: Any, *, own: bool, num_envs: int = 1, observation_dtype: Any = None
) -> EnvironmentDescription:
    """Return the description of an `Environment` or a `HostEnvironment`.

    Observations in a `Box` have the type `observation_dtype`; with None, that of the
    space.

    Example:
        >>> from trpo_jax import make_environment
        >>> environment = make_environment("CartPole-v1")
        >>> describe_environment(environment, own=False).action_dtype
        'int32'
    """
    repeat, one = 1, environment
    if isinstance(environment, ActionRepeat):
        repeat, one = environment.repeat, environment.environment
    actions: Any = one.action_space
    seen = getattr(one, "observation_parts", None) or one.observation_space
    if isinstance(seen, Box) and observation_dtype is not None:
        seen = Box(seen.shape, seen.low, seen.high, np.dtype(observation_dtype).name)
    usual = np.dtype(actions.dtype).name if isinstance(actions, Box) else "int64"
    return EnvironmentDescription(
        name=one.name,
        own=own,
        on_host=not hasattr(one, "step"),
        observations=seen if isinstance(seen, Box | Discrete | dict) else None,
        action_space=actions if isinstance(actions, Box | Discrete) else None,
        action_dtype=getattr(one, "action_dtype", usual),
        action_repeat=int(repeat),
        num_envs=num_envs,
    )


def require_same_spaces(description: EnvironmentDescription, environment: Any) -> None:
    """Raise a `ValueError` unless an environment has the spaces of training."""
    other = describe_environment(environment, own=description.own)
    pairs = {
        "observations": (
            _shapes(description.observations),
            _shapes(other.observations),
        ),
        "actions": (description.action_space, other.action_space),
    }
    for kind, (trained, found) in pairs.items():
        if trained != found:
            raise ValueError(
                f"{environment.name} must have the {kind} of training, {trained}; got "
                f"{found}"
            )


def _shapes(parts: Parts | None) -> Any:
    if isinstance(parts, dict):
        return {key: _shapes(part) for key, part in parts.items()}
    return parts.shape if isinstance(parts, Box) else parts


def as_json(description: EnvironmentDescription) -> dict[str, Any]:
    """Return a description as JSON can hold it."""
    content = description._asdict()
    for name in ("observations", "action_space"):
        content[name] = _space_as_json(content[name])
    return content


def from_json(content: Any) -> EnvironmentDescription:
    """Return the description that `as_json` wrote; refuse any other content.

    What is refused is a `ValueError` or a `TypeError`.
    """
    if not isinstance(content, dict):
        raise ValueError(f"the environment must be described; got {content!r}")
    names = set(EnvironmentDescription._fields)
    if wrong := names ^ content.keys():
        raise ValueError(f"{min(wrong)!r} is missing or unknown in the environment")
    for name in ("name", "action_dtype"):
        if not isinstance(content[name], str):
            raise ValueError(f"{name} must be a text; got {content[name]!r}")
    for name in ("own", "on_host"):
        check(name, content[name], FLAG)
    for name in ("action_repeat", "num_envs"):
        check(name, content[name], COUNT)
    action_space = _space_from_json(content["action_space"])
    if isinstance(action_space, dict):
        raise ValueError("the action space must not be a dictionary")
    _numbers(content["action_dtype"])
    seen = _space_from_json(content["observations"])
    changes = {"observations": seen, "action_space": action_space}
    description = EnvironmentDescription(**content | changes)
    if as_json(description) != content:
        raise ValueError("a space is not described as trpo_jax does")
    return description


def _numbers(dtype: str) -> np.dtype:
    kind = np.dtype(dtype)
    if kind.kind not in "biuf" and kind.name != "bfloat16":
        raise ValueError(f"a type must be one of numbers; got {dtype!r}")
    return kind


def _space_as_json(space: Parts | None) -> Any:
    if space is None:
        return None
    if isinstance(space, Discrete):
        return {"n": int(space.n)}
    if isinstance(space, dict):
        return {"parts": {key: _space_as_json(part) for key, part in space.items()}}
    low, high = map(_bound_as_json, (space.low, space.high))
    shape, dtype = list(map(int, space.shape)), np.dtype(space.dtype).name
    return {"shape": shape, "low": low, "high": high, "dtype": dtype}


def _bound_as_json(bound: tuple[float, ...]) -> Any:
    """Return one number if all are equal; None stands for a bound that is not there."""
    finite = [float(x) if math.isfinite(x) else None for x in bound]
    return finite[0] if len(set(finite)) == 1 else finite


def _space_from_json(content: Any) -> Any:
    return None if content is None else _part_from_json(content)


def _part_from_json(content: Any) -> Parts:
    match content:
        case {"n": int(n)} if 1 <= n <= LARGEST_SPACE:
            return Discrete(n)
        case {"parts": dict(parts)} if parts:
            return {key: _part_from_json(part) for key, part in sorted(parts.items())}
        case {"shape": list(shape), "low": low, "high": high, "dtype": str(dtype)}:
            whole = all(isinstance(length, int) and length >= 0 for length in shape)
            size = math.prod(shape) if whole else LARGEST_SPACE + 1
            if size <= LARGEST_SPACE:
                low, high = _bound(low, size, -math.inf), _bound(high, size, math.inf)
                return Box(tuple(shape), low, high, _numbers(dtype).name)
    raise ValueError(f"a space is not described: {str(content)[:100]}")


def _bound(bound: Any, size: int, absent: float) -> tuple[float, ...]:
    numbers = bound if isinstance(bound, list) else [bound] * size
    result = tuple(absent if x is None else float(x) for x in numbers)
    if any(map(math.isnan, result)):
        raise ValueError("a bound must be a number; got NaN")
    return result
