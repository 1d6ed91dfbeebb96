"""The options of a run: how long, how many, and what is kept.

A new option is one field here and one line in `RunOptions`: its rule, its flag, its
help, its keyword argument and its place in `config.json` follow from the field. The
help shows it under the heading of the option before it, or of its own `group`.
"""

import dataclasses
import pathlib
from typing import Literal, TypedDict

from trpo_jax.config.fields import Checked, structure
from trpo_jax.config.groups import Group
from trpo_jax.validation import (
    COUNT,
    COUNT_OR_ZERO,
    DIRECTORY,
    NON_NEGATIVE,
    STEPS,
    one_of,
    optional,
)

OnCheckpointError = Literal["continue", "stop"]


@dataclasses.dataclass(frozen=True)
class RunConfig(Checked):
    """The options of a run that do not concern the algorithm."""

    total_steps: int | None = structure(None, optional(STEPS), group=Group.RUN)
    """Maximum environment steps per seed. None takes the number of the preset."""
    seeds: int = structure(1, COUNT)
    """K, the number of agents. They are trained side by side, or one after the other in
    EnvPool and Gymnasium. Agent k has the seed `seed` + k."""
    seed: int = structure(0, COUNT_OR_ZERO)
    """Seed of the first agent."""
    output_dir: str | pathlib.Path | None = structure(None, optional(DIRECTORY))
    """A new or empty directory for the results."""
    evaluation_episodes: int = structure(100, COUNT, group=Group.RESULTS)
    """Episodes that each agent plays after training, greedily and sampled."""
    checkpoint_every: int = structure(0, COUNT_OR_ZERO)
    """Iterations between two checkpoints, from which a run can be resumed. 0 writes one
    a minute. One is always written at the end."""
    keep: int = structure(2, COUNT)
    """The number of newest checkpoints that are kept."""
    on_checkpoint_error: OnCheckpointError = structure(
        "continue", one_of(OnCheckpointError), group=Group.FAILURES
    )
    """What to do when a checkpoint cannot be written."""
    simulator_timeout: float = structure(0.0, NON_NEGATIVE)
    """Seconds that one call of EnvPool, Gymnasium or a simulator of your own may take
    before the run ends. 0 sets no limit."""


class RunOptions(TypedDict, total=False):
    """The fields of `RunConfig` as keyword arguments, for type checkers."""

    total_steps: int | None
    seeds: int
    seed: int
    output_dir: str | pathlib.Path | None
    evaluation_episodes: int
    checkpoint_every: int
    keep: int
    on_checkpoint_error: OnCheckpointError
    simulator_timeout: float
