"""The command line. Nothing heavy is imported until there is something to compute."""

import contextlib
import dataclasses
import difflib
import io
import os
import re
import sys
import time
from typing import Annotated, Any

import tyro

from trpo_jax import __version__
from trpo_jax.config import Config, NetworkConfig
from trpo_jax.environments import GYMNAX, check_name
from trpo_jax.plan import Plan, claim_directory, make_plan
from trpo_jax.presets import PRESETS, preset_of


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
    """Agents trained side by side; their seeds count up from --seed."""
    seed: int = 0
    """Seed of the first agent."""
    output_dir: str | None = None
    """A new or empty directory for the results; runs/<environment>-seed<seed>-<time> if
    not given."""
    evaluation_episodes: int = 100
    """Episodes each agent plays afterwards, greedily and sampled."""
    config: tyro.conf.OmitArgPrefixes[Config] = dataclasses.field(
        default_factory=Config
    )
    network: tyro.conf.OmitArgPrefixes[NetworkConfig] = dataclasses.field(
        default_factory=NetworkConfig
    )


@dataclasses.dataclass(frozen=True)
class Presets:
    """List the environments with a preset: values, and where they come from."""


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Print versions and devices and check that the compiler computes right numbers."""


def main(argv: list[str] | None = None) -> None:
    """Run `trpo-jax`; exits 2 on bad input, with one line on standard error."""
    started = time.perf_counter()
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every encoding has a δ
            stream.reconfigure(errors="replace")
    try:
        command = _parse(argv)
        if isinstance(command, Presets):
            _list_presets()
        elif isinstance(command, Doctor):
            sys.exit(_examine())
        else:
            _train(command, started)
        sys.stdout.flush()
    except BrokenPipeError:  # an OSError: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt as interrupt:
        print(
            f"\ntrpo-jax: {str(interrupt) or 'interrupted'}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(130)  # the compiler's threads do not survive an orderly exit
    except (ValueError, OSError) as error:
        _refuse(str(error))


def _parse(argv: list[str]) -> Train | Presets | Doctor:
    """Parse twice: the environment decides what the defaults are."""
    wants_help = {"-h", "--help"} & set(argv)
    known = ("train", "presets", "doctor")
    if argv[:1] == ["--version"]:
        print(f"trpo-jax {__version__}")
        sys.exit()
    if argv and argv[0].removeprefix("gymnax:") in GYMNAX:
        raise ValueError(f"unknown command {argv[0]!r}; try: trpo-jax train {argv[0]}")
    if argv and not argv[0].startswith("-") and argv[0] not in known:
        near = difflib.get_close_matches(argv[0], known, 1, 0.0)
        raise ValueError(f"unknown command {argv[0]!r}; nearest: {near[0]!r}")
    if wants_help or not argv:
        names = [word for word in argv if word.removeprefix("gymnax:") in PRESETS]
        return _tyro(argv or ["--help"], names[0] if names else None)
    command = _tyro(argv, None)
    if isinstance(command, Train):
        check_name(command.environment)
        command = _tyro(argv, command.environment)
    return command


def _tyro(argv: list[str], environment: str | None) -> Any:
    preset = preset_of(environment or "")
    default = Train(
        environment=environment or tyro.MISSING,
        total_steps=preset.total_steps,
        config=preset.config,
        network=preset.network,
    )
    commands = (
        Annotated[Train, tyro.conf.subcommand("train", default=default)]
        | Annotated[Presets, tyro.conf.subcommand("presets")]
        | Annotated[Doctor, tyro.conf.subcommand("doctor")]
    )
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                commands,
                prog="trpo-jax",
                description="Trust region policy optimisation in JAX.",
                args=argv,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
    except ValueError as error:  # from a check in a constructor
        raise ValueError(_flags(str(error))) from error
    raise ValueError(_one_line(complaint.getvalue(), argv))


def _one_line(box: str, argv: list[str]) -> str:
    """Turn a boxed, wrapped complaint into one line with the nearest valid name."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    # A title, a line, the message, a line, advice; framed where there is UTF-8.
    lines = [line.strip("│ ") for line in plain.splitlines()[1:]]
    rules = [i for i, line in enumerate(lines) if line and not line.strip("─-╰╯")]
    if rules and rules[0] == 0:
        lines, rules = lines[1:], [i - 1 for i in rules[1:]]
    body = lines[: rules[0]] if rules else lines
    message = " ".join(" ".join(body).split())
    fields = {
        f"--{field.name.replace('_', '-')}": field
        for kind in (Train, Config, NetworkConfig)
        for field in dataclasses.fields(kind)
        if field.name not in ("environment", "config", "network")
    }
    switches = [f"--no-{name[2:]}" for name, f in fields.items() if f.type is bool]
    known = [*fields, *switches, "--help"]
    for word in argv:
        flag = word.split("=")[0]
        if flag.startswith("--") and flag not in known:
            near = difflib.get_close_matches(flag, known, 1, 0.0)
            return f"unknown option {flag}; nearest: {near[0]}"
    if message.startswith("Missing from trpo-jax train"):
        return "the environment is missing: trpo-jax train CartPole-v1"
    if found := re.match(r"Error parsing __.*?: (\w.* must .*)", message):
        return _flags(found[1])
    if found := re.match(r"Error parsing (--[\w-]+): .*?(\[?'.*'\]?)$", message):
        field = fields[found[1]]
        rule = field.metadata.get("rule")
        words = rule.words if rule else "an integer"
        return f"{found[1]} must be {words}; got {found[2]}"
    return message or "cannot be parsed; see trpo-jax --help"


def _flags(message: str) -> str:
    """Name a field as the flag it came from."""
    name, _, rest = message.partition(" ")
    return f"--{name.replace('_', '-')} {rest}" if rest.startswith("must") else message


def _plan(command: Train) -> Plan:
    try:
        return make_plan(
            command.environment,
            total_steps=command.total_steps,
            seeds=command.seeds,
            seed=command.seed,
            output_dir=command.output_dir,
            evaluation_episodes=command.evaluation_episodes,
            **dataclasses.asdict(command.config),
            **dataclasses.asdict(command.network),
        )
    except ValueError as error:
        raise ValueError(_flags(str(error))) from error


def _train(command: Train, started: float) -> None:
    plan = _plan(command)
    from trpo_jax.training import run_plan

    made = not os.path.exists("runs")
    if command.output_dir is None:
        directory = claim_directory(command.environment, command.seed)
        plan = dataclasses.replace(plan, output_dir=directory)
    try:
        result = run_plan(plan, plan.environment, start=started)
    except (RuntimeError, MemoryError, OverflowError) as error:  # none is bad input
        line = " ".join(str(error).split()) or type(error).__name__
        print(f"trpo-jax: {line[:300]}", file=sys.stderr)
        sys.exit(1)
    finally:
        if command.output_dir is None:
            with contextlib.suppress(OSError):  # when there is something in them
                plan.output_dir.rmdir()
                if made:
                    plan.output_dir.parent.rmdir()
    evaluation = result.evaluation
    seconds = evaluation["seconds"]
    for how in ("greedy", "sampled"):
        scores = evaluation[how]
        low, high = scores["ci95"]
        score = "not finite"
        if scores["iqm"] is not None:
            score = f"{scores['iqm']:.1f}"
            if plan.seeds > 1:
                score += f", 95 % interval {low:.1f} to {high:.1f}"
        print(
            f"{how:>8}: {score}   "
            f"({evaluation['episodes']} episodes, {_seeds(plan.seeds)})"
        )
    if evaluation["unfinished_episodes"]:
        print(f"{evaluation['unfinished_episodes']} episodes were stopped unfinished")
    print(
        " · ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        + f"\nresults in {plan.output_dir}{os.sep}"
    )


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"interquartile mean of {count} seeds"


def _list_presets() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("environment", "steps", "changes to the defaults", "source")
    plain = {**dataclasses.asdict(Config()), **dataclasses.asdict(NetworkConfig())}
    for name, preset in PRESETS.items():
        values = {
            **dataclasses.asdict(preset.config),
            **dataclasses.asdict(preset.network),
        }
        changes = "\n".join(
            f"{key} {value}" for key, value in values.items() if value != plain[key]
        )
        table.add_row(name, f"{preset.total_steps:,}", changes, preset.source)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _examine() -> int:
    from trpo_jax.doctor import describe, self_check

    for name, value in describe().items():
        print(f"{name:>10}  {value}")
    checks = self_check()
    for check in checks:
        verdict = "right" if check.passed else f"WRONG, expected {check.expected}"
        print(f"{check.name}: {check.result} ({verdict})")
    return 0 if all(check.passed for check in checks) else 1


def _refuse(message: str) -> None:
    print(f"trpo-jax: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
