import gc

import pytest

from trpo_jax.runs.collector import without_collector


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_rests_in_the_block_and_is_then_as_before(before):
    try:
        if not before:
            gc.disable()
        with without_collector():
            assert not gc.isenabled()
            with without_collector():
                assert not gc.isenabled()
            assert not gc.isenabled()
        assert gc.isenabled() == before
        with pytest.raises(KeyError), without_collector():
            raise KeyError
        assert gc.isenabled() == before
    finally:
        gc.enable()
