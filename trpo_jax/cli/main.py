"""The command line. Nothing heavy is imported until there is something to compute."""

import contextlib
import dataclasses
import errno
import os
import signal
import sys
import threading
import time
from typing import Any

from trpo_jax import __version__
from trpo_jax.cli import commands, options
from trpo_jax.cli.arguments import parse_arguments
from trpo_jax.cli.compilation_cache import keep_compiled_programs
from trpo_jax.cli.config_file import ConfigFile, read_config_file
from trpo_jax.cli.help import help_of, overview, width_of_terminal
from trpo_jax.cli.messages import as_flag, unknown_command
from trpo_jax.cli.options import COMMANDS, Command, Train
from trpo_jax.cli.standard_streams import discard_output, prepare_streams
from trpo_jax.config import RunConfig
from trpo_jax.config.fields import replace_options
from trpo_jax.config.options import split_options
from trpo_jax.environments import SIMULATORS, full_name, known_names
from trpo_jax.environments.host import SimulatorError
from trpo_jax.runs import signals
from trpo_jax.runs.console import warn
from trpo_jax.runs.plan import Plan, make_plan
from trpo_jax.runs.presets import preset_of

# Not the fault of the input.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: list[str] | None = None) -> None:
    """Run `trpo-jax`. Bad input ends it with status 2 and a line on standard error."""
    started = time.perf_counter()
    argv = sys.argv[1:] if argv is None else argv
    prepare_streams()
    if threading.current_thread() is threading.main_thread():
        for signum in signals.ENDING:
            if signal.getsignal(signum) is signal.SIG_DFL:
                signal.signal(signum, signals.raise_terminated)
    with contextlib.suppress(OSError):  # the working directory may be gone
        sys.path.append(os.getcwd())  # like `python -m`, for gymnasium:module:name
    try:
        _run(_parse(argv), started)
        sys.stdout.flush()
    except BrokenPipeError:  # an OSError: the reader of the output has stopped
        discard_output()
        sys.exit(141)
    except (KeyboardInterrupt, signals.Terminated) as interrupt:
        warn(str(interrupt) or "interrupted")
        # The threads of the compiler do not survive an orderly exit.
        os._exit(143 if isinstance(interrupt, signals.Terminated) else 130)
    except SimulatorError as error:  # it contains the traceback of the user's code
        warn("\n".join([str(error), *getattr(error, "__notes__", [])]))
        sys.exit(1)
    except (ValueError, OSError) as error:
        warn(" ".join(str(error).split()))
        sys.exit(1 if getattr(error, "errno", None) in DISK_ERRORS else 2)
    except (RuntimeError, MemoryError, OverflowError) as error:  # not bad input
        line = " ".join(str(error).split()) or type(error).__name__
        warn("\n".join([line[:500], *getattr(error, "__notes__", [])]))
        sys.exit(1)


def _run(command: Command, started: float) -> None:
    keep_compiled_programs()
    match command:
        case Train():
            commands.train(_plan(command), started, quiet=command.quiet)
        case options.Resume():
            commands.resume(**dataclasses.asdict(command), started=started)
        case options.Evaluate():
            commands.evaluate(**dataclasses.asdict(command))
        case options.Watch():
            commands.watch(**dataclasses.asdict(command))
        case options.Plot():
            commands.plot(command.runs, command.output)
        case options.Envs():
            commands.list_environments(command.pattern, command.simulator)
        case options.Presets(None):
            commands.list_presets()
        case options.Presets(str(environment)):
            commands.show_preset(environment)
        case options.Doctor():
            sys.exit(commands.doctor())


def _parse(argv: list[str]) -> Command:
    """Return the command with its options, or print a help text and exit."""
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    name = argv[0] if argv else "--help"
    if "--version" in argv:
        print(f"trpo-jax {__version__}")
        sys.exit()
    if not name.startswith("-") and name not in COMMANDS:
        if _looks_like_an_environment(name):
            raise ValueError(f"unknown command {name!r}; try: trpo-jax train {name}")
        raise ValueError(unknown_command(name, COMMANDS))
    if not argv or {"-h", "--help"} & set(argv):
        _print_help(argv)
        sys.exit(0)
    if name.startswith("-"):
        raise ValueError(
            f"the command is missing before {name}; commands: {', '.join(COMMANDS)}"
        )
    values = parse_arguments(name, COMMANDS[name], argv[1:])
    return _train(values) if name == "train" else COMMANDS[name](**values)


def _looks_like_an_environment(word: str) -> bool:
    task = word.rpartition(":")[2]
    return any(task in known_names(simulator) for simulator in SIMULATORS)


def _train(values: dict[str, Any]) -> Train:
    """Return the command with the preset, the values of a file, and those given."""
    environment = values.pop("environment", "")
    path, quiet = values.pop("config_file", None), values.pop("quiet", False)
    file = ConfigFile(None, {}) if path is None else read_config_file(path)
    if not environment:
        example = f"{file.environment} --config-file {path}" if file.environment else ""
        raise ValueError(
            f"the environment is missing: trpo-jax train {example or 'CartPole-v1'}"
        )
    command = dataclasses.replace(_with_preset(environment), quiet=quiet)
    name = full_name(environment)
    try:
        if file.environment is not None and full_name(file.environment) != name:
            raise ValueError(f"it names another environment, {file.environment}")
        command = _replaced(command, file.options)
    except ValueError as error:
        raise ValueError(f"{path}, for {name}: {error}") from error
    try:
        return _replaced(command, values)
    except ValueError as error:
        raise ValueError(as_flag(str(error))) from error


def _with_preset(environment: str) -> Train:
    preset = preset_of(full_name(environment) if environment else "")
    run = RunConfig(total_steps=preset.total_steps)
    return Train(environment, run, preset.config, preset.network)


def _replaced(command: Train, values: dict[str, Any]) -> Train:
    run, algorithm, network = split_options(values)
    return dataclasses.replace(
        command,
        run=replace_options(command.run, **run),
        config=replace_options(command.config, **algorithm),
        network=replace_options(command.network, **network),
    )


def _print_help(argv: list[str]) -> None:
    """Print the help of a command, or the overview of all of them."""
    width = width_of_terminal()
    if not argv or argv[0] not in COMMANDS:
        print(overview(width))
        return
    defaults: dict[str, Any] = {}
    if argv[0] == "train":
        environments = [word for word in argv[1:] if _looks_like_an_environment(word)]
        command = _with_preset(environments[0] if environments else "")
        for part in (command.run, command.config, command.network):
            defaults |= dataclasses.asdict(part)
    print(help_of(argv[0], defaults, width))


def _plan(command: Train) -> Plan:
    parts = (command.run, command.config, command.network)
    values = {k: v for part in parts for k, v in dataclasses.asdict(part).items()}
    try:
        return make_plan(command.environment, **values)
    except ValueError as error:
        raise ValueError(as_flag(str(error))) from error
