"""Other starts and metrics for the solve: `python -m benchmarks.preconditioning`.

Batches of agents in training (after a tenth and after half of their steps), all rows in
the products, damping as in the preset. By iterations of conjugate gradients:

* `plain`: from zero, as the library does;
* `warm`: from the direction of the batch before, scaled to fit best;
* `kfac`: from zero, preconditioned by the inverse of a Kronecker factor A ⊗ G a layer
  (Martens & Grosse 2015), A from its inputs and G from the exact Fisher matrix of its
  outputs, both damped by the root of the damping; log σ by its exact diagonal.

`residual` is the true ‖b − F x‖ / ‖b‖; `gain` the surrogate's, and `kl` the divergence,
of the full step √(2δ / xᵀF x) x; `ms` of the solve, what prepares it included, medians
of twenty in a compiled program. Geometric means over three batches each.
"""

import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.runs import Training, provenance
from trpo_jax.environments import make_environment
from trpo_jax.environments.action_repeat import repeat_actions
from trpo_jax.fisher import fisher_vector_product
from trpo_jax.networks import mlp_agent
from trpo_jax.normalization import normalize_observation
from trpo_jax.rollout import collect
from trpo_jax.running import seeds_of
from trpo_jax.update import estimate_advantages

RESULTS = pathlib.Path(__file__).parent / "results" / "preconditioning.json"
TASKS, MOMENTS, SEEDS = ("Acrobot-v1", "Pendulum-v1"), (0.1, 0.5), (800, 801, 802)
COUNTS = (1, 2, 3, 5, 10, 20)
