"""Networks of the standard agents beyond plain perceptrons: pictures and memories.

Shapes: `...` are any leading axes; with a recurrent cell they are `[T, B]`.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from trpo_jax.agent.features import flatten_observation
from trpo_jax.agent.heads import forbid
from trpo_jax.agent.initializers import orthogonal
from trpo_jax.agent.memory import begin_anew
from trpo_jax.agent.mlp import MLP, Critic, Policy
from trpo_jax.environments.nested import parts_of
from trpo_jax.environments.spaces import ACTION_MASK, Box, Dict, Space, Tuple

PyTree = Any

# Filters, width of the kernel and stride of each layer: those of Schulman et al. 2015,
# appendix D, which with 20 units behind them have the 33,500 parameters of the paper on
# 52×40×4 pixels with 8 outputs, and those of Mnih et al. 2015.
CONVOLUTIONS = {
    "cnn": ((16, 4, 2), (16, 4, 2)),
    "nature_cnn": ((32, 8, 4), (64, 4, 2), (64, 3, 1)),
}
CELLS = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


class Encoder(nn.Module):
    """Hidden layers, each with its activation, for observations of any space.

    Attributes:
        space: the space of the observations.
        convolutions: the layers, an entry of `CONVOLUTIONS`, that every picture among
            the observations goes through first; none for perceptrons.
        hidden_sizes: widths of the layers that follow; without any, their input is the
            result.
        activation: the name of an activation function of flax.
        orthogonal: use orthogonal kernels, not Gaussian ones of variance 1/fan-in.
    """

    space: Space
    convolutions: Sequence[tuple[int, int, int]]
    hidden_sizes: Sequence[int]
    activation: str
    orthogonal: bool

    @nn.compact
    def __call__(self, observation: PyTree) -> jax.Array:
        """Return features `[..., width]` of observations `[..., *shape]`."""
        parts = self._parts(self.space, observation)
        x = jnp.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        if not self.hidden_sizes:
            return x
        *widths, last = self.hidden_sizes
        gain = math.sqrt(2)
        mlp = MLP(widths, last, self.activation, gain, self.orthogonal)
        return getattr(nn, self.activation)(mlp(x))

    def _parts(self, space: Space, observation: PyTree) -> list[jax.Array]:
        if isinstance(space, Dict | Tuple):
            each = [
                self._parts(part, observation[key]) for key, part in parts_of(space)
            ]
            return [x for parts in each for x in parts]
        if self.convolutions and isinstance(space, Box) and len(space.shape) == 3:
            return [self._convolve(space, observation)]
        return [flatten_observation(space, observation).astype(jnp.float32)]

    def _convolve(self, space: Box, picture: jax.Array) -> jax.Array:
        """Return the flattened last layer for pictures `[..., H, W, C]` or `C, H, W`.

        The shorter of the two outer axes is that of the channels.
        """
        leading = picture.shape[:-3]
        x = picture.reshape(-1, *space.shape).astype(jnp.float32)
        x = x / 255 if space.is_image else x
        if space.shape[0] < space.shape[-1]:
            x = jnp.moveaxis(x, 1, -1)
        kernel = orthogonal(math.sqrt(2)) if self.orthogonal else None
        for filters, size, stride in self.convolutions:
            x = nn.Conv(
                filters,
                (size, size),
                stride,
                "VALID",
                kernel_init=kernel or nn.initializers.lecun_normal(),
            )(x)
            x = getattr(nn, self.activation)(x)
        return x.reshape(*leading, -1)


class Cell(nn.Module):
    """A recurrent cell that starts from zeros where an episode begins."""

    kind: str
    width: int

    @nn.compact
    def __call__(
        self, x: jax.Array, memory: PyTree, first: jax.Array
    ) -> tuple[jax.Array, PyTree]:
        """Return outputs and memories `[T, B, width]` for `[T, B, D]`, see `recur`."""

        def step(cell: Any, memory: PyTree, row: Any) -> tuple[PyTree, Any]:
            x, begins = row
            anew = begin_anew(begins, memory, self.initial_memory())
            memory, output = cell(anew, x)
            return memory, (output, memory)

        along_time = nn.scan(
            step, variable_broadcast="params", split_rngs={"params": False}
        )
        cell = CELLS[self.kind](self.width, name="cell")
        return along_time(cell, memory, (x, first))[1]

    def initial_memory(self) -> PyTree:
        """Return what one environment remembers when an episode begins: zeros."""
        zeros = jnp.zeros(self.width, jnp.float32)
        return zeros if self.kind == "gru" else (zeros, zeros)


class Composed(nn.Module):
    """An encoder, perhaps a recurrent cell, and linear heads of policy and critic.

    Attributes:
        encoder: from observations to features.
        cell: the recurrent cell that the features go through, or None.
        policy: the policy, whose hidden layers are not used; None for a critic alone.
        valued: whether there is a critic's head.
    """

    encoder: Encoder
    cell: Cell | None
    policy: Policy | None
    valued: bool

    @nn.compact
    def __call__(
        self, observation: PyTree, memory: PyTree = None, first: Any = None
    ) -> Any:
        """Return distribution, values `[...]`, or both; with a cell, also memories."""
        x, encoder = self.encoder(observation), self.encoder
        if self.cell is not None:
            x, memory = self.cell(x, memory, first)
        features = Box.uniform(x.shape[-1:])
        outputs: list[Any] = []
        if self.policy is not None:
            head = self.policy.clone(
                observation_space=features,
                hidden_sizes=(),
                masked=False,
                parent=self,
                name="policy_head",
            )
            outputs.append(head(x))
            if self.policy.masked:
                space, mask = self.policy.action_space, observation[ACTION_MASK]
                outputs = [forbid(space, outputs[0], mask)]
        if self.valued:
            shape = features, (), encoder.activation, encoder.orthogonal
            outputs.append(Critic(*shape, name="critic_head")(x))
        output = outputs[0] if len(outputs) == 1 else tuple(outputs)
        return output if self.cell is None else (output, memory)
