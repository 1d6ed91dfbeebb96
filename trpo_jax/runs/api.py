"""Training in one call, and resuming a run that was interrupted."""

import contextlib
import os
import time
from typing import Any, Unpack

from trpo_jax.agent.networks import Agent
from trpo_jax.config import RunConfig
from trpo_jax.config.options import TrainOptions, split_options
from trpo_jax.environments.base import Environment, check_environment
from trpo_jax.environments.host import MakeHost, check_host_environment
from trpo_jax.environments.watchdog import Watchdog
from trpo_jax.runs.checkpointing import newest_iterations, require_something_to_do
from trpo_jax.runs.execute import TrainResult, run_plan
from trpo_jax.runs.plan import Plan, make_plan
from trpo_jax.runs.results import read_plan
from trpo_jax.validation import STEPS, check


def train(
    environment: str | Environment | MakeHost,
    *,
    agent: Agent | None = None,
    progress: bool = True,
    **options: Unpack[TrainOptions],
) -> TrainResult:
    """Train one or more agents and evaluate them.

    The options are the fields of `RunConfig`, `Config` and `NetworkConfig`, where each
    is described. Those that are not given have the values of the environment's preset.
    The most used ones are `total_steps`, `seeds`, `seed` and `output_dir` of the run,
    `num_envs`, `num_steps`, `max_kl` and `discount` of the algorithm, and
    `hidden_sizes` of the networks. Agent k has the seed `seed` + k, and its results do
    not depend on the number of agents.

    Args:
        environment: a name as in `trpo_jax.environments`, an `Environment` of your own,
            or a function `make(num_envs, seed)` that returns a `HostEnvironment`.
        agent: an agent of your own; None makes the standard agent from the options of
            `NetworkConfig`.
        progress: whether to show the progress on standard output.
        **options: fields of `RunConfig`, `Config` and `NetworkConfig`.

    Returns:
        A `TrainResult`.

    Raises:
        ValueError: for a bad value or name, and for an environment or agent of your own
            that breaks its contract, before anything is compiled or written.
        RuntimeError: if the compiler fails the self-check.
        KeyboardInterrupt: after an interrupt from the keyboard, once the current chunk
            of iterations has ended and its results are in `output_dir`; likewise
            `SystemExit` after SIGTERM.

    Example:
        >>> result = train("probe:action", total_steps=2048, progress=False)
        >>> result.evaluation["greedy"]["iqm"]
        1.0
    """
    start = time.perf_counter()
    run, _, network = split_options(dict(options))
    if agent is not None and network:
        raise ValueError(
            f"leave out {', '.join(network)}: it describes the standard agent, and you "
            "bring your own"
        )
    own: Any = environment
    known = isinstance(own, str)
    on_host = callable(own) and not hasattr(own, "step")
    if isinstance(own, type):  # the class of a simulator on the host makes one
        on_host = hasattr(own, "send")
    if known:
        name = own
    elif on_host:
        name = _check_own_host(own, RunConfig(**run))
    else:
        check_environment(own)
        name = own.name
    plan = make_plan(name, known_environment=known, on_host=on_host, **options)
    return run_plan(plan, environment, agent, progress=progress, start=start)


def _check_own_host(make: MakeHost, run: RunConfig) -> str:
    """Make one simulator of the user's own, check it, and return its name."""
    with contextlib.ExitStack() as to_close:
        if run.simulator_timeout:
            watchdog = to_close.enter_context(Watchdog(run.simulator_timeout))
            make = watchdog.guarded_simulators(make)
        one = to_close.enter_context(contextlib.closing(make(1, run.seed)))
        check_host_environment(one, 1)
        return one.name


def resume(
    run: str | os.PathLike[str],
    *,
    total_steps: int | None = None,
    environment: str | Environment | MakeHost | None = None,
    agent: Agent | None = None,
    progress: bool = True,
) -> TrainResult:
    """Continue a run from its newest intact checkpoint.

    If the simulator is inside the compiled program, the results are bit for bit those
    of a run that was never interrupted, on as many cores of the same kind. The same
    holds for simulators on the host that can save their state: the Arcade Learning
    Environment, and Gymnasium environments with `clone_state`. All others start new
    episodes. The files of the run are first cut back to the checkpoint. Schedules keep
    their length.

    Args:
        run: the directory that `train` wrote.
        total_steps: environment steps for each seed, including those that are done;
            None keeps the number of the run.
        environment: your own environment, if the run has one; or the name of the run's
            environment, if it imports a module that is not an installed package.
        agent: your own agent, if the run has one.
        progress: whether to show the progress on standard output.

    Returns:
        A `TrainResult`; its metrics are those of the whole run.

    Raises:
        CheckpointError: if there is no intact checkpoint, or if the configuration, the
            environment or the version differs; each difference is listed.
        ValueError: if the directory holds no run, or the run is finished.
        KeyboardInterrupt: see `train`.

    Example:
        Train a finished run for longer::

            result = resume("runs/eight", total_steps=2_000_000)
    """
    plan = resumed_plan(run, total_steps, environment)
    own: Any = plan.environment if environment is None else environment
    if not isinstance(own, str) and not plan.on_host:
        check_environment(own)
    elif not isinstance(own, str) and not callable(own):
        raise ValueError(
            f"environment must be a function make(num_envs, seed) that returns a "
            f"HostEnvironment; got {own!r}"
        )
    return run_plan(plan, own, agent, progress=progress, resumed=True)


def resumed_plan(
    run: str | os.PathLike[str], total_steps: int | None, environment: Any = None
) -> Plan:
    """Return the plan of a run that is resumed, or raise `ValueError` as `resume`."""
    if not isinstance(run, str | os.PathLike):
        raise ValueError(f"run must be the name of a directory; got {run!r}")
    plan = read_plan(run, environment)
    if total_steps is not None:
        check("total_steps", total_steps, STEPS)
        plan = plan.with_run(total_steps=total_steps)
    done = newest_iterations(run)
    if done is not None:  # before anything is compiled
        require_something_to_do(plan, done)
    return plan
