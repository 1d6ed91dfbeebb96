"""Drawings of the environments of gymnax, and of grid worlds."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

PyTree = Any
Points = Sequence[Any] | np.ndarray
"""Pairs of coordinates, or an array `[n, 2]` of them."""

INK, ROD, GOAL, FLOOR = "#333333", "#c8553d", "#588b3f", "#b8b8b8"


class _Sketch:
    """A drawing in the coordinates of its world, y upwards, which is scaled down."""

    FINER = 4

    def __init__(
        self, low: tuple[float, float], high: tuple[float, float], width: int = 320
    ) -> None:
        from PIL import Image, ImageDraw

        width, height = self.FINER * width, high[1] - low[1]
        self._low, self._top = low[0], high[1]
        self._scale = width / (high[0] - low[0])
        size = (width, self.FINER * round(height * self._scale / self.FINER))
        self._image = Image.new("RGB", size, "white")
        self._draw = ImageDraw.Draw(self._image)

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        return [
            (self._scale * (x - self._low), self._scale * (self._top - y))
            for x, y in np.asarray(points, float)
        ]

    def line(self, points: Points, color: str, width: float = 0.02) -> None:
        pixels, width = self._pixels(points), width * self._scale
        self._draw.line(pixels, color, round(width), "curve")

    def rod(self, points: Points, color: str, width: float) -> None:
        points = np.asarray(points, float)
        for start, end in itertools.pairwise(points):
            along = (end - start) / np.linalg.norm(end - start)
            side = along[::-1] * (-width / 2, width / 2)
            self.polygon([start + side, end + side, end - side, start - side], color)
        for point in points:
            self.disc(point, width / 2, color)

    def polygon(self, points: Points, color: str) -> None:
        self._draw.polygon(self._pixels(points), color)

    def box(self, center: Points, width: float, height: float, color: str) -> None:
        (x, y), w, h = center, width / 2, height / 2
        corners = [(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)]
        self.polygon(corners, color)

    def disc(self, center: Points, radius: float, color: str) -> None:
        ((x, y),), r = self._pixels([center]), radius * self._scale
        self._draw.ellipse((x - r, y - r, x + r, y + r), color)

    def finish(self) -> np.ndarray:
        return np.asarray(self._image.reduce(self.FINER))


def _draw_cartpole(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-2.6, -0.5), (2.6, 1.6))
    x, theta = float(state.x), float(state.theta)
    sketch.line([(-2.6, 0), (2.6, 0)], FLOOR)
    for end in (-2.4, 2.4):  # beyond, the episode is over
        sketch.line([(end, -0.15), (end, 0.15)], FLOOR)
    sketch.box((x, 0), 0.5, 0.26, INK)
    sketch.rod([(x, 0), (x + math.sin(theta), math.cos(theta))], ROD, 0.1)
    sketch.disc((x, 0), 0.03, "white")
    return sketch.finish()


def _draw_pendulum(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-1.3, -1.3), (1.3, 1.3))
    theta = float(state.theta)  # 0 is up, counter-clockwise
    sketch.rod([(0, 0), (-math.sin(theta), math.cos(theta))], ROD, 0.16)
    sketch.disc((0, 0), 0.05, INK)
    return sketch.finish()


def _draw_acrobot(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-2.2, -2.2), (2.2, 2.2))
    one = float(state.joint_angle1)  # 0 is down
    two = one + float(state.joint_angle2)
    elbow = np.array([math.sin(one), -math.cos(one)])
    tip = elbow + np.array([math.sin(two), -math.cos(two)])
    sketch.line([(-2.2, 1), (2.2, 1)], GOAL)
    sketch.rod([(0, 0), elbow], ROD, 0.16)
    sketch.rod([elbow, tip], ROD, 0.16)
    sketch.disc((0, 0), 0.05, INK)
    sketch.disc(elbow, 0.05, INK)
    return sketch.finish()


def _draw_mountain_car(goal: float, state: PyTree) -> np.ndarray:
    def height(x: Any) -> Any:
        return 0.45 * np.sin(3 * x) + 0.55

    sketch = _Sketch((-1.25, -0.05), (0.65, 1.2))
    x = np.linspace(-1.25, 0.65, 100)
    hill = np.stack([x, height(x)], 1)
    sketch.polygon([(-1.25, -0.05), *hill, (0.65, -0.05)], FLOOR)
    foot, top = (goal, height(goal)), (goal, height(goal) + 0.18)
    sketch.line([foot, top], INK, 0.012)
    sketch.polygon([top, (goal + 0.1, top[1] - 0.04), (goal, top[1] - 0.08)], GOAL)
    car = float(state.position)
    sketch.disc((car, height(car) + 0.05), 0.05, ROD)
    return sketch.finish()


def _draw_point_robot(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-1.5, -1.0), (1.5, 1.5))
    angle = np.linspace(0, np.pi, 60)
    sketch.line(np.stack([np.cos(angle), np.sin(angle)], 1), FLOOR)
    sketch.disc(state.goal, 0.2, GOAL)
    sketch.disc(state.pos, 0.05, ROD)
    return sketch.finish()


def _draw_reacher(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-2.3, -2.3), (2.3, 2.3))
    sketch.disc(state.goal_xy, 0.12, GOAL)
    angles = np.asarray(state.angles)  # each against the x axis
    links = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1), axis=0)
    sketch.rod([(0, 0), *links], ROD, 0.16)
    sketch.disc((0, 0), 0.05, INK)
    return sketch.finish()


def _draw_swimmer(state: PyTree) -> np.ndarray:
    sketch = _Sketch((-1.5, -1.5), (1.5, 1.5))
    sketch.disc(state.goal_xy, 0.1, GOAL)
    for urchin in np.asarray(state.urchin_xys):
        sketch.disc(urchin, 0.12, INK)
    sketch.disc(state.xy, 0.07, ROD)
    return sketch.finish()


DRAWINGS: dict[str, Callable[[PyTree], np.ndarray]] = {
    "CartPole-v1": _draw_cartpole,
    "Pendulum-v1": _draw_pendulum,
    "Acrobot-v1": _draw_acrobot,
    "MountainCar-v0": functools.partial(_draw_mountain_car, 0.5),
    "MountainCarContinuous-v0": functools.partial(_draw_mountain_car, 0.45),
    "PointRobot-misc": _draw_point_robot,
    "Reacher-misc": _draw_reacher,
    "Swimmer-misc": _draw_swimmer,
}

PALETTE = np.array(  # black, then a colour for each channel: those of Tableau
    [(16, 16, 24), (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40),
     (148, 103, 189), (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34),
     (23, 190, 207)],
    np.uint8,
)  # fmt: skip


def draw_channels(observation: np.ndarray) -> np.ndarray:
    """Draw an observation with a channel for each kind of object, as in MinAtar.

    The observation is `[H, W]` or `[H, W, C]`; an object is where it is not 0. If one
    cell has several objects, that of the last channel is shown. Return uint8.

    >>> draw_channels(np.zeros((10, 10, 4))).shape
    (320, 320, 3)
    """
    cells = np.asarray(observation)
    cells = cells[..., None] if cells.ndim == 2 else cells
    channel = (cells != 0) * (np.arange(cells.shape[-1]) % 10 + 1)
    return _draw_cells(channel.max(-1), PALETTE)


def _draw_cells(cells: np.ndarray, palette: np.ndarray) -> np.ndarray:
    size = max(1, 320 // max(cells.shape))
    return palette[cells].repeat(size, 0).repeat(size, 1)


TILES = np.array(  # floor, wall or hole, goal, agent
    [(240, 240, 240), (51, 51, 51), (88, 139, 63), (200, 85, 61)], np.uint8
)


def _draw_maze(simulator: Any, state: PyTree, _: np.ndarray) -> np.ndarray:
    cells = 1 - np.asarray(simulator.env_map, int)
    cells[tuple(np.asarray(state.goal))] = 2
    cells[tuple(np.asarray(state.pos))] = 3
    return _draw_cells(cells, TILES)


def _draw_lake(simulator: Any, state: PyTree, _: np.ndarray) -> np.ndarray:
    tiles = np.array([0, 0, 1, 2])  # start and ice are floor
    cells = tiles[np.asarray(simulator.desc)]
    cells.flat[int(state.position)] = 3
    return _draw_cells(cells, TILES)


MAPS = {
    "FourRooms-misc": _draw_maze,
    "MetaMaze-misc": _draw_maze,
    "FrozenLake-misc": _draw_lake,
}
