"""Fitting an audio clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from softmine.domain import Values
from softmine.runs.files import replacing
from softmine.runs.task import Array, Output, Reconstruction, Report, mean_error, silent
from softmine.signals import Audio
from softmine.signals.audio import files as audio_files
from softmine.tasks.audio import images
from softmine.tasks.evaluation import CellEvaluator, psnr
from softmine.tasks.grids import predict
from softmine.tasks.signal_task import SignalTask, parse_corruption, read_signal
from softmine.training.evaluation import CHUNK, decibels, peak_signal_to_noise

DEFAULT = "chimes"
EXCERPT = 2**20
"""Samples up to which comparisons show the whole clip."""
FIRST_OMEGA = 3000.0
"""Sitzmann et al. 2020, for clips of some seconds."""
OMEGA_A_SAMPLE = 0.3
"""Most of it that a short clip has a use for: above pi/2 waves are shorter than two samples."""


@dataclass(frozen=True)
class Options:
    """What only audio takes.

    Attributes:
        corrupt: how to make the clip dirty, as ``outliers=0.05``; None to leave it clean.
    """

    corrupt: str | None = None


def read(path: str | None, options: Options, report: Report = silent) -> AudioTask:
    """The audio clip that a PATH names: a file, ``builtin:NAME``, or the default built-in one for None."""
    del report
    corruption = parse_corruption(options.corrupt, "audio")
    return AudioTask(read_signal(Audio, path, DEFAULT), corruption)


class AudioTask(SignalTask[Audio]):
    """An audio clip to be fitted (see ``runs/task.py``)."""

    kind = "audio"
    unit = "samples"

    def size(self) -> str:
        """As in ``8.46 s mono int16, 135,360 samples at 16,000 Hz``; what reading left out follows."""
        audio = self.signal
        channels = {1: "mono", 2: "stereo"}.get(audio.channels, f"{audio.channels} channels")
        words = (
            f"{audio.seconds:.2f} s {channels} {audio.dtype}, {audio.shape[0]:,} samples at {audio.rate:,} Hz"
        )
        return "; ".join([words, *audio.notes]) + self.dirt

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its clip."""
        audio = self.signal
        return super().describe() | {
            "dtype": audio.dtype,
            "rate": audio.rate,
            "value_range": list(audio.value_range),
            "notes": audio.notes,
        }

    def field_options(self) -> dict[str, Any]:
        """What a field over time needs.

        Audio has thousands of oscillations where an image has tens: the hash grid's finest level has a cell a
        sample, SIREN's first layer the factor that its paper uses for audio (on a clip of 70,560 samples, higher ones
        learned more slowly within a minute on a CPU), and the Fourier features the same spread of frequencies.
        """
        length = self.signal.shape[0]
        omega = max(30.0, min(FIRST_OMEGA, OMEGA_A_SAMPLE * length))
        # The bandwidth of uniform weights from -omega to omega over [-1, 1], in cycles.
        bandwidth = omega / (math.pi * math.sqrt(3))
        return {"finest_resolution": length, "first_omega": omega, "bandwidth": bandwidth}

    def make_evaluator(self, device: torch.device) -> CellEvaluator:
        """PSNR and SNR: the clip's mean square, from silence, over the error's; a silent clip has no SNR."""
        return CellEvaluator(
            self.clean_on(device),
            self.measured_unit,
            device,
            measures="PSNR (0 and 1 are minus and plus the loudest sample) and SNR",
            more=_signal_to_noise,
        )

    def reconstruct(
        self, field: nn.Module, device: torch.device, *, small: bool = False, report: Report = silent
    ) -> Reconstruction:
        """Waveform and spectrogram of every sample, or of an excerpt from the middle where small ones show too many."""
        audio = self.clean_on(device)
        length = audio.shape[0]
        start, stop = 0, length
        if small and length > EXCERPT:
            start = (length - EXCERPT) // 2
            stop = start + EXCERPT
        values = _samples_of(field, audio, device, start, stop, report)
        target = _target(audio, start, stop)
        drawn = images.draw(values, target, audio, start, small)
        error = images.error_strip(mean_error(values, target))
        whole = stop - start == length
        note = "every sample" if whole else f"{EXCERPT / audio.rate:.1f} s from the middle"
        return Reconstruction(*drawn, error, psnr(values, target) if whole else None, note)

    def write_output(
        self,
        field: nn.Module,
        result: Reconstruction,
        folder: Path,
        device: torch.device,
        report: Report = silent,
    ) -> list[Output]:
        """``reconstruction.wav``, and ``target.wav`` to listen to beside it, in the clip's own type and rate."""
        del result
        audio = self.clean_on(device)
        length = audio.shape[0]
        for name, values in (
            ("reconstruction", _samples_of(field, audio, device, 0, length, report)),
            ("target", _target(audio, 0, length)),
        ):
            with replacing(folder / f"{name}.wav") as temporary:
                audio_files.write(temporary, audio.to_raw(values), audio.rate)
        return [Output("reconstruction.wav", "reconstruction"), Output("target.wav", "target")]


def _signal_to_noise(prediction: Values, target: Values) -> dict[str, float]:
    power = (target.double() - 0.5).square().mean().item()
    return {"snr": peak_signal_to_noise(prediction, target) - decibels(power)} if power > 0 else {}


def _samples_of(
    field: nn.Module, audio: Audio, device: torch.device, start: int, stop: int, report: Report
) -> Array:
    """The field's values (S, C) at samples [start, stop), float32 in [0, 1]."""
    values = np.empty((stop - start, audio.channels), np.float32)
    for first in range(start, stop, CHUNK):
        last = min(first + CHUNK, stop)
        coords = audio.domain.centers(torch.arange(first, last))
        values[first - start : last - start] = predict(field, coords, device).numpy()
        report((last - start) / (stop - start))
    return values


def _target(audio: Audio, start: int, stop: int) -> Array:
    """The clip's values (S, C) at samples [start, stop), float32 in [0, 1]."""
    return audio.sample_values(torch.arange(start, stop, device=audio.stored.device)).numpy(force=True)
