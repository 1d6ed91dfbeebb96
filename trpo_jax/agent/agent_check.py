"""Checking an agent against an environment by shapes alone."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.agent.distributions import Categorical
from trpo_jax.agent.memory import first_memory, step_once
from trpo_jax.agent.networks import Agent, Network, check_one_value_per_row
from trpo_jax.environments.base import (
    Environment,
    described,
    observation_shapes,
)
from trpo_jax.environments.host import HostEnvironment
from trpo_jax.environments.nested import walk
from trpo_jax.environments.spaces import Discrete, Space

PyTree = Any

_ROWS = 1009  # a number of observations that no other axis is likely to have


def check_agent(agent: Agent, environment: Environment | HostEnvironment) -> None:
    """Refuse an agent that does not fit an environment, before anything is compiled.

    The outputs of policy and critic are traced for a batch of observations and compared
    with the environment's spaces. `train` does this with an agent of your own.

    Args:
        agent: policy and critic.
        environment: the environment to act in.

    Raises:
        ValueError: for the first mismatch that is found.

    Example:
        >>> from trpo_jax import Discrete, make_environment, default_agent
        >>> environment = make_environment("CartPole-v1")
        >>> three = default_agent(environment.observation_space, Discrete(3))
        >>> check_agent(three, environment)
        Traceback (most recent call last):
        ValueError: the policy must choose among 2 actions; it has 3 logits
    """
    if not isinstance(agent, Agent):
        raise ValueError(f"agent must be a trpo_jax.Agent; got {agent!r}")
    observation = observation_shapes(environment)
    if agent.heads is not None:  # whose parameters are the critic's, too
        agent = agent._replace(critic=agent.critic._replace(init=agent.heads.init))
    for role, network in (("policy", agent.policy), ("critic", agent.critic)):
        _require_floats(role, network, observation)
    check_one_value_per_row(_outcome(agent.critic, observation), (_ROWS,))
    policy = _outcome(agent.policy, observation)
    methods = ("sample", "log_prob", "entropy", "mode", "kl", "fisher_product")
    for name in methods:
        if not hasattr(policy, name):
            raise ValueError(
                f"the policy must return a distribution with {', '.join(methods)}, as "
                f"trpo_jax.Categorical has; got {type(policy).__name__} without {name}"
            )
    ragged = [x.shape for x in jax.tree.leaves(policy) if x.shape[:1] != (_ROWS,)]
    if ragged:
        raise ValueError(
            f"every array of the policy's distribution must lead with the {_ROWS} rows "
            f"of {_ROWS} observations: broadcast the smaller ones; got {ragged[0]}"
        )
    space = environment.action_space
    choices = policy.logits.shape[-1] if isinstance(policy, Categorical) else None
    if isinstance(space, Discrete) and choices not in (None, space.n):
        raise ValueError(
            f"the policy must choose among {space.n} actions; it has {choices} logits"
        )
    action = _outcome(
        agent.policy, observation, lambda policy: policy.sample(jax.random.key(0))
    )
    if isinstance(space, Space):
        walk(_require_numbers, space, action, "the policy's actions")


def _require_numbers(name: str, space: Any, action: Any) -> None:
    """Refuse actions that do not have as many numbers as their space."""
    numbers, shape = math.prod(space.shape), getattr(action, "shape", None)
    if shape is None or math.prod(shape) != _ROWS * numbers:
        raise ValueError(
            f"{name} must have {numbers} numbers, as the action space; for {_ROWS} "
            f"observations they have shape {shape}"
        )


def _require_floats(role: str, network: Network, observation: PyTree) -> None:
    """Refuse parameters that no gradient can change, such as counters and keys."""
    params = jax.eval_shape(network.init, jax.random.key(0), observation)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"every parameter of the {role} must be a floating-point array; got "
                f"{leaf.dtype}{list(leaf.shape)} as {jax.tree_util.keystr(path)}: let "
                "apply hold what is not learnt"
            )


def _outcome(
    network: Network, observation: PyTree, of: Callable[[Any], Any] = lambda x: x
) -> Any:
    """Return the shapes of a network's output for `_ROWS` observations."""
    rows = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((_ROWS, *leaf.shape), leaf.dtype), observation
    )
    params = jax.eval_shape(network.init, jax.random.key(0), observation)
    if network.initial_memory is None:
        return jax.eval_shape(lambda p, x: of(network.apply(p, x)), params, rows)
    memory = jax.eval_shape(lambda: first_memory(network, _ROWS))

    def step(params: PyTree, observation: PyTree, memory: PyTree) -> tuple[Any, PyTree]:
        output, after = step_once(network, params, observation, memory)
        return of(output), after

    output, after = jax.eval_shape(step, params, rows, memory)
    before, after = map(described, (memory, after))
    if after != before:
        raise ValueError(
            "apply must return a memory of the shapes and types of initial_memory, "
            f"after each row: {before} in {_ROWS} environments; got {after}"
        )
    return output
