"""Frames and sound of a stimulus: where they lie, and what falls into a bin.

``<media>/<stim_id>/000012.0.png`` is the frame at 12.0 s (any format that pillow reads), ``<media>/<stim_id>.mp4`` a
video (needs the package ``av``), ``<media>/<stim_id>.wav`` its sound. What models make of it is ``media.py``'s.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from release_kit.core.errors import MissingExtraError
from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.data.runs import EDGE_S
from release_kit.encoding.errors import FeatureError

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm")
_FRAME = re.compile(r"\d+(?:\.\d+)?")
_MARGIN_S = 0.05
"""Sound on both sides of a bin that the change of rate needs, and that is cut off again."""


def media_of(media: Path, stim_id: str, *, sound: bool) -> list[Path]:
    """Return the files that are read of a stimulus: its frames in order of time, its video, or its sound.

    Raises:
        FeatureError: there are none, or frames whose names are no times.
    """
    where = f"stimulus {stim_id}, media {media}"
    if sound:
        wav = media / f"{stim_id}.wav"
        if not wav.is_file():
            raise FeatureError("there is no sound", where=where, next_step=f"put it at {wav.name}")
        return [wav]
    frames = [path for path in (media / stim_id).glob("*") if path.suffix.lower() in IMAGES]
    if wrong := sorted(path.name for path in frames if not _FRAME.fullmatch(path.stem)):
        step = "name frames by their second: 000012.5.png"
        raise FeatureError(f"names of frames that are no times: {', '.join(wrong[:3])}", where=where, next_step=step)
    if frames:
        return sorted(frames, key=lambda path: (float(path.stem), path.name))
    videos = [path for suffix in VIDEOS if (path := media / f"{stim_id}{suffix}").is_file()]
    if len(videos) != 1:
        there = "there are neither frames nor a video" if not videos else f"there are {len(videos)} videos"
        step = f"put frames into {stim_id}/ (000012.0.png), or one video beside it"
        raise FeatureError(there, where=where, next_step=step)
    return videos


class Frames:
    """The frames of one stimulus; a bin has the first one at or after its start and after its middle.

    A frame stands for no more than half a bin: where none follows within it, there is none.

    Args:
        files: from ``media_of``.
        bin_s: width of a bin.
        n_bins: how many bins.

    Raises:
        MissingExtraError: a video, and no package that reads one.
    """

    def __init__(self, files: Sequence[Path], bin_s: float, n_bins: int):
        self._video = files[0] if files[0].suffix.lower() in VIDEOS else None
        self._files = () if self._video else tuple(files)
        stamped = _video_times(self._video) if self._video else []
        self._stamps = [stamp for _, stamp in stamped]
        times = [time for time, _ in stamped] if self._video else [float(path.stem) for path in files]
        wanted = np.arange(2 * n_bins) * (bin_s / 2)
        first = np.searchsorted(np.asarray(times), wanted - EDGE_S)
        near = [k < len(times) and times[k] < t + bin_s / 2 - EDGE_S for k, t in zip(first, wanted, strict=True)]
        self._of_bin = [[int(first[k]) for k in (2 * each, 2 * each + 1) if near[k]] for each in range(n_bins)]

    def count(self, k: int) -> int:
        """Return how many frames bin ``k`` has: 0, 1 or 2."""
        return len(self._of_bin[k])

    def read(self, bins: Iterable[int]) -> Iterator[tuple[int, list[Any]]]:
        """Yield each bin, in the order given and growing, with its frames as RGB images.

        Raises:
            FeatureError: a frame cannot be read.
        """
        listed = list(bins)
        # Half bins do not overlap, so no frame is wanted twice and the order is that of the film.
        wanted = [place for k in listed for place in self._of_bin[k]]
        stamps = (self._stamps[place] for place in wanted)
        images = _video_images(self._video, stamps) if self._video else map(self._open, wanted)
        for k in listed:
            yield k, [next(images) for _ in self._of_bin[k]]

    def _open(self, place: int) -> Any:
        from PIL import Image

        try:
            with Image.open(self._files[place]) as image:
                return image.convert("RGB")
        except (OSError, ValueError) as error:
            where = str(self._files[place])
            raise FeatureError(
                f"the frame cannot be read ({error})", where=where, next_step="extract it again"
            ) from error


def _open_video(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "media") from error
    try:
        return av.open(str(path))
    except (OSError, ValueError) as error:
        raise FeatureError(f"the video cannot be read ({error})", where=str(path)) from error


def _video_times(path: Path) -> list[tuple[float, int]]:
    """Return time and stamp of every frame that is shown, in order, from the packets: nothing is decoded.

    Time 0 is where the file begins to play: some begin at another stamp, or keep frames before it that are not shown
    (a film cut without encoding it again).
    """
    with _open_video(path) as container:
        streams = container.streams.video[:1]
        stamps = [
            packet.pts
            for stream in streams
            for packet in container.demux(stream)
            if packet.size and not packet.is_discard
        ]
        if not stamps or None in stamps:
            step = "encode it again as .mp4, or give frames as images"
            raise FeatureError("the video does not say when its frames are shown", where=str(path), next_step=step)
        base, start = streams[0].time_base or Fraction(1), Fraction(container.start_time or 0, 1_000_000)
        return [(float(stamp * base - start), stamp) for stamp in sorted(stamps)]


def _video_images(path: Path, wanted: Iterable[int]) -> Iterator[Any]:
    """Yield the frames with the wanted stamps, which grow."""
    left = iter(wanted)
    stamp = next(left, None)
    with _open_video(path) as container:
        for frame in container.decode(video=0):
            if stamp is None:
                return
            if frame.pts == stamp:
                yield frame.to_image()
                stamp = next(left, None)
    if stamp is not None:
        step = "encode it again, or give frames as images"
        raise FeatureError(f"a frame of the video cannot be read (stamp {stamp})", where=str(path), next_step=step)


class Sound:
    """The sound of one stimulus, as the stretches of its bins.

    Args:
        path: a wav file; several channels become their mean.
        bin_s: width of a bin.

    Raises:
        FeatureError: it cannot be read as sound.
    """

    def __init__(self, path: Path, bin_s: float):
        from scipy.io import wavfile

        try:
            self._rate, self._samples = wavfile.read(path, mmap=True)
        except (OSError, ValueError) as error:
            step = "write it as a wav file of 16-bit numbers (PCM)"
            raise FeatureError(f"the sound cannot be read ({error})", where=str(path), next_step=step) from error
        self._bin_s = bin_s

    def covers(self, k: int) -> bool:
        """Return whether at least half of bin ``k`` has sound."""
        return len(self._samples) / self._rate >= (k + 0.5) * self._bin_s - EDGE_S

    def read(self, k: int, rate: int) -> FloatArray:
        """Return bin ``k`` as ``(bin_s * rate,)`` samples between -1 and 1, silent behind the end."""
        from scipy.signal import resample_poly

        ratio = Fraction(rate, self._rate)
        # A whole number of samples at both rates: otherwise the sound would be moved by part of a sample.
        margin = math.ceil(_MARGIN_S * self._rate / ratio.denominator) * ratio.denominator
        start = round(k * self._bin_s * self._rate)
        n = round(self._bin_s * self._rate)
        stretch = np.zeros(n + 2 * margin, np.float64)
        low, high = max(0, start - margin), min(len(self._samples), start + n + margin)
        stretch[low - (start - margin) : high - (start - margin)] = _plain(self._samples[low:high])
        if self._rate == rate:
            return stretch[margin : margin + n].astype(np.float32)
        made = resample_poly(stretch, ratio.numerator, ratio.denominator)
        begin = margin // ratio.denominator * ratio.numerator
        return made[begin : begin + round(self._bin_s * rate)].astype(np.float32)


def _plain(samples: np.ndarray) -> np.ndarray:
    """Return samples as float64 between -1 and 1, one channel."""
    values = np.asarray(samples, np.float64)
    if samples.dtype == np.uint8:
        values = (values - 128) / 128
    elif samples.dtype.kind == "i":
        values = values / -float(np.iinfo(samples.dtype).min)
    return values.mean(axis=1) if values.ndim == 2 else values
