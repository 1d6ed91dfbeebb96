"""The adapter of gymnax: what it imports, and when."""

import subprocess
import sys

CODE = """
import sys
from trpo_jax.environments.gymnax import GymnaxEnvironment

GymnaxEnvironment("CartPole-v1")
heavy = {"matplotlib", "seaborn", "pandas", "scipy.stats"}
print(sorted(heavy & set(sys.modules)))

from gymnax.environments.misc import pong
import matplotlib.pyplot

assert pong.plt.figure is matplotlib.pyplot.figure
assert pong.colors.Normalize is matplotlib.colors.Normalize
"""


def test_plotting_libraries_are_imported_when_they_are_used():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
