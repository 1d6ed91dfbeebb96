"""The commands and their options; arguments and help are made from these classes.

The docstring of a class begins the help of the command, that of a field is its help.
"""

import dataclasses
from dataclasses import field
from typing import Any, get_args

from trpo_jax.config import Config, NetworkConfig, RunConfig
from trpo_jax.config.groups import Group
from trpo_jax.environments import SIMULATORS
from trpo_jax.validation import COUNT, COUNT_OR_ZERO, FLAG, STEPS, Rule, optional

ENVIRONMENT = Rule("a name", bool, "structure", "ENVIRONMENT")
FILE = Rule("the name of a file", bool, "structure", "FILE")
SIMULATOR = Rule(
    f"one of {', '.join(SIMULATORS)}",
    SIMULATORS.__contains__,
    "structure",
    f"{{{','.join(SIMULATORS)}}}",
)


def _argument(metavar: str, **default: Any) -> Any:
    """Declare a value without a flag."""
    rule = Rule("a value", bool, "structure", metavar)
    return field(**default, metadata={"rule": rule, "positional": True})


def _option(default: Any, rule: Rule, group: Group | None = None) -> Any:
    return field(default=default, metadata={"rule": rule, "group": group})


def _switch(group: Group | None = None) -> Any:
    """Declare a flag that has no value, and no opposite such as --no-quiet."""
    metadata = {"rule": FLAG, "group": group, "switch": True}
    return field(default=False, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Train:
    """Train agents in an environment, evaluate them, and write the results.

    Values that are not given come from the preset of the environment, which
    `trpo-jax train Acrobot-v1 --help` shows as defaults. Without --output-dir the
    results are in runs/<environment>-seed<seed>-<time>.

    Examples:
        trpo-jax train CartPole-v1
        trpo-jax train Acrobot-v1 --seeds 8 --output-dir runs/eight
        trpo-jax train Hopper-v5 --total-steps 1e6 --max-kl 0.02
        trpo-jax train brax:ant --num-envs 256 --hidden-sizes 128 128
        trpo-jax train CartPole-v1 --config-file runs/eight/config.json
    """

    environment: str = _argument("ENVIRONMENT", default="")
    """For example CartPole-v1. `trpo-jax envs` lists the environments of this
    installation, and `trpo-jax presets` those with tuned values."""
    run: RunConfig = field(default_factory=RunConfig)
    config: Config = field(default_factory=Config)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    config_file: str | None = _option(None, optional(FILE), Group.RUN)
    """A .toml or .json file of options, such as the config.json of a run. Its values
    replace those of the preset; options on the command line replace both."""
    quiet: bool = _switch(Group.RUN)
    """Show no progress, only the results."""


@dataclasses.dataclass(frozen=True)
class Resume:
    """Continue a run that was interrupted, or train a finished one for longer.

    Examples:
        trpo-jax resume runs/eight
        trpo-jax resume runs/eight --total-steps 1e6
    """

    run: str = _argument("RUN")
    """The directory of the run."""
    total_steps: int | None = _option(None, optional(STEPS))
    """Environment steps for each seed, including those that are done. With None, the
    number of the run."""
    environment: str | None = _option(None, optional(ENVIRONMENT))
    """The name of the run's environment. It is required if the environment imports a
    module that is not an installed package: a name in a file alone runs no code."""
    quiet: bool = _switch()
    """Show no progress, only the results."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Evaluate the agents of a run again.

    Examples:
        trpo-jax evaluate runs/eight --episodes 1000
        trpo-jax evaluate runs/eight --sampled --seed 1
    """

    run: str = _argument("RUN")
    """The directory of the run, or its policy file."""
    episodes: int = _option(100, COUNT)
    """Episodes that each agent plays."""
    sampled: bool = _switch()
    """Sample actions instead of taking the most likely one."""
    seed: int = _option(0, COUNT_OR_ZERO)
    """Seed of the episodes."""
    environment: str | None = _option(None, optional(ENVIRONMENT))
    """The name of the run's environment. It is required if the environment imports a
    module that is not an installed package: a name in a file alone runs no code."""


@dataclasses.dataclass(frozen=True)
class Watch:
    """Play one episode with a trained agent and write it as a video.

    Examples:
        trpo-jax watch runs/eight
        trpo-jax watch runs/eight --agent 3 --output agent.mp4
    """

    run: str = _argument("RUN")
    """The directory of the run, or its policy file."""
    output: str | None = _option(None, optional(FILE))
    """The .gif or .mp4 file to write, which must not exist. With None: agent.gif in the
    directory of the run, or agent-2.gif and so on if there is one."""
    agent: int | None = _option(None, optional(COUNT_OR_ZERO))
    """The index of the agent in the run, counted from 0. With None, the agent with the
    highest greedy return after training."""
    seed: int = _option(0, COUNT_OR_ZERO)
    """Seed of the episode."""
    sampled: bool = _switch()
    """Sample actions instead of taking the most likely one."""
    max_steps: int = _option(1000, COUNT)
    """Actions after which the video ends."""
    environment: str | None = _option(None, optional(ENVIRONMENT))
    """The name of the run's environment. It is required if the environment imports a
    module that is not an installed package: a name in a file alone runs no code."""


@dataclasses.dataclass(frozen=True)
class Plot:
    """Compare the learning curves of runs in one picture.

    Examples:
        trpo-jax plot runs/eight runs/other
        trpo-jax plot runs/* --output all.png
    """

    runs: tuple[str, ...] = _argument("RUN...")
    """The directories of the runs."""
    output: str | None = _option(None, optional(FILE))
    """The .png file to write, which must not exist. With None: runs.png in the
    directory of the first run, or runs-2.png and so on if there is one."""


@dataclasses.dataclass(frozen=True)
class Envs:
    """List the environments that this installation can run.

    Examples:
        trpo-jax envs hopper
        trpo-jax envs --simulator brax
        trpo-jax envs 'gymnax:*-v1'
    """

    pattern: str = _argument("[PATTERN]", default="")
    """A part of the name, or a pattern with * and ?."""
    simulator: str | None = _option(None, optional(SIMULATOR))
    """List the environments of one simulator."""


@dataclasses.dataclass(frozen=True)
class Presets:
    """List the environments with a preset, or show one preset.

    A preset is the values that an environment is trained with by default.

    Examples:
        trpo-jax presets
        trpo-jax presets Hopper-v5
    """

    environment: str | None = _argument("[ENVIRONMENT]", default=None)
    """Show the preset of this environment, and where its values come from."""


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Print versions and devices, and check that the compiler computes correctly."""


Command = Train | Resume | Evaluate | Watch | Plot | Envs | Presets | Doctor
COMMANDS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(Command)}
FIRST_STEPS = (
    "train CartPole-v1 --output-dir runs/first",
    "evaluate runs/first",
    "watch runs/first",
    "resume runs/first --total-steps 200_000",
    "plot runs/first runs/second",
)
