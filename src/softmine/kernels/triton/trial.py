"""Whether Triton can launch a kernel here: at its first launch it compiles C code of its own, for which a machine may lack what it takes."""

from __future__ import annotations

import functools

NEEDS = "Triton needs an NVIDIA driver, a C compiler and Python's headers (gcc and python3-dev on Debian and Ubuntu)"


@functools.cache
def obstacle() -> str:
    """What stands against a launch, or nothing; found out once in a process, by a kernel that does nothing."""
    try:
        from softmine.kernels.triton import kernels

        kernels.nothing[(1,)]()
    # Triton raises whatever its steps do: of missing files, failed commands, assertions.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return f"Triton's first launch failed ({reason}); {NEEDS}"
    return ""
