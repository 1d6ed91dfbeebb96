"""Training in one call: check what is asked for, then have it carried out."""

import contextlib
import dataclasses
import os
import pathlib
import time
from typing import Any

from trpo_jax.config import split_hyper_parameters
from trpo_jax.environments.base import Environment, check_environment
from trpo_jax.environments.host import MakeHost, check_host_environment
from trpo_jax.environments.watchdog import Watchdog
from trpo_jax.runs.loop import iterations_kept
from trpo_jax.agent.networks import Agent
from trpo_jax.runs.plan import OnCheckpointError, Plan, check_values, make_plan
from trpo_jax.runs.results import read_plan
from trpo_jax.validation import STEPS, check
from trpo_jax.runs.execute import TrainResult, require_something_to_do, run_plan


def train(
    environment: str | Environment | MakeHost,
    *,
    total_steps: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    output_dir: str | pathlib.Path | None = None,
    evaluation_episodes: int = 100,
    checkpoint_every: int = 0,
    keep: int = 2,
    on_checkpoint_error: OnCheckpointError = "continue",
    simulator_timeout: float = 0.0,
    agent: Agent | None = None,
    progress: bool = True,
    **hyper_parameters: Any,
) -> TrainResult:
    """Train one or more agents and judge them.

    Run k of K has the seed `seed + k`, whatever K is.

    Args:
        environment: a name as in `trpo_jax.environments`, your own `Environment`, or
            `make(num_envs, seed)` → a `HostEnvironment` of your own.
        total_steps: environment steps a seed; never exceeded. The preset's when None.
        seeds: K, trained side by side; one after the other where the simulator runs
            on the host.
        seed: of the first run.
        output_dir: a directory that is new or empty; None writes nothing.
        evaluation_episodes: played by each agent afterwards, greedily and sampled.
        checkpoint_every: iterations between two checkpoints in `output_dir`, from which
            `resume` goes on; 0 for one a minute, and one at the end either way.
        keep: newest checkpoints that stay.
        on_checkpoint_error: go on or stop when one cannot be written.
        simulator_timeout: seconds that a call of a simulator on the host may take,
            see `Watchdog`; 0 for as long as it likes.
        agent: your own; otherwise the standard one, by the network's hyper-parameters.
        progress: show it on standard output.
        **hyper_parameters: fields of `Config` and `NetworkConfig`, over the preset.

    Returns:
        A `TrainResult`.

    Raises:
        ValueError: for a bad value or name, and for an environment or agent of your own
            that breaks its contract, before anything is compiled or written.
        RuntimeError: when the compiler fails the self-check.
        KeyboardInterrupt: after an interrupt from the keyboard, once the chunk under
            way has ended and all there is so far is in `output_dir`; likewise
            `SystemExit` after SIGTERM.

    Example:
        >>> result = train("probe:action", total_steps=2048, progress=False)
        >>> result.evaluation["greedy"]["iqm"]
        1.0
    """
    start = time.perf_counter()
    name, on_host = environment, False
    if not isinstance(environment, str):
        on_host = callable(environment) and not hasattr(environment, "step")
        if on_host:
            check_values(simulator_timeout=simulator_timeout)
            with contextlib.ExitStack() as to_close:
                make = environment
                if simulator_timeout:
                    watchdog = to_close.enter_context(Watchdog(simulator_timeout))
                    make = watchdog.guarded_simulators(make)
                one = to_close.enter_context(contextlib.closing(make(1, seed)))
                check_host_environment(one, 1)
                name = one.name
        else:
            check_environment(environment)
            name = environment.name
    if agent is not None:
        _, network = split_hyper_parameters(hyper_parameters)
        if network:
            raise ValueError(
                f"leave out {', '.join(network)}: it describes the standard agent, "
                "and you bring your own"
            )
    plan = make_plan(
        name,
        known_environment=isinstance(environment, str),
        on_host=on_host,
        total_steps=total_steps,
        seeds=seeds,
        seed=seed,
        output_dir=output_dir,
        evaluation_episodes=evaluation_episodes,
        checkpoint_every=checkpoint_every,
        keep=keep,
        on_checkpoint_error=on_checkpoint_error,
        simulator_timeout=simulator_timeout,
        **hyper_parameters,
    )
    return run_plan(plan, environment, agent, progress=progress, start=start)


def resume(
    run: str | os.PathLike,
    *,
    total_steps: int | None = None,
    environment: str | Environment | MakeHost | None = None,
    agent: Agent | None = None,
    progress: bool = True,
) -> TrainResult:
    """Go on with a run from its newest intact checkpoint, as if it had never stopped.

    Where the simulator is inside the compiled program, all that follows is bit for bit
    what it would have been, on as many cores of the same kind. So it is with simulators
    on the host whose state can be had: the Arcade Learning Environment, and Gymnasium
    environments with `clone_state`. All others start new episodes. The files of the run
    are cut back to the checkpoint first. Schedules keep the length that they had.

    Args:
        run: the directory that `train` wrote.
        total_steps: environment steps a seed, those that are done included; what the
            run was to do when None.
        environment: your own, if the run has one; or the name of the run's, if it
            imports a module that is not installed.
        agent: your own, if the run has one.
        progress: show it on standard output.

    Returns:
        A `TrainResult`; its metrics are those of the whole run.

    Raises:
        CheckpointError: when there is no intact checkpoint, or when configuration,
            network, environment or version differ from it: what differs is listed.
        ValueError: when the directory holds no run, or nothing is left to do.
        KeyboardInterrupt: see `train`.
    """
    plan = resumed_plan(run, total_steps, environment)
    if environment is None:
        environment = plan.environment
    elif not isinstance(environment, str) and not plan.on_host:
        check_environment(environment)
    elif not isinstance(environment, str) and not callable(environment):
        raise ValueError(
            f"environment must make simulators, as make(num_envs, seed); got "
            f"{environment!r}"
        )
    return run_plan(plan, environment, agent, progress=progress, resumed=True)


def resumed_plan(
    run: str | os.PathLike, total_steps: int | None, environment: Any = None
) -> Plan:
    """Return what is to be done by a run that goes on; see `resume`."""
    if not isinstance(run, str | os.PathLike):
        raise ValueError(f"run must be the name of a directory; got {run!r}")
    plan = read_plan(run, environment)
    if total_steps is not None:
        check("total_steps", total_steps, STEPS)
        plan = dataclasses.replace(plan, total_steps=total_steps)
    done = iterations_kept(run)
    if done is not None:  # before anything is compiled
        require_something_to_do(plan, done)
    return plan
