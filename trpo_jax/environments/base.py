"""The contract between the library and an accelerated environment.

An environment is pure and single: no batch axis, no hidden state, no reset of its own.
`collect` batches it with `vmap` and starts a new episode when one ends. A snapshot is
the `env_state`, an ordinary pytree.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.environments.spaces import Box, Discrete, Space

PyTree = Any


class Step(NamedTuple):
    """What one step of an environment gives.

    Attributes:
        env_state: the state arrived in.
        observation: of that state, also when the episode just ended there.
        reward: float32 scalar.
        terminated: bool scalar, the state is absorbing.
        truncated: bool scalar, the episode was cut off, as by a time limit.
    """

    env_state: PyTree
    observation: PyTree
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


class Environment(Protocol):
    """A simulator as two pure functions.

    Attributes:
        name: as in `make_environment`.
        observation_space: of one observation.
        action_space: of one action. Where a `Box` is bounded, `step` takes actions in
            units of the box, ±1 at the bounds, and clips what lies beyond.
        max_episode_steps: no episode is longer, or None when there is no limit.
    """

    name: str
    observation_space: Space
    action_space: Space
    max_episode_steps: int | None

    def reset(self, key: jax.Array) -> tuple[PyTree, PyTree]:
        """Start an episode: `(env_state, observation)`; `key` is consumed."""

    def step(self, key: jax.Array, env_state: PyTree, action: PyTree) -> Step:
        """Take one action; never resets. `key` is consumed."""


def shaped(environment: Environment, action: PyTree) -> PyTree:
    """Return one action of a policy, flat, in the shape of the environment's box."""
    space = environment.action_space
    return jnp.reshape(action, space.shape) if isinstance(space, Box) else action


def step_and_reset(
    environment: Environment,
    step_key: jax.Array,
    reset_key: jax.Array,
    env_state: PyTree,
    action: PyTree,
    cut: bool | jax.Array = False,
) -> tuple[PyTree, PyTree, Step]:
    """Take one step and, if it ended the episode, start a fresh one.

    Args:
        environment: a single environment.
        step_key: consumed by the step.
        reset_key: consumed by the reset, if there is one.
        env_state: the state to act in.
        action: one action.
        cut: truncate the episode with this step.

    Returns:
        The state and the observation to act on next, and the `Step` itself, whose
        observation is the final one of an episode that ended.
    """
    step = environment.step(step_key, env_state, shaped(environment, action))
    step = step._replace(truncated=step.truncated | cut)
    ended = step.terminated | step.truncated
    fresh = environment.reset(reset_key)
    env_state, observation = jax.tree.map(
        lambda new, old: jnp.where(ended, new, old),
        fresh,
        (step.env_state, step.observation),
    )
    return env_state, observation, step


def observation_shapes(environment: Any) -> PyTree:
    """Return shape and type of one observation, as a pytree of `ShapeDtypeStruct`.

    Args:
        environment: an `Environment`, which is asked, or a `HostEnvironment`, whose
            space tells.
    """
    if hasattr(environment, "step"):
        return jax.eval_shape(environment.reset, jax.random.key(0))[1]
    space = environment.observation_space
    if isinstance(space, Discrete):
        return jax.ShapeDtypeStruct((), jnp.int32)
    return jax.ShapeDtypeStruct(space.shape, space.dtype)


def check_environment(environment: Environment) -> None:
    """Refuse an environment that breaks the contract, before anything is compiled.

    Shapes and types of `reset` and `step` are traced and held against each other and
    against the attributes. `train` does this with an environment of your own.

    Raises:
        ValueError: with what is wrong.

    Example:
        >>> from trpo_jax import make_environment
        >>> check_environment(make_environment("CartPole-v1"))
    """
    names = ("name", "observation_space", "action_space", "max_episode_steps")
    for name in (*names, "reset", "step"):
        if not hasattr(environment, name):
            raise ValueError(
                f"an environment must have {name!r}, see "
                f"trpo_jax.environments.base.Environment; got {environment!r}"
            )
    limit = environment.max_episode_steps
    if limit is not None and (not isinstance(limit, int | np.integer) or limit < 1):
        raise ValueError(
            f"max_episode_steps must be None or an integer >= 1; got {limit!r}"
        )
    env_state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
    space = environment.observation_space
    expected = space.shape if isinstance(space, Box) else ()
    shape = getattr(observation, "shape", None)
    if isinstance(space, Box | Discrete) and shape != expected:
        raise ValueError(
            f"reset must return observations of observation_space, shape {expected}; "
            f"got {_describe(observation)}"
        )
    space = environment.action_space
    if isinstance(space, Box):
        action = jax.ShapeDtypeStruct(space.shape, jnp.float32)
    elif isinstance(space, Discrete):
        action = jax.ShapeDtypeStruct((), jnp.int32)
    else:
        return  # a space of the user's own: nothing is known about its actions
    step = jax.eval_shape(environment.step, jax.random.key(0), env_state, action)
    if not isinstance(step, Step):
        raise ValueError(f"step must return a trpo_jax.Step; got {_describe(step)}")
    for name, is_, should_be in (
        ("observation", step.observation, observation),
        ("env_state", step.env_state, env_state),
    ):
        if _types(is_) != _types(should_be):
            raise ValueError(
                f"step must return {name} as reset does, {_describe(should_be)}; got "
                f"{_describe(is_)}"
            )
    for name, kind in (
        ("reward", jnp.floating),
        ("terminated", jnp.bool_),
        ("truncated", jnp.bool_),
    ):
        value = getattr(step, name)
        if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, kind):
            raise ValueError(
                f"{name} must be a {'float' if kind is jnp.floating else 'bool'} "
                f"scalar; got {_describe(value)}"
            )


def _types(tree: PyTree) -> tuple:
    """Return structure, shapes and types of a pytree, to be compared."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _describe(tree: PyTree) -> str:
    """Return the shapes and types of a pytree as one line."""

    def short(leaf: Any) -> Any:
        if not hasattr(leaf, "shape"):
            return leaf
        return f"{leaf.dtype}{list(leaf.shape)}"

    return str(jax.tree.map(short, tree)).replace("'", "")
