# SPDX-License-Identifier: Apache-2.0
"""The standards in plain Python, for make_vectors.py: ristretto255 (RFC 9496),
Ed25519 (RFC 8032), ChaCha20 and Poly1305 (RFC 8439), the extended nonce
(draft-irtf-cfrg-xchacha), keyed BLAKE2b (RFC 7693). Slow and not constant time:
for test vectors only.
"""

import hashlib
import struct

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def le(value, length=32):
    return value.to_bytes(length, "little")


def number(data):
    return int.from_bytes(data, "little")


def H(context, *parts, size=32):
    assert 16 <= len(context) <= 64
    return hashlib.blake2b(b"".join(parts), digest_size=size, key=context.encode()).digest()


# --- Edwards curve, extended coordinates -----------------------------------

def edwards_add(a, b):
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    m, n = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = n - m, d - c, d + c, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


NEUTRAL = (0, 1, 1, 0)


def edwards_mul(scalar, point):
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = edwards_add(result, point)
        point = edwards_add(point, point)
        scalar >>= 1
    return result


def edwards_neg(point):
    x, y, z, t = point
    return -x % P, y, z, -t % P


def sqrt_ratio(u, v):
    """RFC 9496, section 3.1.3."""
    r = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * r * r % P
    correct, flipped = check == u % P, check == -u % P
    flipped_i = check == -u * SQRT_M1 % P
    if flipped or flipped_i:
        r = r * SQRT_M1 % P
    return correct or flipped, P - r if r & 1 else r


A_MINUS_D_INVSQRT = sqrt_ratio(1, (-1 - D) % P)[1]


def decode(data):
    """RFC 9496, section 4.3.1; None for what must be refused."""
    s = number(data)
    if s >= P or s & 1:
        return None
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    square, inv = sqrt_ratio(1, v * u2 * u2 % P)
    den_x = inv * u2 % P
    den_y = inv * den_x * v % P
    x = 2 * s * den_x % P
    x = P - x if x & 1 else x
    y = u1 * den_y % P
    t = x * y % P
    if not square or t & 1 or y == 0:
        return None
    return x, y, 1, t


def encode(point):
    """RFC 9496, section 4.3.2."""
    x, y, z, t = point
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    _, inv = sqrt_ratio(1, u1 * u2 * u2 % P)
    den1, den2 = inv * u1 % P, inv * u2 % P
    z_inv = den1 * den2 * t % P
    if (t * z_inv % P) & 1:
        x, y = y * SQRT_M1 % P, x * SQRT_M1 % P
        den_inv = den1 * A_MINUS_D_INVSQRT % P
    else:
        den_inv = den2
    if (x * z_inv % P) & 1:
        y = -y % P
    s = den_inv * (z - y) % P
    return le(P - s if s & 1 else s)


def recover_x(y, sign):
    _, x = sqrt_ratio((y * y - 1) % P, (D * y * y + 1) % P)
    return P - x if x & 1 != sign else x


BASE_Y = 4 * pow(5, -1, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def base_mul(scalar):
    return encode(edwards_mul(scalar, BASE))


# --- Ed25519 ---------------------------------------------------------------

def edwards_encode(point):
    x, y, z, _ = point
    z_inv = pow(z, -1, P)
    x, y = x * z_inv % P, y * z_inv % P
    return le(y | (x & 1) << 255)


def ed25519(seed, message):
    h = hashlib.sha512(seed).digest()
    a = number(h[:32]) & (2**254 - 8) | 2**254
    public = edwards_encode(edwards_mul(a, BASE))
    r = number(hashlib.sha512(h[32:] + message).digest()) % L
    big_r = edwards_encode(edwards_mul(r, BASE))
    k = number(hashlib.sha512(big_r + public + message).digest()) % L
    return public, big_r + le((r + k * a) % L)


# --- ChaCha20, Poly1305, XChaCha20-Poly1305 --------------------------------

def rotl(value, bits):
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF


def chacha_rounds(state):
    s = list(state)
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                s[x] = (s[x] + s[y]) & 0xFFFFFFFF
                s[z] = rotl(s[z] ^ s[x], bits)
    return s


CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")


def chacha_block(key, tail):
    """tail: the last 16 bytes of the state (counter and nonce)."""
    state = CONSTANTS + struct.unpack("<8I", key) + struct.unpack("<4I", tail)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(chacha_rounds(state), state)))


def hchacha(key, nonce16):
    s = chacha_rounds(CONSTANTS + struct.unpack("<8I", key) + struct.unpack("<4I", nonce16))
    return struct.pack("<8I", *(s[:4] + s[12:]))


def poly1305(key, message):
    r, s = number(key[:16]) & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF, number(key[16:])
    acc = 0
    for at in range(0, len(message), 16):
        acc = (acc + number(message[at:at + 16] + b"\1")) * r % (2**130 - 5)
    return le((acc + s) % 2**128, 16)


def pad16(data):
    return data + bytes(-len(data) % 16)


def xchacha_seal(key, nonce, ad, plain):
    subkey = hchacha(key, nonce[:16])
    tail = bytes(4) + nonce[16:]
    stream = b"".join(chacha_block(subkey, le(1 + k, 4) + tail) for k in range(-(-len(plain) // 64)))
    sealed = bytes(a ^ b for a, b in zip(plain, stream))
    mac = pad16(ad) + pad16(sealed) + le(len(ad), 8) + le(len(plain), 8)
    return sealed + poly1305(chacha_block(subkey, bytes(4) + tail)[:32], mac)


class SeededRng:
    """crypto/rng.h: the ChaCha20 stream of a key, 64-bit counter, nonce zero."""

    def __init__(self, key):
        self.key, self.block, self.rest = key, 0, b""

    def fill(self, length):
        while len(self.rest) < length:
            self.rest += chacha_block(self.key, le(self.block, 8) + bytes(8))
            self.block += 1
        out, self.rest = self.rest[:length], self.rest[length:]
        return out

    def scalar(self):
        value = number(self.fill(64)) % L
        assert value
        return value
