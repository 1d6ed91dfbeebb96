"""Recordings of episodes, and the files they are written to."""

import contextlib
import io
import math
import os
import pathlib
import subprocess
from typing import NamedTuple

import numpy as np

from trpo_jax.runs.output_paths import check_suffix

GIF_BYTES = 3_000_000  # the first size is taken that is likely to stay below
GIF_SIZES = ((320, 25), (240, 25), (240, 12.5), (160, 12.5))  # width, frames a second
GIF_COLORS = 64  # of 256 that it may have


class Recording(NamedTuple):
    """One episode.

    Attributes:
        frames: uint8 `[H, W, 3]` each: the start, then what every action led to.
        frames_per_second: at which to show them: real time in MuJoCo, else as
            Gymnasium does, else 10 for worlds of cells and 30 for others.
        episode_return: undiscounted sum of all rewards.
        episode_length: actions.
        finished: False when it was stopped before it ended.
    """

    frames: list[np.ndarray]
    frames_per_second: float
    episode_return: float
    episode_length: int
    finished: bool


def write_video(path: str | os.PathLike, recording: Recording) -> None:
    """Write a recording as a GIF or an MP4, at its own speed.

    A GIF is kept small: at most 25 pictures a second, those in between left out; at
    most 320 pixels wide, what is wider made smaller; 64 colours. Where more than 3 MB
    are to be expected, as from 1000 steps of MuJoCo, down to 12.5 pictures a second and
    160 pixels. An MP4 has every picture as it is.

    Args:
        path: ends in `.gif` or `.mp4`; the file appears when it is whole.
        recording: from `record`.

    Raises:
        ValueError: for another ending, or when what MP4 needs is not installed.
        OSError: when the file cannot be written.
    """
    check_suffix(path)
    path = pathlib.Path(path)
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    unfinished = path.with_suffix(f".unfinished{path.suffix}")
    try:
        write(unfinished, recording)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def stride(rate: float, limit: float | None) -> int:
    """Return of how many pictures one is kept, so that at most `limit` a second are."""
    return 1 if limit is None else max(1, math.ceil(rate / limit - 1e-6))


def _write_gif(path: pathlib.Path, recording: Recording) -> None:
    kept, width, rate = _fit_gif(recording)
    path.write_bytes(_encode_gif(kept, width, rate))


def _fit_gif(recording: Recording) -> tuple[list[np.ndarray], int, float]:
    """Return pictures, width and rate that keep a GIF small, judged by some of it."""
    for width, limit in GIF_SIZES:
        every = stride(recording.frames_per_second, limit)
        kept = recording.frames[::-1][::every][::-1]  # the last one always
        rate = recording.frames_per_second / every
        middle = len(kept) // 2
        some = kept[max(0, middle - 10) : middle + 10]
        if len(_encode_gif(some, width, rate)) * len(kept) <= GIF_BYTES * len(some):
            break
    return kept, width, rate


def _encode_gif(frames: list[np.ndarray], width: int, rate: float) -> bytes:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    if images[0].width > width:
        size = (width, round(images[0].height * width / images[0].width))
        images = [image.resize(size, Image.Resampling.BOX) for image in images]
    # One palette for all, made of pixels from all: no flicker, and it is stored once.
    step = 1 + len(images) * images[0].width * images[0].height // 2**17
    pixels = [np.asarray(image).reshape(-1, 3)[::step] for image in images]
    sample = Image.fromarray(np.concatenate(pixels)[None])
    # Centred until all but a hundredth of the pixels stay with their color.
    sample = sample.quantize(GIF_COLORS, kmeans=sample.width // 100)
    palette = np.array(sample.getpalette(), np.uint8).reshape(-1, 3)
    nearest = _Nearest(palette)
    first, *others = (Image.fromarray(nearest(np.asarray(i))) for i in images)
    for image in (first, *others):
        image.putpalette(palette.tobytes())
    # A GIF counts time in hundredths of a second; rounded ends keep the sum right.
    ends = np.rint(np.arange(len(images) + 1) * 100 / rate).astype(int)
    buffer = io.BytesIO()
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=others,
        duration=(10 * np.diff(ends)).tolist(),
        loop=0,
        optimize=False,  # which makes a palette for every picture
    )
    return buffer.getvalue()


class _Nearest:
    """Finds the nearest of some colors; Pillow's own way is off by up to 4."""

    def __init__(self, palette: np.ndarray) -> None:
        self._palette = palette.astype(np.float32)
        self._known = np.full(2**24, -1, np.int16)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        packed = pixels.astype(np.int32) @ np.array([2**16, 2**8, 1], np.int32)
        new = np.unique(packed[self._known[packed] < 0])
        colors = np.stack([new >> 16, new >> 8 & 255, new & 255], -1)
        # |c − p|² = |c|² − 2 cᵀp + |p|², of which |c|² does not matter.
        distance = (self._palette**2).sum(-1) - 2 * (colors @ self._palette.T)
        self._known[new] = distance.argmin(-1)
        return self._known[packed].astype(np.uint8)


def _write_mp4(path: pathlib.Path, recording: Recording) -> None:
    import imageio_ffmpeg

    height, width, _ = recording.frames[0].shape
    rate = f"{recording.frames_per_second:.6f}"
    given = f"-v error -y -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate} -i -"
    even = "-vf pad=ceil(iw/2)*2:ceil(ih/2)*2"  # as the codec wants it
    wanted = f"{even} -c:v libx264 -pix_fmt yuv420p -crf 20"
    # Not imageio_ffmpeg.write_frames: it forks in a way that can hang beside JAX.
    options = f"{given} {wanted}".split()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *options, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        with contextlib.suppress(BrokenPipeError):  # it will say why
            for frame in recording.frames:
                process.stdin.write(np.ascontiguousarray(frame))
        _, said = process.communicate()
    if process.returncode:
        raise OSError(" ".join(["ffmpeg:", *said.decode(errors="replace").split()]))
