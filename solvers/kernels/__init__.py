"""Compiled kernels, where numba is installed: which of the two paths a call takes, and how the kernels are compiled.

The native solvers with one budget exist twice, in numpy and as kernels (in this room). "native" takes the kernels if numba is there
and numpy otherwise, "numpy" always takes numpy. Several budgets have the kernels only, which Python runs without numba. Numba is
imported when the first kernel is compiled, never by ``import solvers``; its machine code is kept, so only the first time after an
installation takes long.
"""

from solvers.kernels.compilation import (
    NativeBackend,
    as_kernel_input,
    compiled,
    interpreted,
    is_made,
    made,
    patience,
    run_kernel,
    uses_kernels,
)
