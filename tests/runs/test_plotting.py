import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import stats

from trpo_jax.runs.plotting import (
    Run,
    bootstrap_interval,
    draw_learning_curve,
    figure_style,
    interquartile_mean,
    plot_learning_curve,
    plot_runs,
)

SCORES = st.floats(-1e6, 1e6, width=32)
LINE = (0, 114, 178)  # the first colour of the style


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=SCORES))
def test_interquartile_mean_is_the_trimmed_mean_of_scipy(x):
    np.testing.assert_allclose(
        interquartile_mean(x), stats.trim_mean(x, 0.25), rtol=1e-9, atol=1e-9
    )


@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=3), elements=SCORES),
    st.data(),
)
def test_interquartile_mean_works_along_any_axis(x, data):
    axis = data.draw(st.integers(0, x.ndim - 1))
    np.testing.assert_allclose(
        interquartile_mean(x, axis),
        stats.trim_mean(x, 0.25, axis=axis),
        rtol=1e-9,
        atol=1e-6,
    )


def test_outliers_do_not_move_the_interquartile_mean():
    x = np.arange(8.0)
    wild = np.array([-1e9, -1e9, *x[2:6], 1e9, 1e9])
    assert interquartile_mean(wild) == interquartile_mean(x) == 3.5


def test_the_interval_is_that_of_scipy():
    x = np.random.default_rng(5).normal(size=12)
    oracle = stats.bootstrap(
        (x,),
        lambda sample, axis: stats.trim_mean(sample, 0.25, axis=axis),
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(6),
    ).confidence_interval
    np.testing.assert_allclose(
        bootstrap_interval(x, resamples=20_000), (oracle.low, oracle.high), atol=0.05
    )


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # An IQM of 30 normal scores estimates 0; a percentile interval covers a little less
    # than its name says.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 500))  # 500 experiments at once
    low, high = bootstrap_interval(x, resamples=400)
    assert low.shape == high.shape == (500,)
    coverage = np.mean((low <= 0) & (high >= 0))
    assert 0.88 <= coverage <= 0.98


def test_more_confidence_is_a_wider_interval():
    x = np.random.default_rng(1).normal(size=10)
    narrow = bootstrap_interval(x, confidence=0.5)
    wide = bootstrap_interval(x, confidence=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@given(
    st.integers(-1000, 1000),
    st.lists(st.integers(0, 1000), min_size=1, max_size=12),
)
def test_the_interval_of_symmetric_scores_holds_their_centre(centre, offsets):
    x = np.array([centre + sign * offset for offset in offsets for sign in (-1, 1)])
    low, high = bootstrap_interval(x, resamples=500)
    assert low - 1e-9 <= interquartile_mean(x) <= high + 1e-9
    assert x.min() - 1e-9 <= low <= high <= x.max() + 1e-9


def test_the_interval_is_the_same_every_time():
    x = np.random.default_rng(2).normal(size=(7, 3))
    np.testing.assert_array_equal(bootstrap_interval(x), bootstrap_interval(x))


def test_one_seed_has_an_interval_of_one_point():
    assert bootstrap_interval(np.array([3.0])) == (3.0, 3.0)


def draw(path, returns):
    returns = np.asarray(returns, float)
    steps = 16 * np.arange(1, returns.shape[1] + 1)
    before = returns.copy()
    plot_learning_curve(path, steps, returns, "CartPole-v1")
    np.testing.assert_array_equal(returns, before)  # the caller's data are left alone
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(path) as image:
        image.load()
        return np.asarray(image.convert("RGB"))


def pixels(image, colour):
    return int((image == np.array(colour, np.uint8)).all(axis=-1).sum())


def band(image):
    """Pixels of a quarter of the line's colour on white."""
    mixed = 255 - 0.25 * (255 - np.array(LINE))
    return int((abs(image.astype(int) - mixed) <= 2).all(axis=-1).sum())


NAN = np.nan


@pytest.mark.parametrize(
    ("returns", "has_line", "has_band"),
    [
        pytest.param([[1.0, 2.0, 3.0, 9.0]], True, False, id="one seed"),
        pytest.param([[1, 5, 3], [2, 2, 9], [3, 9, 1]], True, True, id="three seeds"),
        pytest.param([[NAN, 2, NAN, 4]], True, False, id="iterations without episode"),
        pytest.param(
            [[NAN, 1, NAN, 4], [NAN, NAN, 2, 9]], True, True, id="seeds that start late"
        ),
        pytest.param([[NAN, NAN, NAN]], False, False, id="no episode at all"),
        pytest.param([[NAN] * 3] * 2, False, False, id="no episode in any seed"),
        pytest.param([[1.0, 2, 3], [NAN] * 3], False, False, id="one seed without any"),
        pytest.param([[NAN]], False, False, id="one iteration without episode"),
    ],
)
def test_a_picture_shows_what_is_known(returns, has_line, has_band, tmp_path):
    image = draw(tmp_path / "curve.png", returns)
    assert (pixels(image, LINE) > 20) == has_line
    assert (band(image) > 2000) == has_band


@pytest.mark.parametrize("seeds", [1, 4])
def test_one_iteration_is_enough_for_a_picture(seeds, tmp_path):
    draw(tmp_path / "curve.png", np.arange(seeds)[:, None])


def test_a_missing_return_carries_the_last_one_forward(tmp_path):
    gaps = draw(tmp_path / "gaps.png", [[1.0, NAN, NAN, 4.0, NAN]])
    filled = draw(tmp_path / "filled.png", [[1.0, 1.0, 1.0, 4.0, 4.0]])
    np.testing.assert_array_equal(gaps, filled)


def test_a_very_long_run_can_be_drawn(tmp_path):
    draw(tmp_path / "long.png", np.random.default_rng(0).normal(size=(3, 5000)))


@pytest.mark.parametrize(
    ("returns", "reason"),
    [
        ([[NAN, NAN]], "no training episode has ended"),
        ([[1.0, 2.0], [NAN, NAN]], "no training episode of some seeds has ended"),
    ],
)
def test_an_empty_panel_says_why(returns, reason):
    from matplotlib.figure import Figure

    with figure_style():
        axes = Figure().subplots()
        draw_learning_curve(axes, np.arange(2), np.array(returns))
    assert [text.get_text() for text in axes.texts] == [reason]


@pytest.mark.parametrize("environments", [1, 2, 3, 5])
def test_no_text_is_under_9_pixels_at_the_width_shown(environments, tmp_path):
    """A README shows figures at 830 pixels; the smallest text has 10 points."""
    returns = np.arange(6.0).reshape(2, 3)
    runs = [Run("a", f"e{i}", np.arange(3), returns) for i in range(environments)]
    plot_runs(tmp_path / "runs.png", runs)
    with Image.open(tmp_path / "runs.png") as image:
        assert 10 * 120 / 72 * min(1, 830 / image.width) >= 9
