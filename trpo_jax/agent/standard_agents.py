"""The standard agents: a network for every kind of observation, action and task."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.agent.encoders import CELLS, CONVOLUTIONS, Cell, Composed, Encoder
from trpo_jax.agent.heads import mask_space
from trpo_jax.agent.mlp import Critic, Policy
from trpo_jax.agent.networks import Agent, Heads, Network, shared_agent
from trpo_jax.config.network import ACTIVATION, NETWORK
from trpo_jax.environments.spaces import ACTION_MASK, Dict, Space
from trpo_jax.validation import check

PyTree = Any


def default_agent(
    observation_space: Space,
    action_space: Space,
    *,
    network: str = "mlp",
    hidden_sizes: Sequence[int] = (64, 64),
    critic_hidden_sizes: Sequence[int] | None = None,
    activation: str = "tanh",
    log_std_init: float = 0.0,
    orthogonal_init: bool = True,
    state_dependent_std: bool = False,
    shared_trunk: bool = False,
) -> Agent:
    """Build the agent that the options of `NetworkConfig` describe.

    Args:
        observation_space: any space; see `flatten_observation` in `agent.features` for
            what perceptrons see of it.
        action_space: any space; the policy's last layer has the outputs of all its
            parts, and `distribution_of` in `agent.heads` makes distributions of them.
        network: "mlp"; "cnn" or "nature_cnn", whose convolutions come before the hidden
            layers for every observation with three axes; "gru" or "lstm", whose last
            hidden layer is a recurrent cell, so that the agent has a memory.
        hidden_sizes: widths of the policy's hidden layers; `()` is a linear policy.
        critic_hidden_sizes: widths of the critic's; those of the policy when None.
        activation: "tanh", "relu", "elu", "silu" or "gelu".
        log_std_init: log σ that a continuous policy starts with; an action of ±1
            reaches the bounds of a bounded action space.
        orthogonal_init: use orthogonal kernels and an almost constant first policy.
        state_dependent_std: let the network compute log σ for each observation.
        shared_trunk: let policy and critic be linear functions of the last hidden layer
            of one network, see `shared_agent`.

    Returns:
        An `Agent`, whose policy returns distributions and whose critic values `[...]`.

    Raises:
        ValueError: for an unknown network or activation, a space of another kind, a
            recurrent network without hidden layers, or `critic_hidden_sizes` with a
            shared trunk.

    Example:
        >>> from trpo_jax import Box, Discrete
        >>> agent = default_agent(Box.uniform((3,)), Discrete(2), network="gru")
        >>> agent.policy.initial_memory().shape
        (64,)
    """
    check("activation", activation, ACTIVATION)
    check("network", network, NETWORK)
    for role, space in (("observation", observation_space), ("action", action_space)):
        if not isinstance(space, Space):
            raise ValueError(
                f"{role} space must be a Box, Discrete, MultiDiscrete, MultiBinary, "
                f"Tuple or Dict of trpo_jax; got {space!r}; bring your own Agent for "
                "other spaces"
            )
    if shared_trunk and critic_hidden_sizes is not None:
        raise ValueError(
            "critic_hidden_sizes must be left out with shared_trunk, where "
            f"hidden_sizes are those of both; got {critic_hidden_sizes}"
        )
    masked = mask_space(observation_space, action_space) is not None
    seen = _without_mask(observation_space) if masked else observation_space
    policy = Policy(
        seen,
        action_space,
        tuple(hidden_sizes),
        activation,
        log_std_init,
        state_dependent_std,
        orthogonal_init,
        masked,
    )
    compose = functools.partial(_compose, network, seen, activation, orthogonal_init)
    if shared_trunk:
        both = compose(hidden_sizes, policy, True, lambda both: Heads(*both))
        return shared_agent(both)
    critic_sizes = hidden_sizes if critic_hidden_sizes is None else critic_hidden_sizes
    if network != "mlp":
        return Agent(
            compose(hidden_sizes, policy, False), compose(critic_sizes, None, True)
        )
    critic = Critic(seen, tuple(critic_sizes), activation, orthogonal_init)
    return Agent(Network(policy.init, policy.apply), Network(critic.init, critic.apply))


def _without_mask(space: Any) -> Space:
    """Return a `Dict` without its mask, unless there is nothing else in it."""
    rest = {key: part for key, part in space.spaces.items() if key != ACTION_MASK}
    return Dict(rest) if rest else space


def _compose(
    network: str,
    space: Space,
    activation: str,
    orthogonal: bool,
    hidden_sizes: Sequence[int],
    policy: Policy | None,
    valued: bool,
    wrap: Callable[[Any], Any] = lambda output: output,
) -> Network:
    """Return a network with these heads; `wrap` makes something of its output."""
    cell, sizes = None, tuple(hidden_sizes)
    if network in CELLS:
        if not sizes:
            raise ValueError(
                f"hidden_sizes must have a width for network {network}, whose last "
                "hidden layer is the recurrent cell; got none"
            )
        cell, sizes = Cell(network, sizes[-1]), sizes[:-1]
    encoder = Encoder(
        space, CONVOLUTIONS.get(network, ()), sizes, activation, orthogonal
    )
    module = Composed(encoder, cell, policy, valued)
    if cell is None:
        return Network(module.init, lambda p, x: wrap(module.apply(p, x)))

    def init(key: jax.Array, observation: PyTree) -> PyTree:
        one = jax.tree.map(lambda x: jnp.asarray(x)[None, None], observation)
        memory = jax.tree.map(lambda x: x[None], cell.initial_memory())
        return module.init(key, one, memory, jnp.zeros((1, 1), bool))

    def apply(
        params: PyTree, observation: PyTree, memory: PyTree, first: jax.Array
    ) -> tuple[Any, PyTree]:
        output, memory = module.apply(params, observation, memory, first)
        return wrap(output), memory

    return Network(init, apply, cell.initial_memory)
