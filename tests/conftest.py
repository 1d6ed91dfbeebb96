"""Strict numerics for every test: no silent promotion, no broadcast ranks, no warnings.

The package keeps to these rules. Two of its dependencies do not, so their own
arithmetic, and nothing of ours, runs under JAX's usual promotion: `gymnax.make` and
`optax.scale_by_adam`.
"""

import functools
import gc
import importlib.metadata
import os

# XLA writes a page of features to stderr for every program that comes from its cache.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Tests spend four fifths of their time in the compiler. XLA reads this variable once,
# when its first device is made; without it, commands that tests start compile as usual.
_QUICK = ["--xla_backend_optimization_level=0"]
if importlib.metadata.version("jaxlib") < "0.11":  # later ones end at unknown flags
    _QUICK.append("--xla_cpu_use_fusion_emitters=false")
_FLAGS = os.environ.get("XLA_FLAGS")
os.environ["XLA_FLAGS"] = " ".join([*_QUICK, _FLAGS or ""])

import gymnax
import hypothesis
import jax
import optax
import pytest

jax.devices()
if _FLAGS is None:
    del os.environ["XLA_FLAGS"]
else:
    os.environ["XLA_FLAGS"] = _FLAGS

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    max_examples=25,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")


def pytest_collection_finish(session):
    gc.collect()
    gc.freeze()  # what is imported stays, and need not be looked through again


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error")
    if hasattr(config, "cache"):
        # One directory a worker: JAX does not write its files atomically.
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        directory = config.cache.mkdir(f"jax-{jax.__version__}-{worker}")
        os.environ["XDG_CACHE_HOME"] = str(directory)  # of the commands it starts
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def relaxed(function):
    """Run a dependency's function under JAX's usual promotion rules."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return run


class RelaxedGymnax:
    """A gymnax environment whose own functions run under the usual promotion."""

    def __init__(self, environment):
        self._environment = environment

    def __getattr__(self, name):
        attribute = getattr(self._environment, name)
        return relaxed(attribute) if callable(attribute) else attribute


def _relax_dependencies():
    make, scale_by_adam = gymnax.make, optax.scale_by_adam

    @functools.wraps(make)
    def relaxed_make(*args, **kwargs):
        environment, params = relaxed(make)(*args, **kwargs)
        return RelaxedGymnax(environment), params

    @functools.wraps(scale_by_adam)
    def relaxed_adam(*args, **kwargs):
        init, update = scale_by_adam(*args, **kwargs)
        return optax.GradientTransformation(init, relaxed(update))

    gymnax.make, optax.scale_by_adam = relaxed_make, relaxed_adam


_relax_dependencies()


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Free what a module has compiled: with gigabytes of it, everything gets slow."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """Double precision inside the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def quick_compilation():
    """For what does not depend on how well a program is optimised."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
