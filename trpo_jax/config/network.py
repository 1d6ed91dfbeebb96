"""The shape of the standard agent."""

import dataclasses
from typing import Literal, TypedDict

from trpo_jax.config.fields import Checked, structure
from trpo_jax.config.groups import Group
from trpo_jax.validation import FLAG, LOG_STD, SIZES, one_of, optional

NetworkKind = Literal["mlp", "cnn", "nature_cnn", "gru", "lstm"]
NETWORK = one_of(NetworkKind)
Activation = Literal["tanh", "relu", "elu", "silu", "gelu"]
ACTIVATION = one_of(Activation)


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Checked):
    """The shape of the standard agent, see `default_agent`."""

    network: NetworkKind = structure("mlp", NETWORK, group=Group.NETWORK)
    """Kind of the networks: a perceptron (mlp); for pictures, one behind the
    convolutions of the paper (cnn) or of Mnih et al. 2015 (nature_cnn); or one whose
    last hidden layer is a recurrent cell (gru, lstm), so that the agent has a
    memory."""
    hidden_sizes: tuple[int, ...] = structure((64, 64), SIZES)
    """Widths of the policy's hidden layers; none gives a linear policy."""
    critic_hidden_sizes: tuple[int, ...] | None = structure(None, optional(SIZES))
    """Widths of the critic's hidden layers; with None, those of the policy."""
    activation: Activation = structure("tanh", ACTIVATION)
    """Activation function of both networks."""
    log_std_init: float = structure(0.0, LOG_STD)
    """Log standard deviation at the start; an action of ±1 is at the bound."""
    orthogonal_init: bool = structure(True, FLAG)
    """Orthogonal kernels and a policy head of gain 0.01 (Engstrom et al. 2020, §3, item
    3; Andrychowicz et al. 2021, §3.2); otherwise Gaussian kernels of variance
    1/fan-in."""
    state_dependent_std: bool = structure(False, FLAG)
    """Let the policy network compute the log standard deviation for each
    observation."""
    shared_trunk: bool = structure(False, FLAG)
    """Let policy and critic share the hidden layers, and learn in one joint step."""


class NetworkOptions(TypedDict, total=False):
    """The fields of `NetworkConfig` as keyword arguments, for type checkers."""

    network: NetworkKind
    hidden_sizes: tuple[int, ...]
    critic_hidden_sizes: tuple[int, ...] | None
    activation: Activation
    log_std_init: float
    orthogonal_init: bool
    state_dependent_std: bool
    shared_trunk: bool
