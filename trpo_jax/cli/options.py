"""The commands and their options; arguments and help are made from these classes."""

import dataclasses
from dataclasses import field
from typing import Any, get_args

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional

from trpo_jax.config import Config, NetworkConfig, RunConfig
from trpo_jax.validation import COUNT, COUNT_OR_ZERO, STEPS, Rule, optional


def _option(default: Any, rule: Rule) -> Any:
    return field(default=default, metadata={"rule": rule})


@dataclasses.dataclass(frozen=True)
class Train:
    """Train agents in an environment, evaluate them, and write the results.

    Values that are not given come from the preset of the environment. The help shows
    them as defaults if it names the environment: trpo-jax train Acrobot-v1 --help.
    Without --output-dir the results are in runs/<environment>-seed<seed>-<time>.
    """

    environment: Positional[str]
    """For example CartPole-v1; `trpo-jax presets` lists those with a preset."""
    config_file: str | None = None
    """A .toml or .json file of options, such as the config.json of a run. Its values
    replace those of the preset; options on the command line replace both."""
    run: OmitArgPrefixes[RunConfig] = field(default_factory=RunConfig)
    config: OmitArgPrefixes[Config] = field(default_factory=Config)
    network: OmitArgPrefixes[NetworkConfig] = field(default_factory=NetworkConfig)


@dataclasses.dataclass(frozen=True)
class Resume:
    """Continue a run that was interrupted, or train a finished one for longer."""

    run: Positional[str]
    """The directory of the run."""
    total_steps: int | None = _option(None, optional(STEPS))
    """Environment steps for each seed, including those that are done. With None, the
    number of the run."""
    environment: str | None = None
    """The name of the run's environment. It is required if the environment imports a
    module that is not an installed package: a name in a file alone runs no code."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Evaluate the agents of a run again."""

    run: Positional[str]
    """The directory of the run, or its policy file."""
    episodes: int = _option(100, COUNT)
    """Episodes that each agent plays."""
    sampled: FlagCreatePairsOff[bool] = False
    """Sample actions instead of taking the most likely one."""
    seed: int = _option(0, COUNT_OR_ZERO)
    """Seed of the episodes."""
    environment: str | None = None
    """The name of the run's environment. It is required if the environment imports a
    module that is not an installed package: a name in a file alone runs no code."""


@dataclasses.dataclass(frozen=True)
class Watch:
    """Play one episode with a trained agent and write it as a video."""

    run: Positional[str]
    """The directory of the run, or its policy file."""
    output: str = "agent.gif"
    """The .gif or .mp4 file to write."""
    agent: int | None = _option(None, optional(COUNT_OR_ZERO))
    """The index of the agent in the run, counted from 0. With None, the agent with the
    highest greedy return after training."""
    seed: int = _option(0, COUNT_OR_ZERO)
    """Seed of the episode."""
    sampled: FlagCreatePairsOff[bool] = False
    """Sample actions instead of taking the most likely one."""
    max_steps: int = _option(1000, COUNT)
    """Actions after which the video ends."""
    environment: str | None = None
    """The name of the run's environment. It is required if the environment imports a
    module that is not an installed package: a name in a file alone runs no code."""


@dataclasses.dataclass(frozen=True)
class Plot:
    """Compare the learning curves of runs."""

    runs: Positional[tuple[str, ...]]
    """The directories of the runs."""
    output: str = "runs.png"
    """The .png file to write."""


@dataclasses.dataclass(frozen=True)
class Envs:
    """List the environments that this installation can run."""

    pattern: Positional[str] = ""
    """A part of the name, or a pattern with * and ?."""


@dataclasses.dataclass(frozen=True)
class Presets:
    """List the environments with a preset, its values, and where they come from."""


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Print versions and devices, and check that the compiler computes correctly."""


Command = Train | Resume | Evaluate | Watch | Plot | Envs | Presets | Doctor
COMMANDS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(Command)}
