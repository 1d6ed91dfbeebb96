"""Carrying out a plan: compile, train in chunks, evaluate, and write the results."""

import contextlib
import functools
import shlex
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np

from trpo_jax.agent.agent_check import check_agent
from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.metrics import Metrics
from trpo_jax.algorithm.schedules import scheduled
from trpo_jax.algorithm.state import TrainState
from trpo_jax.environments import make_environment, make_host_environment, module_of
from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.base import Environment
from trpo_jax.environments.host import HostEnvironment, MakeHost
from trpo_jax.environments.watchdog import Watchdog
from trpo_jax.runs import checkpointing, logging, plotting
from trpo_jax.runs.collector import without_collector
from trpo_jax.runs.console import warn
from trpo_jax.runs.host_programs import HostPrograms
from trpo_jax.runs.keys import seeds_of
from trpo_jax.runs.loop import Outcome, notify, run_chunks
from trpo_jax.runs.plan import Plan, complete
from trpo_jax.runs.policy_file import POLICY, save_policy, standard_agent
from trpo_jax.runs.programs import CompiledPrograms, Groups, Programs
from trpo_jax.runs.results import (
    open_files,
    rows_of,
    summarize_returns,
    write_results,
)
from trpo_jax.runs.self_check import (
    describe,
    require_device,
    require_sound_compiler,
)
from trpo_jax.runs.signals import Terminated, note_signals
from trpo_jax.storage.atomic_files import claimed


class TrainResult(NamedTuple):
    """The result of training; every array leads with the seed.

    Attributes:
        state: the last state, a pytree of `[K, ...]`.
        metrics: numpy arrays `[K, I]`, a column for each iteration.
        evaluation: the content of `evaluation.json`.
        agent: policy and critic.
        environment: the environment; it is closed if its simulator runs on the host.
        plan: the plan of the run, with the preset and all sizes filled in.
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
    """Carry out a plan that has been checked.

    The arguments and errors are those of `train` and `resume`; `start` is the
    `time.perf_counter()` at which the command started, if not now.
    """
    own_environment, own_agent = not isinstance(environment, str), agent is not None
    clock = _Clock(time.perf_counter() if start is None else start)
    require_device()
    with contextlib.ExitStack() as to_close:
        if resumed:
            to_close.enter_context(claimed(plan.directory))
        with without_collector(), _meanwhile(require_sound_compiler):
            made, make = _make(plan, environment, to_close)
        plan = complete(plan, made)
        sinks: list[logging.Sink] = _open_console(plan) if progress else []
        to_close.callback(notify, sinks, "close")
        if agent is None:
            agent = standard_agent(made, plan.network)
        else:
            check_agent(agent, made)
        clock.stop("start")
        if plan.on_host:
            programs: Programs = HostPrograms(plan, make, made, agent)
        else:
            programs = CompiledPrograms(plan, made, agent)
        to_close.callback(programs.close)
        clock.stop("compile")
        if resumed:
            states, log = checkpointing.restore_states(plan, programs)
            if sinks:
                notify(sinks, "remember", rows_of(plan, 0, log))
        else:
            states, log = programs.init(seeds_of(plan)), None
        if plan.output_dir is not None:  # up to here a failure leaves no files
            sinks += open_files(plan, log)
            if not resumed:
                to_close.enter_context(claimed(plan.directory))
            plotting.import_early()
        save = functools.partial(
            save_policy,
            environment=made,
            network=None if own_agent else plan.network,
            own_environment=own_environment,
        )
        state, outcome = _train(plan, programs, states, sinks, log, clock, save)
        try:
            evaluation = _evaluate(plan, programs, outcome.states)
            clock.stop("evaluate")
            evaluation["seconds"] = clock.seconds
            if plan.output_dir is not None:
                scores = evaluation["greedy"]["mean_per_seed"]
                save(plan.directory / POLICY, state, greedy_return=scores)
                write_results(plan, outcome.metrics.episode_return, evaluation)
        except (KeyboardInterrupt, Terminated) as interrupt:
            _stop(plan, len(outcome.log), interrupt)
    return TrainResult(state, outcome.metrics, evaluation, agent, made, plan)


def _train(
    plan: Plan,
    programs: Programs,
    states: Groups,
    sinks: list[logging.Sink],
    log: np.ndarray | None,
    clock: "_Clock",
    save: Callable[..., None],
) -> tuple[TrainState, Outcome]:
    """Train, save the policy whatever happens, and raise what ended training early."""
    with note_signals() as noted:
        outcome = run_chunks(plan, programs, states, sinks, log=log, interrupted=noted)
        notify(sinks, "close")  # before anything else is printed
        sinks.clear()
        clock.stop("train")
        state = programs.gather(outcome.states)
        if plan.output_dir is not None:  # before the evaluation, which may fail
            _require_directory(plan)
            save(plan.directory / POLICY, state)
        stopped = outcome.stopped or noted()
    if stopped is not None:
        _stop(plan, len(outcome.log), stopped)
    return state, outcome


def _evaluate(plan: Plan, programs: Programs, states: Groups) -> dict[str, Any]:
    result = programs.evaluate(seeds_of(plan), states)
    returns = np.asarray(result.episode_return)
    return {
        "environment": plan.environment,
        "total_steps": plan.iterations * plan.config.steps_per_iteration,
        "episodes": plan.run.evaluation_episodes,
        "greedy": summarize_returns(returns[:, 0]),
        "sampled": summarize_returns(returns[:, 1]),
        "unfinished_episodes": int(np.sum(~result.finished)),
        "versions": describe(),
        "device": jax.devices()[0].device_kind,
    }


@contextlib.contextmanager
def _meanwhile(function: Callable[[], None]) -> Iterator[None]:
    """Call a function in a thread while the block runs, and raise what it raises."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(function)
        yield
    call.result()


def _make(plan: Plan, environment: Any, stack: contextlib.ExitStack) -> tuple[Any, Any]:
    """Return the environment, and what makes others like it on the host, or None."""
    repeat = plan.config.action_repeat
    if plan.on_host:
        make = environment
        if isinstance(environment, str):
            make = functools.partial(make_host_environment, environment)
        if plan.run.simulator_timeout:
            watchdog = stack.enter_context(Watchdog(plan.run.simulator_timeout))
            make = watchdog.guarded_simulators(make)
        one = make(1, plan.run.seed)
        one.close()  # only its spaces are needed
        return one, make
    if isinstance(environment, str):
        environment = make_environment(environment, action_repeat=repeat)
    elif repeat > 1:
        environment = ActionRepeat(environment, repeat)
    return environment, None


def _require_directory(plan: Plan) -> None:
    """Refuse to write results where the first files of the run are gone."""
    if not (plan.directory / "config.json").exists():
        raise checkpointing.NotWrittenError(
            f"{plan.output_dir} was removed or renamed during the run: its results "
            "cannot be written"
        )


def _stop(plan: Plan, done: int, stopped: BaseException) -> NoReturn:
    """Raise the exception that ended a run, with the command that resumes it."""
    message = f"stopped after {done * plan.config.steps_per_iteration:,} steps"
    newest = plan.output_dir and checkpointing.newest_iterations(plan.output_dir)
    if newest is not None:
        directory = shlex.quote(str(plan.output_dir))
        message += f"; resume with: trpo-jax resume {directory}"
        if plan.on_host and module_of(plan.environment):
            message += f" --environment {shlex.quote(plan.environment)}"
    if isinstance(stopped, KeyboardInterrupt | Terminated):
        raise type(stopped)(message)
    stopped.add_note(message)
    raise stopped


class _Clock:
    """Measures the seconds of each phase of a run."""

    def __init__(self, start: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = start

    def stop(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = round(now - self._last, 3)
        self._last = now


def _open_console(plan: Plan) -> list[logging.Sink]:
    def max_kl(iteration: int) -> float:
        return float(np.mean(scheduled(plan.config, iteration - 1).max_kl))

    total, title = plan.iterations * plan.config.steps_per_iteration, plan.environment
    try:
        return [logging.ConsoleProgress(total, plan.run.seeds, max_kl, title=title)]
    except OSError as error:
        warn(f"no progress is shown: {error}")
        return []
