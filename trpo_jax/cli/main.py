"""The command line. Nothing heavy is imported until there is something to compute."""

import contextlib
import dataclasses
import difflib
import errno
import functools
import io
import operator
import os
import signal
import sys
import threading
import time
from typing import Annotated, Any, get_args

import tyro

from trpo_jax import __version__
from trpo_jax.cli import commands
from trpo_jax.cli.compilation_cache import keep_compiled_programs
from trpo_jax.cli.config_file import read_config_file
from trpo_jax.cli.messages import as_flag, one_line
from trpo_jax.config import Config, NetworkConfig, split_hyper_parameters
from trpo_jax.environments import SIMULATORS, full_name, known_names
from trpo_jax.environments.host import SimulatorError
from trpo_jax.runs import signals
from trpo_jax.runs.console import complain
from trpo_jax.runs.plan import OnCheckpointError, Plan, check_values, make_plan
from trpo_jax.runs.presets import preset_of
from trpo_jax.validation import COUNT, COUNT_OR_ZERO, STEPS, check


@dataclasses.dataclass(frozen=True)
class Train:
    """Train agents in an environment, judge them, and leave the results in a directory.

    Values not given come from the environment's preset, shown as defaults when the help
    is asked for together with the environment: trpo-jax train Acrobot-v1 --help
    """

    environment: tyro.conf.Positional[str]
    """For example CartPole-v1; `trpo-jax presets` lists those with a preset."""
    total_steps: int = 1_000_000
    """Environment steps a seed; never exceeded."""
    seeds: int = 1
    """Agents trained side by side, on the host in turn; seeds count up from --seed."""
    seed: int = 0
    """Seed of the first agent."""
    output_dir: str | None = None
    """A new or empty directory for the results; runs/<environment>-seed<seed>-<time> if
    not given."""
    evaluation_episodes: int = 100
    """Episodes each agent plays afterwards, greedily and sampled."""
    checkpoint_every: int = 0
    """Iterations between two checkpoints, from which `trpo-jax resume` goes on; 0 for
    one a minute, and one at the end either way."""
    keep: int = 2
    """Newest checkpoints that stay."""
    on_checkpoint_error: OnCheckpointError = "continue"
    """What happens when a checkpoint cannot be written."""
    simulator_timeout: float = 0.0
    """Seconds that a call of a simulator on the host may take before the run ends; 0
    for as long as it likes."""
    config_file: str | None = None
    """A .toml or .json file of these options, such as a run's config.json: over the
    preset, under what is given here."""
    config: tyro.conf.OmitArgPrefixes[Config] = dataclasses.field(
        default_factory=Config
    )
    network: tyro.conf.OmitArgPrefixes[NetworkConfig] = dataclasses.field(
        default_factory=NetworkConfig
    )


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run that was interrupted, or train a finished one for longer."""

    run: tyro.conf.Positional[str]
    """A run's directory."""
    total_steps: int | None = None
    """Environment steps a seed, those that are done included; what the run was to do if
    not given."""
    environment: str | None = None
    """The name of its environment, where that imports a module which is not installed:
    a name in a file alone imports no code."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Judge the agents of a finished run again."""

    run: tyro.conf.Positional[str]
    """A run's directory, or its policy file."""
    episodes: int = 100
    """Played by each agent."""
    sampled: tyro.conf.FlagCreatePairsOff[bool] = False
    """Sample actions instead of taking the most likely one."""
    seed: int = 0
    """Of the episodes."""
    environment: str | None = None
    """The name of its environment, where that imports a module which is not installed:
    a name in a file alone imports no code."""


@dataclasses.dataclass(frozen=True)
class Watch:
    """Play one episode with a trained agent and write it as a film."""

    run: tyro.conf.Positional[str]
    """A run's directory, or its policy file."""
    output: str = "agent.gif"
    """A .gif or .mp4 file."""
    agent: int = 0
    """Which agent of the run, counted from 0."""
    seed: int = 0
    """Of the episode."""
    sampled: tyro.conf.FlagCreatePairsOff[bool] = False
    """Sample actions instead of taking the most likely one."""
    max_steps: int = 1000
    """Actions after which the film ends."""
    environment: str | None = None
    """The name of its environment, where that imports a module which is not installed:
    a name in a file alone imports no code."""


@dataclasses.dataclass(frozen=True)
class Plot:
    """Compare the learning curves of runs."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Directories of runs."""
    output: str = "runs.png"
    """A .png file."""


@dataclasses.dataclass(frozen=True)
class Envs:
    """List the environments that this installation can run."""

    pattern: tyro.conf.Positional[str] = ""
    """A part of the name, or a pattern with * and ?."""


@dataclasses.dataclass(frozen=True)
class Presets:
    """List the environments with a preset: values, and where they come from."""


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Print versions and devices and check that the compiler computes right numbers."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # what no other input would mend
Command = Train | Resume | Evaluate | Watch | Plot | Envs | Presets | Doctor
COMMANDS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(Command)}


def main(argv: list[str] | None = None) -> None:
    """Run `trpo-jax`; exits 2 on bad input, with one line on standard error."""
    started = time.perf_counter()
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every encoding has a δ
            stream.reconfigure(errors="replace")
    if threading.current_thread() is threading.main_thread():
        for signum in signals.ENDING:  # whenever they come
            if signal.getsignal(signum) is signal.SIG_DFL:
                signal.signal(signum, signals.raise_terminated)
    sys.path.append(os.getcwd())  # as `python -m` has it: for gymnasium:module:name
    try:
        _run(_parse(argv), started)
        sys.stdout.flush()
    except BrokenPipeError:  # an OSError: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (KeyboardInterrupt, signals.Terminated) as asked:
        complain(str(asked) or "interrupted")
        # The compiler's threads do not survive an orderly exit.
        os._exit(143 if isinstance(asked, signals.Terminated) else 130)
    except SimulatorError as error:  # whose traceback is the user's
        complain("\n".join([str(error), *getattr(error, "__notes__", [])]))
        sys.exit(1)
    except (ValueError, OSError) as error:
        complain(" ".join(str(error).split()))
        sys.exit(1 if getattr(error, "errno", None) in FULL else 2)
    except (RuntimeError, MemoryError, OverflowError) as error:  # none is bad input
        line = " ".join(str(error).split()) or type(error).__name__
        complain("\n".join([line[:500], *getattr(error, "__notes__", [])]))
        sys.exit(1)


def _run(command: Command, started: float) -> None:
    keep_compiled_programs()
    match command:
        case Train():
            commands.train(_plan(command), started)
        case Resume():
            if command.total_steps is not None:
                check("--total-steps", command.total_steps, STEPS)
            commands.resume(
                command.run, command.total_steps, command.environment, started
            )
        case Evaluate():
            check("--episodes", command.episodes, COUNT)
            check("--seed", command.seed, COUNT_OR_ZERO)
            commands.evaluate(**dataclasses.asdict(command))
        case Watch():
            check("--agent", command.agent, COUNT_OR_ZERO)
            check("--seed", command.seed, COUNT_OR_ZERO)
            check("--max-steps", command.max_steps, COUNT)
            commands.watch(**dataclasses.asdict(command))
        case Plot():
            commands.plot(command.runs, command.output)
        case Envs():
            commands.list_environments(command.pattern)
        case Presets():
            commands.list_presets()
        case Doctor():
            sys.exit(commands.examine())


def _parse(argv: list[str]) -> Command:
    """Parse twice: the environment decides what the defaults are."""
    wants_help = {"-h", "--help"} & set(argv)
    if argv[:1] == ["--version"]:
        print(f"trpo-jax {__version__}")
        sys.exit()
    if argv and _looks_like_an_environment(argv[0]):
        raise ValueError(f"unknown command {argv[0]!r}; try: trpo-jax train {argv[0]}")
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        near = difflib.get_close_matches(argv[0], COMMANDS, 1, 0.0)
        raise ValueError(f"unknown command {argv[0]!r}; nearest: {near[0]!r}")
    if wants_help or not argv:
        names = [word for word in argv[1:] if _looks_like_an_environment(word)]
        return _tyro(argv or ["--help"], names[0] if names else None)
    command = _tyro(argv, None)
    if isinstance(command, Train):
        file = command.config_file
        values = {} if file is None else read_config_file(file)
        command = _tyro(argv, command.environment, values)
    return command


def _looks_like_an_environment(word: str) -> bool:
    task = word.rpartition(":")[2]
    return any(task in known_names(simulator) for simulator in SIMULATORS)


def _train_defaults(environment: str | None, values: dict[str, Any]) -> Train:
    """Return the preset of an environment, and values over it."""
    preset = preset_of(full_name(environment) if environment else "")
    of_run = {field.name for field in dataclasses.fields(Train)}
    of_run -= {"environment", "config", "network", "config_file"}
    run = {name: value for name, value in values.items() if name in of_run}
    check_values(**run)
    others = {name: value for name, value in values.items() if name not in of_run}
    algorithm, network = split_hyper_parameters(others, also=of_run)
    return Train(
        **{"total_steps": preset.total_steps} | run,
        environment=environment or tyro.MISSING,
        config=dataclasses.replace(preset.config, **algorithm),
        network=dataclasses.replace(preset.network, **network),
    )


def _tyro(
    argv: list[str], environment: str | None, values: dict[str, Any] | None = None
) -> Any:
    default = _train_defaults(environment, values or {})
    kinds = [
        Annotated[
            kind,
            tyro.conf.subcommand(name, default=default)
            if kind is Train
            else tyro.conf.subcommand(name),
        ]
        for name, kind in COMMANDS.items()
    ]
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                functools.reduce(operator.or_, kinds),
                prog="trpo-jax",
                description="Trust region policy optimisation in JAX.",
                args=argv,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
    except ValueError as error:  # from a check in a constructor
        raise ValueError(as_flag(str(error))) from error
    kind = COMMANDS.get(argv[0], Train)
    kinds = (Train, Config, NetworkConfig) if kind is Train else (kind,)
    raise ValueError(one_line(complaint.getvalue(), argv, kinds))


def _plan(command: Train) -> Plan:
    try:
        return make_plan(
            command.environment,
            total_steps=command.total_steps,
            seeds=command.seeds,
            seed=command.seed,
            output_dir=command.output_dir,
            evaluation_episodes=command.evaluation_episodes,
            checkpoint_every=command.checkpoint_every,
            keep=command.keep,
            on_checkpoint_error=command.on_checkpoint_error,
            simulator_timeout=command.simulator_timeout,
            **dataclasses.asdict(command.config),
            **dataclasses.asdict(command.network),
        )
    except ValueError as error:
        raise ValueError(as_flag(str(error))) from error
