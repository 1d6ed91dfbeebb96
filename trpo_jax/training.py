"""The host's part of training: compile once, run chunks, write things down."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import sys
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from trpo_jax import logging
from trpo_jax.config import STEPS, check, split_hyper_parameters
from trpo_jax.doctor import describe, require_sound_compiler
from trpo_jax.environments import make_environment, make_host_environment
from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.base import Environment, check_environment
from trpo_jax.environments.host import (
    HostEnvironment,
    MakeHost,
    check_host_environment,
)
from trpo_jax.host_programs import compile_host_programs
from trpo_jax.loop import Outcome, checkpoints_of, read_checkpoint, run_chunks
from trpo_jax.metrics import Metrics
from trpo_jax.networks import Agent, check_agent, mlp_agent
from trpo_jax.plan import OnCheckpointError, Plan, complete, make_plan
from trpo_jax.policy_file import save_policy
from trpo_jax.programs import Groups, Programs, compile_programs
from trpo_jax.results import (
    open_files,
    read_plan,
    summarize_returns,
    write_results,
)
from trpo_jax.signals import Terminated
from trpo_jax.state import TrainState
from trpo_jax.update import scheduled


class TrainResult(NamedTuple):
    """What training leaves; every array leads with the seed.

    Attributes:
        state: pytree of `[K, ...]`.
        metrics: numpy arrays `[K, I]`, one column an iteration.
        evaluation: as in `evaluation.json`.
        agent: policy and critic.
        environment: trained in; closed if it ran on the host.
        plan: what was asked for, presets resolved.
    """

    state: TrainState
    metrics: Metrics
    evaluation: dict[str, Any]
    agent: Agent
    environment: Environment | HostEnvironment
    plan: Plan


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
            with contextlib.closing(environment(1, seed)) as one:
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
        **hyper_parameters,
    )
    return run_plan(plan, environment, agent, progress=progress, start=start)


def resume(
    run: str | os.PathLike,
    *,
    total_steps: int | None = None,
    environment: Environment | MakeHost | None = None,
    agent: Agent | None = None,
    progress: bool = True,
) -> TrainResult:
    """Go on with a run from its newest intact checkpoint, as if it had never stopped.

    Where the simulator is inside the compiled program, all that follows is bit for bit
    what it would have been, on as many cores of the same kind. Simulators on the host
    start new episodes. The files of the run are cut back to the checkpoint first.
    Schedules keep the length that they had.

    Args:
        run: the directory that `train` wrote.
        total_steps: environment steps a seed, those that are done included; what the
            run was to do when None.
        environment: your own, if the run has one.
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
    plan = resumed_plan(run, total_steps)
    if environment is None:
        environment = plan.environment
    return run_plan(plan, environment, agent, progress=progress, resumed=True)


def resumed_plan(run: str | os.PathLike, total_steps: int | None) -> Plan:
    """Return what is to be done by a run that goes on; see `resume`."""
    plan = read_plan(run)
    if total_steps is not None:
        check("total_steps", total_steps, STEPS)
        plan = dataclasses.replace(plan, total_steps=total_steps)
    _require_something_to_do(plan, max(checkpoints_of(run), default=0))
    return plan


def run_plan(
    plan: Plan,
    environment: str | Environment | MakeHost,
    agent: Agent | None = None,
    *,
    progress: bool = True,
    start: float | None = None,
    resumed: bool = False,
) -> TrainResult:
    """Carry out a plan that has been checked; see `train` and `resume`."""
    reloadable = isinstance(environment, str) and agent is None
    clock = _Clock(time.perf_counter() if start is None else start)
    require_sound_compiler()
    with contextlib.ExitStack() as to_close:
        environment, make = _make(plan, environment)
        plan = complete(plan, environment)
        sinks = [_open_console(plan)] if progress else []
        for sink in sinks:
            to_close.callback(sink.close)
        if agent is None:
            agent = mlp_agent(
                environment.observation_space,
                environment.action_space,
                **dataclasses.asdict(plan.network),
            )
        else:
            check_agent(agent, environment)
        clock.stop("start")
        if plan.on_host:
            programs = compile_host_programs(plan, make, environment, agent)
        else:
            programs = compile_programs(plan, environment, agent)
        to_close.callback(programs.close)
        clock.stop("compile")
        if resumed:
            states, log = _go_on(plan, programs)
        else:
            states, log = programs.init(seeds_of(plan)), None
        if plan.output_dir is not None:  # so far a failure leaves nothing behind
            files = open_files(plan, log)
            for sink in files:
                to_close.callback(sink.close)
            sinks += files
        outcome = run_chunks(plan, programs, states, sinks, log=log)
        for sink in sinks:  # before anything else is printed
            sink.close()
        clock.stop("train")
        state = programs.gather(outcome.states)
        if plan.output_dir is not None:  # at once, whatever happens to the evaluation
            save_policy(
                plan.output_dir / "policy.safetensors",
                state,
                plan.environment,
                plan.network if reloadable else None,
                action_repeat=plan.config.action_repeat,
            )
        _require_complete(plan, outcome)
        judged = programs.evaluate(seeds_of(plan), outcome.states)
        clock.stop("evaluate")
    metrics = outcome.metrics
    evaluation = {
        "environment": plan.environment,
        "total_steps": plan.iterations * plan.config.steps_per_iteration,
        "episodes": plan.evaluation_episodes,
        "greedy": summarize_returns(judged.episode_return[:, 0]),
        "sampled": summarize_returns(judged.episode_return[:, 1]),
        "unfinished_episodes": int(np.sum(~judged.finished)),
        "seconds": clock.seconds,
        "versions": describe(),
        "device": jax.devices()[0].device_kind,
    }
    if plan.output_dir is not None:
        write_results(plan, metrics.episode_return, evaluation)
    return TrainResult(state, metrics, evaluation, agent, environment, plan)


def _require_something_to_do(plan: Plan, done: int) -> None:
    if done >= plan.iterations:
        steps = done * plan.config.steps_per_iteration
        raise ValueError(
            f"total_steps must be at least one iteration of "
            f"{plan.config.steps_per_iteration:,} steps more than the {steps:,} that "
            f"are done; got {plan.total_steps:,}"
        )


def _go_on(plan: Plan, programs: Programs) -> tuple[Groups, np.ndarray]:
    """Return states and log of a run's newest intact checkpoint."""
    restored = read_checkpoint(plan, programs)
    for line in restored.skipped:
        print(f"trpo-jax: {line}; an earlier one is used", file=sys.stderr)
    _require_something_to_do(plan, restored.step)
    if plan.on_host:
        print("trpo-jax: the simulators start new episodes", file=sys.stderr)
    states = programs.scatter(seeds_of(plan), restored.tree["states"])
    return states, restored.tree["log"]


def _make(
    plan: Plan, environment: str | Environment | MakeHost
) -> tuple[Environment | HostEnvironment, MakeHost | None]:
    """Return the environment, and what makes more of it if the host steps it."""
    repeat = plan.config.action_repeat
    if plan.on_host:
        make = environment
        if isinstance(environment, str):
            make = functools.partial(make_host_environment, environment)
        one = make(1, plan.seed)
        one.close()  # wanted for its spaces
        return one, make
    if isinstance(environment, str):
        environment = make_environment(environment, action_repeat=repeat)
    elif repeat > 1:
        environment = ActionRepeat(environment, repeat)
    return environment, None


def _require_complete(plan: Plan, outcome: Outcome) -> None:
    """Raise what ended training: a simulator, a signal, a full disk, spoilt data."""
    done, stopped = len(outcome.log), outcome.stopped
    asked = isinstance(stopped, KeyboardInterrupt | Terminated)
    if stopped is None or (asked and done == plan.iterations):
        return
    said = f"stopped after {done * plan.config.steps_per_iteration:,} steps"
    if plan.output_dir is not None:
        said += f"; go on with: trpo-jax resume {plan.output_dir}"
    if asked:
        raise type(stopped)(said)
    stopped.add_note(said)
    raise stopped


class _Clock:
    """Seconds between stops, by name."""

    def __init__(self, start: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = start

    def stop(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def seeds_of(plan: Plan) -> np.ndarray:
    """Return the seed of each run, uint32 `[K]`."""
    return (plan.seed + np.arange(plan.seeds)).astype(np.uint32)


def _open_console(plan: Plan) -> logging.Sink:
    def max_kl(iteration: int) -> float:
        return float(np.mean(scheduled(plan.config, iteration - 1).max_kl))

    return logging.ConsoleProgress(
        plan.iterations * plan.config.steps_per_iteration,
        plan.seeds,
        max_kl,
        title=plan.environment,
    )
