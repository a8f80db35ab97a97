"""A scan of tensor bytes for values that no trained model holds: NaN, infinities, nothing but zeros.

Works on raw little-endian blocks as they are hashed, so that a build reads every byte once.
"""

_EXPONENT = {"F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F800000)}
_EXPONENT["F64"] = ("<u8", 0x7FF0000000000000)
"""safetensors type → (integer of the same width, bits that are all set in NaN and infinities)."""


class ValueScan:
    """Counts non-finite values of one tensor and notes whether every byte is zero.

    Args:
        dtype: safetensors type; for other than F16, BF16, F32 and F64 only zeros are looked for.
    """

    def __init__(self, dtype: str):
        import numpy as np

        kind, self._mask = _EXPONENT.get(dtype, ("u1", None))
        self._numpy, self._kind = np, np.dtype(kind)
        self._rest = b""
        self.n_nonfinite = 0
        self.zero = True

    def update(self, part: memoryview) -> None:
        """Take the next bytes of the tensor; blocks may end inside a value."""
        size = self._kind.itemsize
        if self._rest or len(part) % size:
            whole = self._rest + bytes(part)
            cut = len(whole) - len(whole) % size
            part, self._rest = memoryview(whole)[:cut], whole[cut:]
        values = self._numpy.frombuffer(part, self._kind)
        if self.zero and values.any():
            self.zero = False
        if self._mask is not None:
            mask = self._kind.type(self._mask)
            self.n_nonfinite += int(self._numpy.count_nonzero((values & mask) == mask))
