"""From an observation of an environment to an action in its units."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.acting import act
from trpo_jax.agent.features import split_vector, width_of
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import Normalizer
from trpo_jax.environments.actions import convert_action
from trpo_jax.environments.base import observation_shapes
from trpo_jax.environments.description import EnvironmentDescription
from trpo_jax.environments.nested import leaves_of, map_nested, space_tree, walk
from trpo_jax.environments.observations import (
    ObservationReader,
    leading_axes,
    read_array,
)
from trpo_jax.environments.spaces import Box, Dict, Discrete, Tuple

PyTree = Any


class Acting:
    """The policy of an agent between the observations and actions of an environment.

    It has no parameters of its own, so that all agents of a run share its compiled
    programs: one for each shape of observations, for greedy actions and for samples.
    The environment itself is only needed if its observation space is the user's own.
    """

    def __init__(
        self, agent: Agent, description: EnvironmentDescription, environment: Any = None
    ) -> None:
        self._agent, self._description = agent, description
        self._environment = environment
        space = description.observation_space
        self.reader = None if space is None else ObservationReader(space)

    def __call__(
        self, parameters: PyTree, observation: Any, key: Any, memory: PyTree
    ) -> tuple[Any, PyTree]:
        """Return actions for observations, and the next memory; see `SavedPolicy.act`.

        `parameters` are those of the policy and the normaliser. Without a key the
        actions are greedy, and without a memory an episode begins. Actions are arrays
        of NumPy.
        """
        arrays, leading = self._read(observation)
        memory = self._begun(memory, leading)
        numbers, memory = self.compiled(*parameters, arrays, key, memory)
        space, dtype = self._description.action_space, self._description.action_dtype
        if space is None:
            return jax.tree.map(np.asarray, numbers), memory
        action = map_nested(np.asarray, numbers)
        converted = convert_action(space, action, dtype, leading)
        action = map_nested(
            lambda leaf, space: leaf[()] if isinstance(space, Discrete) else leaf,
            converted,
            space_tree(space),
        )
        return action, memory

    def traced(
        self, parameters: PyTree, observation: Any, key: Any, memory: PyTree
    ) -> tuple[Any, PyTree]:
        """Do the same under a JAX transformation, with arrays of JAX."""
        params, normalizer = parameters
        leading: tuple[int, ...] = ()
        if self.reader:
            space: Any = self.reader.space
            if _is_vector(space, observation):
                observation = split_vector(space, jnp.asarray(observation))
            observation = walk(
                lambda _, leaf, x: jnp.asarray(x).astype(leaf.dtype), space, observation
            )
            first = jax.tree.leaves(observation)[0]
            leading = leading_axes(leaves_of(space)[0], first)
        memory = self._begun(memory, leading)
        action, memory = self._choose(params, normalizer, observation, key, memory)
        space = self._description.action_space
        if space is None:
            return action, memory
        dtype = self._description.action_dtype
        dtype = map_nested(jax.dtypes.canonicalize_dtype, dtype)
        return convert_action(space, action, dtype, leading), memory

    def _begun(self, memory: PyTree, leading: tuple[int, ...]) -> PyTree:
        """Return the memory, that of a new episode for None."""
        begin = self._agent.policy.initial_memory
        if begin is None:
            return ()
        if memory is not None:
            return memory
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (*leading, *leaf.shape)), begin()
        )

    @functools.cached_property
    def compiled(self) -> Callable[..., jax.Array]:
        """The policy as a jitted function of arrays."""
        return jax.jit(self._choose)

    def _choose(
        self,
        params: PyTree,
        normalizer: Normalizer,
        observation: PyTree,
        key: Any,
        memory: PyTree,
    ) -> tuple[Any, PyTree]:
        """Return the policy's mode, or a sample of it, and the next memory."""
        policy, memory = act(self._agent, params, normalizer, observation, memory)
        if key is None:
            return policy.mode(), memory
        if key.ndim == 0 and jnp.issubdtype(key.dtype, jnp.integer):
            key = jax.random.key(key)
        return policy.sample(key), memory

    def _read(self, observation: Any) -> tuple[PyTree, tuple[int, ...]]:
        """Return arrays for the policy, and the leading axes of the observation."""
        if self.reader:
            space: Any = self.reader.space
            if _is_vector(space, observation):
                box = Box.uniform((width_of(space),))
                vector = read_array("observation", box, observation, instead_of=space)
                observation = map_nested(
                    np.asarray, split_vector(space, jnp.asarray(vector))
                )
            return self.reader(observation)
        spaces = self._own_spaces
        read = functools.partial(read_array, "observation")
        try:
            arrays = jax.tree.map(read, spaces, observation)
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"observation must be what the environment returns: {reason}"
            ) from error
        first = jax.tree.leaves(spaces)[0]
        return arrays, leading_axes(first, jax.tree.leaves(arrays)[0])

    @functools.cached_property
    def _own_spaces(self) -> PyTree:
        """A box for each array of observations whose space is the user's own."""

        def box(leaf: jax.ShapeDtypeStruct) -> Box:
            return dataclasses.replace(Box.uniform(leaf.shape), dtype=leaf.dtype.name)

        return jax.tree.map(box, observation_shapes(self._environment))


def _is_vector(space: Any, observation: Any) -> bool:
    """Return whether there is a vector in the place of a dictionary or a tuple."""
    nested = isinstance(space, Dict | Tuple)
    return nested and not isinstance(observation, Mapping | tuple | None)


def is_traced(observation: Any) -> bool:
    """Return whether an observation belongs to a JAX transformation."""
    if isinstance(observation, np.ndarray):
        return False
    leaves = jax.tree.leaves(observation)
    return any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
