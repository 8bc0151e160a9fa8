"""ICC profiles made from their numbers (ICC.1:2001-04), so that tests know what each colour must become."""

import struct

import numpy as np

WHITE = (0.9642, 1.0, 0.8249)  # D50, the profile connection space's white
# Primaries adapted to D50, a column each: Display P3 as Apple's profile has them, sRGB as IEC 61966-2-1's.
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _profile(kind: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"\0" * 4, 0x02400000, kind, space, pcs)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + _fixed(*WHITE)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(values) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


_WORDS = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78, b"cprt": b"text\0\0\0\0none\0"}


def rgb(primaries: np.ndarray, gamma: float) -> bytes:
    tags = {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries.T, strict=True)}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(gamma))
    return _profile(b"mntr", b"RGB ", b"XYZ ", {**_WORDS, b"wtpt": _xyz(WHITE), **tags, **curves})


def grey(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {**_WORDS, b"wtpt": _xyz(WHITE), b"kTRC": _gamma(gamma)})


def ink(lightness: float) -> bytes:
    """A press whose paper is white, whose inks print neutral of this L*, and black where all four lie together."""
    lights = [100.0, *[lightness] * 14, 0.0]
    corners = [[round(light * 2.55), 128, 128] for light in lights]
    ramp = bytes(range(256))
    lut = b"mft1\0\0\0\0" + struct.pack(">4B", 4, 3, 2, 0) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += ramp * 4 + bytes(value for corner in corners for value in corner) + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {**_WORDS, b"wtpt": _xyz(WHITE), b"A2B0": lut})
