"""The host's part of training: compile once, run chunks, write things down."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from trpo_jax import logging
from trpo_jax.checkpoint import save_policy
from trpo_jax.config import split_hyper_parameters
from trpo_jax.doctor import describe, require_sound_compiler
from trpo_jax.environments import make_environment
from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.base import Environment, check_environment
from trpo_jax.metrics import Metrics
from trpo_jax.networks import Agent, check_agent, mlp_agent
from trpo_jax.plan import Plan, make_plan
from trpo_jax.programs import Groups, Programs, compile_programs
from trpo_jax.results import open_files, rows_of, summarize_returns, write_results
from trpo_jax.state import TrainState


class TrainResult(NamedTuple):
    """What training leaves; every array leads with the seed.

    Attributes:
        state: pytree of `[K, ...]`.
        metrics: numpy arrays `[K, I]`, one column an iteration.
        evaluation: as in `evaluation.json`.
        agent: policy and critic.
        environment: trained in.
        plan: what was asked for, presets resolved.
    """

    state: TrainState
    metrics: Metrics
    evaluation: dict[str, Any]
    agent: Agent
    environment: Environment
    plan: Plan


def train(
    environment: str | Environment,
    *,
    total_steps: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    output_dir: str | pathlib.Path | None = None,
    evaluation_episodes: int = 100,
    agent: Agent | None = None,
    progress: bool = True,
    **hyper_parameters: Any,
) -> TrainResult:
    """Train one or more agents and judge them.

    Run k of K has the seed `seed + k`, whatever K is.

    Args:
        environment: a name as in `make_environment`, or your own `Environment`.
        total_steps: environment steps a seed; never exceeded. The preset's when None.
        seeds: K, trained side by side.
        seed: of the first run.
        output_dir: a directory that is new or empty; None writes nothing.
        evaluation_episodes: played by each agent afterwards, greedily and sampled.
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
            way has ended and the policy so far is in `output_dir`.

    Example:
        >>> result = train("probe:action", total_steps=2048, progress=False)
        >>> result.evaluation["greedy"]["iqm"]
        1.0
    """
    start = time.perf_counter()
    if not isinstance(environment, str):
        check_environment(environment)
    if agent is not None:
        _, network = split_hyper_parameters(hyper_parameters)
        if network:
            raise ValueError(
                f"leave out {', '.join(network)}: it describes the standard agent, "
                "and you bring your own"
            )
    plan = make_plan(
        environment if isinstance(environment, str) else environment.name,
        known_environment=isinstance(environment, str),
        total_steps=total_steps,
        seeds=seeds,
        seed=seed,
        output_dir=output_dir,
        evaluation_episodes=evaluation_episodes,
        **hyper_parameters,
    )
    return run_plan(plan, environment, agent, progress=progress, start=start)


def run_plan(
    plan: Plan,
    environment: str | Environment,
    agent: Agent | None = None,
    *,
    progress: bool = True,
    start: float | None = None,
) -> TrainResult:
    """Carry out a plan that has been checked; see `train`."""
    reloadable = isinstance(environment, str) and agent is None
    clock = _Clock(time.perf_counter() if start is None else start)
    require_sound_compiler()
    if isinstance(environment, str):
        environment = make_environment(
            environment, action_repeat=plan.config.action_repeat
        )
    elif plan.config.action_repeat > 1:
        environment = ActionRepeat(environment, plan.config.action_repeat)
    if agent is None:
        agent = mlp_agent(
            environment.observation_space,
            environment.action_space,
            **dataclasses.asdict(plan.network),
        )
    else:
        check_agent(agent, environment)
    sinks = [_open_console(plan)] if progress else []
    try:
        clock.stop("start")
        programs = compile_programs(plan, environment, agent)
        clock.stop("compile")
        if plan.output_dir is not None:  # so far a failure leaves nothing behind
            sinks += open_files(plan)
        states, metrics = run_chunks(plan, programs, sinks)
        clock.stop("train")
    finally:
        for sink in sinks:
            sink.close()
    state = programs.gather(states)
    if plan.output_dir is not None:  # at once, whatever happens to the evaluation
        save_policy(
            plan.output_dir / "policy.safetensors",
            state,
            plan.environment,
            plan.network if reloadable else None,
            action_repeat=plan.config.action_repeat,
        )
    done = len(metrics.kl[0])
    if done < plan.iterations:
        said = f"stopped after {done * plan.config.steps_per_iteration:,} steps"
        if plan.output_dir is not None:
            said += f"; policy and metrics so far are in {plan.output_dir}{os.sep}"
        raise KeyboardInterrupt(said)
    judged = programs.evaluate(_seeds(plan), states)
    returns = judged.episode_return
    clock.stop("evaluate")
    evaluation = {
        "environment": plan.environment,
        "total_steps": plan.iterations * plan.config.steps_per_iteration,
        "episodes": plan.evaluation_episodes,
        "greedy": summarize_returns(returns[:, 0]),
        "sampled": summarize_returns(returns[:, 1]),
        "unfinished_episodes": int(np.sum(~judged.finished)),
        "seconds": clock.seconds,
        "versions": describe(),
        "device": jax.devices()[0].device_kind,
    }
    if plan.output_dir is not None:
        write_results(plan, metrics.episode_return, evaluation)
    return TrainResult(state, metrics, evaluation, agent, environment, plan)


class _Clock:
    """Seconds between stops, by name."""

    def __init__(self, start: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = start

    def stop(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def run_chunks(
    plan: Plan, programs: Programs, sinks: list[logging.Sink]
) -> tuple[Groups, Metrics]:
    """Train chunk by chunk, telling the sinks after each.

    An interrupt from the keyboard ends training after the chunk under way: the metrics
    are then shorter than the plan. A second one ends the wait.
    """
    for sink in sinks:
        sink.start()
    states = programs.init(_seeds(plan))
    logs = []
    with _interrupted_between_chunks() as interrupted:
        for first in range(0, plan.iterations, plan.chunk):
            count = min(plan.chunk, plan.iterations - first)
            states, log = programs.chunk(states, np.int32(count))
            log = log[:count]
            logs.append(log)
            rows = rows_of(plan, first, log)
            for sink in sinks:
                sink.write(rows)
            if interrupted():
                break
    return jax.block_until_ready(states), Metrics(*np.concatenate(logs).T)


@contextlib.contextmanager
def _interrupted_between_chunks() -> Iterator[Callable[[], bool]]:
    """Note an interrupt from the keyboard instead of raising it in mid-chunk.

    A chunk uses up the states put in: whoever is interrupted within one has none.
    """
    asked = False

    def ask(signum: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt("stopped at once")
        asked = True

    usual = signal.default_int_handler
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not usual:
        yield lambda: False  # whoever handles interrupts goes on doing so
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, usual)


def _seeds(plan: Plan) -> np.ndarray:
    return (plan.seed + np.arange(plan.seeds)).astype(np.uint32)


def _open_console(plan: Plan) -> logging.Sink:
    return logging.ConsoleProgress(
        plan.iterations * plan.config.steps_per_iteration,
        plan.seeds,
        float(np.mean(plan.config.max_kl)),
    )
