"""Trained agents, ready to act, without the simulator that they were trained in."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from trpo_jax import environments
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import Normalizer
from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.base import Environment
from trpo_jax.environments.description import (
    EnvironmentDescription,
    require_same_spaces,
)
from trpo_jax.environments.host import (
    HostEnvironment,
    MakeHost,
    check_host_environment,
)
from trpo_jax.runs.acting import Acting, is_traced
from trpo_jax.validation import COUNT_OR_ZERO, check

PyTree = Any


class _Content(NamedTuple):
    description: EnvironmentDescription
    agent: Agent
    policy_params: PyTree
    normalizer: Normalizer
    greedy_return: tuple[float | None, ...] | None = None
    given: Any = None


class SavedPolicy(_Content):
    """The trained agents of a run; `load_policy` makes one.

    Attributes:
        description: the name and the spaces of the environment.
        agent: policy and critic.
        policy_params: pytree of `[K, ...]`, the parameters of K agents.
        normalizer: pytree of `[K, ...]`.
        greedy_return: the mean return of each agent in the greedy episodes after
            training, with None where it is not finite; None if there were no episodes.
        given: what `load_policy` was given as the environment, or None.
    """

    def __repr__(self) -> str:
        """Return one line; the parameters would fill pages."""
        agents = f"{self.agents} agent{'s' * (self.agents != 1)}"
        name = self.description.name
        return f"SavedPolicy({name!r}, {agents}, action_repeat={self.action_repeat})"

    def act(
        self,
        observation: Any,
        *,
        agent: int | Literal["best"] = "best",
        greedy: bool = True,
        key: int | jax.Array | None = None,
        memory: Any = None,
    ) -> Any:
        """Return the action of one of the agents, as the environment takes it.

        An agent with a memory (`policy.remembers`) returns the action and its memory,
        which the next call in the same episode takes::

            action, memory = policy.act(observation, memory=memory)

        If `action_repeat` is more than 1, the action is meant for that many steps of
        the simulator. The first call for each shape compiles the policy. Under a JAX
        transformation, such as `jax.jit`, actions are arrays of JAX.

        Args:
            observation: an observation of the environment, not normalised: an array, a
                list, or a dictionary or a tuple as the environment returns it; with any
                leading axes for a batch.
            agent: the index of the agent, counted from 0, or "best": the agent with the
                highest greedy return after training.
            greedy: whether to return the most likely action instead of a sample.
            key: a key of JAX or an integer seed, from which the sample follows.
            memory: what the last call returned, or None at the start of an episode; of
                agents with a memory only.

        Returns:
            A NumPy array of the type and shape of the environment's actions, within
            their bounds, with the leading axes of the observation; for one observation
            and a `Discrete` space, a NumPy integer; for a `Dict` or a `Tuple`, a
            dictionary or a tuple of those.

        Raises:
            ValueError: for an observation that is not one of the environment, an agent
                that there is not, or a missing key.

        Example:
            Drive an environment of Gymnasium with the best agent::

                observation, _ = environment.reset()
                environment.step(policy.act(observation))
        """
        if greedy and key is not None:
            raise ValueError("key is used with greedy=False only")
        if memory is not None and not self.remembers:
            raise ValueError("memory is for agents with a memory; this one has none")
        key = None if greedy else _checked_key(key)
        index = self.index_of(agent)
        if is_traced(observation):
            one = self.parameters_of(index)
            result = self._acting.traced(one, observation, key, memory)
        else:
            one = self._on_device(index)
            result = self._acting(one, observation, key, memory)
        return result if self.remembers else result[0]

    def index_of(self, agent: int | Literal["best"]) -> int:
        """Return the index of an agent.

        Args:
            agent: an index, or "best" as in `act`.

        Returns:
            The index, counted from 0.

        Raises:
            ValueError: if there is no such agent, or none is known to be the best.

        Example:
            ::

                load_policy("runs/eight").index_of("best")
        """
        if isinstance(agent, str):
            if agent != "best":
                raise ValueError(f'agent must be an index or "best"; got {agent!r}')
            return self._best
        check("agent", agent, COUNT_OR_ZERO)
        if agent >= self.agents:
            raise ValueError(
                f"agent must be below {self.agents}, the number of agents; got {agent}"
            )
        return int(agent)

    def parameters_of(
        self, agent: int | Literal["best"] = "best"
    ) -> tuple[PyTree, Normalizer]:
        """Return the parameters and the normaliser of one agent.

        Args:
            agent: an index, or "best" as in `act`.

        Returns:
            What the functions `evaluate` and `act` of `trpo_jax` take.

        Raises:
            ValueError: if there is no such agent, or none is known to be the best.

        Example:
            ::

                policy = load_policy("runs/eight")
                one = policy.parameters_of("best")
                trpo_jax.evaluate(key, policy.environment, policy.agent, *one)
        """
        index = self.index_of(agent)
        every = self.policy_params, self.normalizer
        return jax.tree.map(lambda leaf: np.asarray(leaf)[index], every)

    @property
    def remembers(self) -> bool:
        """Whether the policy has a memory, which `act` then takes and returns."""
        return self.agent.policy.initial_memory is not None

    @property
    def agents(self) -> int:
        """The number of agents, K."""
        return len(jax.tree.leaves((self.policy_params, self.normalizer))[0])

    @property
    def action_repeat(self) -> int:
        """The number of simulator steps for which training held each action."""
        return self.description.action_repeat

    @functools.cached_property
    def environment(self) -> Environment | MakeHost:
        """The environment, made from its name unless `load_policy` was given one.

        It is an `Environment` with the action repeat of training, whose `step` takes
        the numbers of a policy, ±1 at the bounds; or, if its simulator runs on the
        host, a function `make(num_envs, seed)`. It is a `ValueError` if the environment
        cannot be made, or if its spaces are not those of training.
        """
        description, environment = self.description, self.given
        if isinstance(environment, str | None):
            if description.own:
                raise ValueError(
                    f"{description.name} is an environment of your own: pass it, "
                    "trpo_jax.load_policy(run, environment=...)"
                )
            if environment is None:
                environments.require_installed_module(description.name)
            if description.on_host:
                return _checked_simulators(
                    description,
                    functools.partial(
                        environments.make_host_environment, description.name
                    ),
                )
            environment = environments.make_environment(description.name)
        if not hasattr(environment, "step"):
            return _checked_simulators(description, environment)
        require_same_spaces(description, environment)
        repeat = self.action_repeat
        return ActionRepeat(environment, repeat) if repeat > 1 else environment

    @property
    def observation_space(self) -> Any:
        """The space of one observation."""
        return self.description.observation_space or self.given.observation_space

    @property
    def action_space(self) -> Any:
        """The space of one action."""
        return self.description.action_space or self.given.action_space

    @functools.cached_property
    def _best(self) -> int:
        if self.agents == 1:
            return 0
        scores = self.greedy_return or ()
        known = [(score, -k) for k, score in enumerate(scores) if score is not None]
        if not known:
            raise ValueError(
                f"agent must be an index from 0 to {self.agents - 1}: these agents "
                "have not been evaluated, so that none is known to be the best"
            )
        return -max(known)[1]

    @functools.cached_property
    def _acting(self) -> Acting:
        return Acting(self.agent, self.description, self.given)

    @functools.cached_property
    def _resident(self) -> dict[int, PyTree]:
        return {}

    def _on_device(self, index: int) -> PyTree:
        """Return parameters and normaliser of one agent, which stay on the device."""
        if index not in self._resident:
            one = self.parameters_of(index)
            self._resident[index] = jax.device_put(one, jax.devices()[0])
        return self._resident[index]


def _checked_simulators(
    description: EnvironmentDescription, make: MakeHost
) -> MakeHost:
    """Return a function that makes simulators, and refuses those with other spaces."""

    def made(num_envs: int, seed: int, **options: Any) -> HostEnvironment:
        environment = make(num_envs, seed, **options)
        try:
            check_host_environment(environment, num_envs)
            require_same_spaces(description, environment)
        except ValueError:
            environment.close()
            raise
        return environment

    return made


def _checked_key(key: Any) -> Any:
    if isinstance(key, int | np.integer):
        check("key", key, COUNT_OR_ZERO)
        return np.uint32(key)
    if not hasattr(key, "dtype"):
        raise ValueError(
            f"key must be a key of JAX or an integer with greedy=False; got {key!r}"
        )
    return key
