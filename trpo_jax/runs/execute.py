"""Carrying out a plan: compile once, run chunks, judge, and write things down."""

import contextlib
import dataclasses
import functools
import time
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np

from trpo_jax.runs import logging
from trpo_jax.runs import plotting
from trpo_jax.runs.console import complain
from trpo_jax.runs.self_check import describe, require_sound_compiler
from trpo_jax.environments import (
    make_environment,
    make_host_environment,
    module_of,
)
from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.base import Environment
from trpo_jax.environments.host import HostEnvironment, MakeHost
from trpo_jax.environments.watchdog import Watchdog
from trpo_jax.storage.atomic_files import claimed
from trpo_jax.runs.host_programs import compile_host_programs
from trpo_jax.runs.loop import NotWrittenError, iterations_kept, read_checkpoint, run_chunks, tell, unpacked
from trpo_jax.algorithm.metrics import Metrics
from trpo_jax.agent.networks import Agent, check_agent, mlp_agent
from trpo_jax.runs.plan import Plan, complete
from trpo_jax.runs.policy_file import save_policy
from trpo_jax.runs.programs import Groups, Programs, compile_programs
from trpo_jax.runs.results import open_files, summarize_returns, write_results
from trpo_jax.runs.signals import Terminated, note_signals
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.update import scheduled


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
        if resumed:
            to_close.enter_context(claimed(plan.output_dir))
        environment, make = _make(plan, environment, to_close)
        plan = complete(plan, environment)
        sinks: list[logging.Sink] = _open_console(plan) if progress else []
        to_close.callback(tell, sinks, "close")
        agent = _agent_of(plan, environment, agent)
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
            sinks += open_files(plan, log)
            if not resumed:
                to_close.enter_context(claimed(plan.output_dir))
            plotting.import_early()
        with note_signals() as interrupted:
            outcome = run_chunks(
                plan, programs, states, sinks, log=log, interrupted=interrupted
            )
            tell(sinks, "close")  # before anything else is printed
            sinks.clear()
            clock.stop("train")
            state = programs.gather(outcome.states)
            if plan.output_dir is not None:  # whatever happens to the evaluation
                _require_directory(plan)
                save_policy(
                    plan.output_dir / "policy.safetensors",
                    state,
                    plan.environment,
                    plan.network if reloadable else None,
                    action_repeat=plan.config.action_repeat,
                )
            stopped = outcome.stopped or interrupted()
        if stopped is not None:
            _stop(plan, len(outcome.log), stopped)
        try:
            evaluation = _judge(plan, programs, outcome.states)
            clock.stop("evaluate")
            evaluation["seconds"] = clock.seconds
            if plan.output_dir is not None:
                write_results(plan, outcome.metrics.episode_return, evaluation)
        except (KeyboardInterrupt, Terminated) as asked:
            _stop(plan, len(outcome.log), asked)
    return TrainResult(state, outcome.metrics, evaluation, agent, environment, plan)


def _agent_of(
    plan: Plan, environment: Environment | HostEnvironment, agent: Agent | None
) -> Agent:
    if agent is not None:
        check_agent(agent, environment)
        return agent
    return mlp_agent(
        environment.observation_space,
        environment.action_space,
        **dataclasses.asdict(plan.network),
    )


def _judge(plan: Plan, programs: Programs, states: Groups) -> dict[str, Any]:
    judged = programs.evaluate(seeds_of(plan), states)
    return {
        "environment": plan.environment,
        "total_steps": plan.iterations * plan.config.steps_per_iteration,
        "episodes": plan.evaluation_episodes,
        "greedy": summarize_returns(judged.episode_return[:, 0]),
        "sampled": summarize_returns(judged.episode_return[:, 1]),
        "unfinished_episodes": int(np.sum(~judged.finished)),
        "versions": describe(),
        "device": jax.devices()[0].device_kind,
    }


def require_something_to_do(plan: Plan, done: int) -> None:
    """Refuse a plan whose iterations are done, judged and all.

    Raises:
        ValueError: with what is done and what was asked for.
    """
    judged = (plan.output_dir / "evaluation.json").exists()
    if done > plan.iterations or (done == plan.iterations and judged):
        steps = done * plan.config.steps_per_iteration
        raise ValueError(
            f"this run is finished: total_steps must be at least one iteration of "
            f"{plan.config.steps_per_iteration:,} steps more than the {steps:,} that "
            f"are done; got {plan.total_steps:,}"
        )


def _go_on(plan: Plan, programs: Programs) -> tuple[Groups, np.ndarray]:
    """Return states and log of a run's newest intact checkpoint."""
    restored = read_checkpoint(plan, programs)
    for line in restored.skipped:
        complain(f"{line}; an earlier one is used")
    require_something_to_do(plan, restored.step)
    tree, states = restored.tree, None
    if "simulators" in tree:
        try:
            saved = unpacked(tree["simulators"])
            states = programs.scatter(seeds_of(plan), tree["states"], saved)
        except ValueError as error:
            complain(str(error))
    if states is None:
        if plan.on_host:
            complain("the simulators start new episodes")
        states = programs.scatter(seeds_of(plan), tree["states"], None)
    return states, tree["log"]


def _make(
    plan: Plan,
    environment: str | Environment | MakeHost,
    to_close: contextlib.ExitStack,
) -> tuple[Environment | HostEnvironment, MakeHost | None]:
    """Return the environment, and what makes more of it if the host steps it."""
    repeat = plan.config.action_repeat
    if plan.on_host:
        make = environment
        if isinstance(environment, str):
            make = functools.partial(make_host_environment, environment)
        if plan.simulator_timeout:
            watchdog = to_close.enter_context(Watchdog(plan.simulator_timeout))
            make = watchdog.guarded_simulators(make)
        one = make(1, plan.seed)
        one.close()  # wanted for its spaces
        return one, make
    if isinstance(environment, str):
        environment = make_environment(environment, action_repeat=repeat)
    elif repeat > 1:
        environment = ActionRepeat(environment, repeat)
    return environment, None


def _require_directory(plan: Plan) -> None:
    """Refuse to write the rest of a run where its beginning is not.

    Raises:
        NotWrittenError: when somebody has removed or renamed the directory.
    """
    if not (plan.output_dir / "config.json").exists():
        raise NotWrittenError(
            f"{plan.output_dir} was removed or renamed while the run went on: its "
            "results have nowhere to go"
        )


def _stop(plan: Plan, done: int, stopped: BaseException) -> NoReturn:
    """Raise what ended a run, and say how to go on: a signal, a simulator, the disk."""
    said = f"stopped after {done * plan.config.steps_per_iteration:,} steps"
    if plan.output_dir is not None and iterations_kept(plan.output_dir) is not None:
        said += f"; go on with: trpo-jax resume {plan.output_dir}"
        if plan.on_host and module_of(plan.environment):
            said += f" --environment {plan.environment}"
    if isinstance(stopped, KeyboardInterrupt | Terminated):
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


def _open_console(plan: Plan) -> list[logging.Sink]:
    def max_kl(iteration: int) -> float:
        return float(np.mean(scheduled(plan.config, iteration - 1).max_kl))

    total = plan.iterations * plan.config.steps_per_iteration
    try:
        return [
            logging.ConsoleProgress(total, plan.seeds, max_kl, title=plan.environment)
        ]
    except OSError as error:
        complain(f"no progress is shown: {error}")
        return []
