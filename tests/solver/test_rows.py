"""Sums over rows: on one device those of jax.numpy, on several those of all rows."""

import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np

from trpo_jax.solver.rows import anywhere, largest, shares, total

DIVIDED = """
import json
import jax, jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec as P
from trpo_jax.agent.normalization import init_moments, update_moments
from trpo_jax.algorithm.advantages import standardize
from trpo_jax.algorithm.masking import RowStatistics, explained_variance
from trpo_jax.solver.rows import anywhere, largest, total

def everything(x, y, w):
    rows = RowStatistics(w)
    moments = update_moments(init_moments((2,)), jnp.stack([x, y], 1), w)
    scaled = standardize(x, w)
    return [total(x), total(x, 0), largest(x), anywhere(x > 2), anywhere(x > 9),
            rows.mean(x), rows.max(x), explained_variance(x, y, w),
            total(scaled**2), *moments.mean, *moments.variance, moments.count]

x, y, w = jax.random.normal(jax.random.key(0), (3, 8))
w = jnp.abs(w).at[5].set(0.0)
mesh = jax.make_mesh((4,), ("rows",), axis_types=(AxisType.Auto,))
divided = jax.jit(
    jax.shard_map(everything, mesh=mesh, in_specs=P("rows"), out_specs=P())
)
print(json.dumps([[float(v) for v in f(x, y, w)] for f in (everything, divided)]))
"""


def test_rows_on_four_devices_have_the_statistics_of_all_rows():
    flags = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", DIVIDED],
        env=flags, check=True, capture_output=True, text=True,
    )  # fmt: skip
    together, divided = json.loads(done.stdout)
    np.testing.assert_allclose(divided, together, rtol=1e-5, atol=1e-6)


def test_on_one_device_they_are_those_of_numpy():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(total(x), x.sum(), rtol=1e-5)
    np.testing.assert_allclose(total(x, 0), x.sum(0), rtol=1e-5)
    assert float(largest(x)) == x.max()
    assert bool(anywhere(x > x.max() - 1e-6))
    assert not bool(anywhere(x > x.max()))
    assert shares(jnp.zeros(3)).tolist() == [0, 0, 0]
