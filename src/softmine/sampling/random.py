"""A random stream whose whole state is two integers in buffers.

Counter-based (SplitMix64: Steele, Lea and Flood, OOPSLA 2014), because a ``torch.Generator`` is bound to one
device, is not part of ``state_dict`` and does not trace under ``torch.compile(fullgraph=True)``. The same
seed gives the same bits on every device.
"""

from __future__ import annotations

import math
import numbers

import torch
from torch import Tensor, nn

from softmine.checks import out_of_range
from softmine.domain import Coords
from softmine.kernels import bookkeeping_on_device


def _signed(value: int) -> int:
    """The 64-bit pattern of ``value`` as a signed integer, which is what torch holds."""
    return value - (1 << 64) if value >= 1 << 63 else value


_STEP = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift(bits: Tensor, count: int) -> Tensor:
    """Logical right shift; torch's own keeps the sign."""
    return (bits >> count).bitwise_and_((1 << (64 - count)) - 1)


def mixed(bits: Tensor) -> Tensor:
    """A word of 64 bits, int64 of any shape, that looks unrelated to the one given, always the same for the same."""
    bits = _mix_upper(bits)
    return bits ^ _shift(bits, 31)


def _mix_upper(bits: Tensor) -> Tensor:
    """All of ``mixed`` that the upper 31 bits depend on."""
    bits = (bits ^ _shift(bits, 30)).mul_(_MIX_1)
    return bits.bitwise_xor_(_shift(bits, 27)).mul_(_MIX_2)


class RandomStream(nn.Module):
    """Random numbers that resume exactly from ``state_dict`` and follow ``.to(device)``.

    Args:
        seed: any integer. None takes one from torch's global generator, so that ``torch.manual_seed`` rules.

    Raises:
        SoftmineError: the seed is no integer.

    Example:
        >>> stream = RandomStream(seed=0)
        >>> stream.uniform(3, 2).shape
        torch.Size([3, 2])
    """

    key: Tensor
    counter: Tensor

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        if seed is None:
            seed = int(torch.randint(1 << 62, ()).item())
        if not isinstance(seed, numbers.Integral):
            raise out_of_range("seed", seed, "give a whole number, or None")
        # Mixed twice, so that seeds 0, 1, 2 ... start at unrelated places of the one long cycle.
        key = mixed(mixed(torch.tensor(_signed(int(seed) % (1 << 64)))) + _STEP)
        self.register_buffer("key", key)
        self.register_buffer("counter", torch.zeros((), dtype=torch.int64))

    def bits(self, count: int) -> Tensor:
        """The next ``count`` words of 64 random bits, int64 (count,)."""
        if bookkeeping_on_device(self.key):
            from softmine.kernels.triton.sampling import random_words

            words = random_words(self.key, self.counter, count)
            self.skip(count)
            return words
        return mixed(self._places(count))

    def peek(self, count: int) -> Tensor:
        """What ``bits(count)`` would give, without taking it."""
        if bookkeeping_on_device(self.key):
            from softmine.kernels.triton.sampling import random_words

            return random_words(self.key, self.counter, count)
        return mixed(self._ahead(count))

    def skip(self, count: int) -> None:
        """Goes on as if ``count`` words had been taken."""
        self.counter.add_(count)

    def uniform(self, n: int, dim: int, dtype: torch.dtype = torch.float32) -> Coords:
        """Uniform numbers in [0, 1), shape (n, dim); 24 random bits each, 53 for float64."""
        if dtype == torch.float32 and bookkeeping_on_device(self.key):
            from softmine.kernels.triton.sampling import uniform_numbers

            numbers = uniform_numbers(self.key, self.counter, n * dim).view(n, dim)
            self.skip(n * dim)
            return numbers
        digits = 53 if dtype == torch.float64 else 24
        places = self._places(n * dim)
        bits = _shift(mixed(places) if digits > 31 else _mix_upper(places), 64 - digits)
        return bits.to(dtype).mul_(2.0**-digits).view(n, dim)

    def normal(self, n: int, dim: int) -> Coords:
        """Standard normal float32 numbers, shape (n, dim), by the Box-Muller transform."""
        return to_normal(self.bits((n * dim + 1) // 2))[: n * dim].view(n, dim)

    def _places(self, count: int) -> Tensor:
        """The next ``count`` places on the cycle, int64 (count,), which nobody else holds."""
        places = self._ahead(count)
        self.skip(count)
        return places

    def _ahead(self, count: int) -> Tensor:
        first = self.key + self.counter * _STEP
        return torch.arange(1, count + 1, device=self.key.device).mul_(_STEP).add_(first)


def to_normal(bits: Tensor) -> Tensor:
    """Two standard normal float32 numbers of each random word: int64 (..., M) to (..., 2 M)."""
    radius = _shift(bits, 32).float().add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = (bits & 0xFFFFFFFF).float().mul_(2.0 * math.pi * 2.0**-32)
    return torch.cat((radius * angle.cos(), radius * angle.sin()), -1)


def to_uniform(bits: Tensor) -> Tensor:
    """Two float32 numbers in [0, 1) of each random word, 24 bits each: int64 (..., M) to (..., 2 M)."""
    upper, lower = _shift(bits, 40), _shift(bits, 8).bitwise_and_(0xFFFFFF)
    return torch.cat((upper, lower), -1).float().mul_(2.0**-24)


def to_chance(bits: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """A number in [0, 1) of each random word, int64 of any shape; 53 bits, or 24 for float32."""
    digits = 53 if dtype == torch.float64 else 24
    return _shift(bits, 64 - digits).to(dtype).mul_(2.0**-digits)
