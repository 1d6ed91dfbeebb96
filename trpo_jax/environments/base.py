"""The contract of environments that run in compiled programs.

An environment consists of two pure functions without a batch axis, and it never resets
itself: `collect` batches it with `vmap` and starts a new episode when one ends. Its
whole state is the `env_state`, a pytree, so every `env_state` is a snapshot.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from trpo_jax.environments.nested import space_tree
from trpo_jax.environments.spaces import Box, Leaf, Space
from trpo_jax.validation import COUNT, check, optional

PyTree = Any


class Step(NamedTuple):
    """The result of one step of an environment.

    Attributes:
        env_state: the state after the step.
        observation: the observation of that state, even if it ends the episode.
        reward: a float scalar; `take_step` makes it float32.
        terminated: a bool scalar, True if the state is absorbing.
        truncated: a bool scalar, True if a time limit or the like cut the episode off.

    Example:
        >>> from trpo_jax import make_environment
        >>> environment = make_environment("CartPole-v1")
        >>> env_state, _ = environment.reset(jax.random.key(0))
        >>> step = environment.step(jax.random.key(1), env_state, jnp.int32(0))
        >>> float(step.reward), bool(step.terminated), bool(step.truncated)
        (1.0, False, False)
    """

    env_state: PyTree
    observation: PyTree
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


class Environment(Protocol):
    """A simulator as two pure functions.

    Attributes:
        name: the name with the simulator, such as `gymnax:CartPole-v1`.
        observation_space: the space of one observation. In a `Dict` or a `Tuple`,
            observations are dictionaries or tuples of arrays.
        action_space: the space of one action. `step` takes the numbers of a policy and
            turns them into actions as `trpo_jax.environments.actions.convert_action`
            does: where an element of a `Box` has two bounds, ±1 is at the bounds, and
            what lies beyond is clipped; integers count from 0, whatever the `start`.
        max_episode_steps: the length of the longest episode, or None without a limit.

    With the attribute `expensive_reset = True`, `reset` is only called where an episode
    has ended, instead of in every environment at every step. The numbers are the same.

    Example:
        >>> from trpo_jax import Discrete
        >>> class Countdown:
        ...     name, max_episode_steps = "countdown", 3
        ...     observation_space, action_space = Discrete(4), Discrete(2)
        ...
        ...     def reset(self, key):
        ...         return jnp.int32(3), jnp.int32(3)
        ...
        ...     def step(self, key, env_state, action):
        ...         left, reward = env_state - 1, jnp.float32(action)
        ...         return Step(left, left, reward, left == 0, jnp.bool_(False))
        >>> check_environment(Countdown())
    """

    name: str
    observation_space: Space
    action_space: Space
    max_episode_steps: int | None

    def reset(self, key: jax.Array) -> tuple[PyTree, PyTree]:
        """Consume a key to start an episode; return `(env_state, observation)`."""

    def step(self, key: jax.Array, env_state: PyTree, action: PyTree) -> Step:
        """Consume a key to take one action; never reset, even if the episode ends."""


def shaped(environment: Environment, action: PyTree) -> PyTree:
    """Return an action in the shapes of the environment's action space.

    A policy gives `[A]` numbers for a `Box` with A elements, whatever its shape, and
    likewise for the other spaces. Numbers in a `Box` become float32, all others int32.
    """

    def shape(space: Any, action: PyTree) -> PyTree:
        if not isinstance(space, Leaf):
            return action  # of a space of the user's own
        return jnp.reshape(jnp.asarray(action), space.shape).astype(_numbers(space))

    return jax.tree.map(shape, space_tree(environment.action_space), action)


def _numbers(space: Leaf) -> Any:
    """Return the type of the numbers that a policy gives for a space."""
    return jnp.float32 if isinstance(space, Box) else jnp.int32


def take_step(
    environment: Environment, key: jax.Array, env_state: PyTree, action: PyTree
) -> Step:
    """Call `environment.step` with an action of the policy, see `shaped`.

    Rewards become float32, also integers and booleans, which `check_environment`
    refuses, and nothing is weakly typed.
    """
    step = environment.step(key, env_state, shaped(environment, action))
    return step._replace(
        env_state=jax.tree.map(strong, step.env_state),
        observation=jax.tree.map(strong, step.observation),
        reward=jnp.asarray(step.reward, jnp.float32),
        terminated=jnp.asarray(step.terminated, bool),
        truncated=jnp.asarray(step.truncated, bool),
    )


def strong(leaf: Any) -> jax.Array:
    """Return an array or a number as an array whose type is not weak.

    Programs would be compiled again where a number of Python becomes an array.

    Example:
        >>> strong(1.5).weak_type
        False
    """
    leaf = jnp.asarray(leaf)
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return leaf if is_key else leaf.astype(leaf.dtype)


def observation_shapes(environment: Any) -> PyTree:
    """Return a pytree of `ShapeDtypeStruct` that describes one observation.

    The `reset` of an `Environment` is traced; for a `HostEnvironment`, its observation
    space is used.
    """
    if hasattr(environment, "step"):
        return jax.eval_shape(environment.reset, jax.random.key(0))[1]
    return shapes_in(environment.observation_space)


def shapes_in(space: Any) -> PyTree:
    """Return the shape and type of one element of a space, a pytree if that is one.

    Example:
        >>> from trpo_jax.environments.spaces import Dict, Discrete
        >>> shapes_in(Dict({"room": Discrete(3)}))
        {'room': ShapeDtypeStruct(shape=(), dtype=int32)}
    """

    def describe(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)

    return jax.tree.map(describe, space_tree(space))


def check_environment(environment: Environment) -> None:
    """Check that an environment keeps the contract of `Environment`.

    The shapes and types that `reset` and `step` return are traced, without compiling
    anything, and compared with each other and with the spaces. `train` calls this for
    an environment of your own.

    Args:
        environment: the environment to check.

    Raises:
        ValueError: if it breaks the contract; the message names the broken rule.

    Example:
        >>> from trpo_jax import make_environment
        >>> check_environment(make_environment("CartPole-v1"))
    """
    _require_parts(environment)
    check("max_episode_steps", environment.max_episode_steps, optional(COUNT))
    env_state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
    space = environment.observation_space
    if isinstance(space, Space):
        expected = shapes_in(space)
        if _types(observation, of=_shape) != _types(expected, of=_shape):
            of = expected.shape if isinstance(space, Leaf) else described(expected)
            raise ValueError(
                f"reset must return observations of observation_space, shape {of}; "
                f"got {described(observation)}"
            )
    if not isinstance(environment.action_space, Space):
        return  # with a space of the user's own, nothing is known about its actions
    action = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, _numbers(leaf)),
        space_tree(environment.action_space),
    )
    step = jax.eval_shape(environment.step, jax.random.key(0), env_state, action)
    if not isinstance(step, Step):
        raise ValueError(f"step must return a trpo_jax.Step; got {described(step)}")
    for name, first in (("observation", observation), ("env_state", env_state)):
        if _types(getattr(step, name)) != _types(first):
            raise ValueError(
                f"step must return {name} as reset does, {described(first)}; got "
                f"{described(getattr(step, name))}"
            )
    kinds = {"reward": jnp.floating, "terminated": jnp.bool_, "truncated": jnp.bool_}
    for name, kind in kinds.items():
        value = getattr(step, name)
        if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, kind):
            raise ValueError(
                f"{name} must be a {'float' if kind is jnp.floating else 'bool'} "
                f"scalar; got {described(value)}"
            )


def _require_parts(environment: Any) -> None:
    """Refuse a class in the place of an instance, and what lacks a part."""
    if isinstance(environment, type):
        kind = environment.__name__
        raise ValueError(f"got the class {kind}; pass an instance: {kind}()")
    for name in (*Environment.__annotations__, "reset", "step"):
        if not hasattr(environment, name):
            raise ValueError(
                f"an environment must have {name!r}, see "
                f"trpo_jax.environments.base.Environment; got {environment!r}"
            )


def _types(
    tree: PyTree, of: Callable[[Any], Any] = lambda leaf: (leaf.shape, leaf.dtype)
) -> tuple:
    """Return the structure, shapes and types of a pytree for a comparison."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, list(map(of, leaves))


def _shape(leaf: Any) -> Any:
    return getattr(leaf, "shape", None)


def described(tree: PyTree) -> str:
    """Return the shapes and types of a pytree as one line."""

    def short(leaf: Any) -> Any:
        return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "shape") else leaf

    return str(jax.tree.map(short, tree)).replace("'", "")
