#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes vectors/*.json: known answers for the tests of crypto/.

Everything is computed with Python's integers and hashlib (reference.py),
without libsodium; only AES-256-CTR comes from `openssl enc`. Deterministic: a
second run must leave the files as they are.
"""

import hashlib
import json
import pathlib
import struct
import subprocess
import sys

from reference import (BASE, D, H, L, NEUTRAL, P, SeededRng, base_mul, decode, ed25519, edwards_encode, edwards_mul,
                       encode, le, number, sqrt_ratio, xchacha_seal)

OUT = pathlib.Path(__file__).resolve().parent / "vectors"


def draw(label, length):
    """Reproducible bytes that differ for each label."""
    return hashlib.shake_256(b"consilium vectors " + label.encode()).digest(length)


def draw_scalar(label):
    return int.from_bytes(draw(label, 64), "little") % (L - 1) + 1


# --- The files -------------------------------------------------------------

def hash_vectors():
    contexts = ["consilium/1 test", "consilium/1 pair mask", "consilium/1 " + "x" * 52]
    rows = []
    for context in contexts:
        for length in (0, 1, 3, 64, 127, 128, 129, 1000):
            data = draw(f"hash {length}", length)
            rows.append({"context": context, "input": data.hex(), "digest": H(context, data).hex(),
                         "long": H(context, data, size=64).hex()})
    fields = (b"\x01" + le(0x0203, 2) + le(0x04050607, 4) + le(0x08090A0B0C0D0E0F, 8) + le(3, 8) + b"abc" +
              bytes(range(32)))
    return {"once": rows, "fields": H("consilium/1 fields test", fields).hex()}


def rng_vectors():
    key = draw("rng key", 32)
    label = H("consilium/1 seeded stream", le(42, 8), le(10, 8), b"hospital 3")
    return {"key": key.hex(), "stream": SeededRng(key).fill(300).hex(),
            "seed": 42, "label": "hospital 3", "label_stream": SeededRng(label).fill(100).hex()}


def identity_vectors():
    rows = []
    for k in range(6):
        seed, digest = draw(f"identity {k}", 32), draw(f"signed {k}", 32)
        context = "consilium/1 document" + "." * k
        public, signature = ed25519(seed, context.encode() + b"\0" + digest)
        rows.append({"seed": seed.hex(), "public": public.hex(), "context": context, "digest": digest.hex(),
                     "signature": signature.hex(), "derived": H("consilium/1 at rest", seed).hex()})
    row = rows[0]
    public, signature = bytes.fromhex(row["public"]), bytes.fromhex(row["signature"])
    good_r, s = signature[:32], number(signature[32:])
    bad = []

    def add(why, key=public, sig=signature, context=row["context"], digest=row["digest"]):
        bad.append({"why": why, "public": key.hex(), "context": context, "digest": digest,
                    "signature": sig.hex()})

    add("S plus the group order", sig=good_r + le(s + L))
    add("S is zero", sig=good_r + bytes(32))
    add("altered R", sig=bytes([good_r[0] ^ 1]) + signature[1:])
    add("altered S", sig=signature[:32] + bytes([signature[32] ^ 1]) + signature[33:])
    add("another context", context="consilium/1 documents")
    add("another digest", digest=rows[1]["digest"])
    add("another key", key=bytes.fromhex(rows[1]["public"]))
    # Under a key of small order k*A takes few values: a signature with R = S*G
    # would pass for one message in eight or all of them.
    order8 = small_order_point()
    for k in range(8):
        key = edwards_encode(edwards_mul(k, order8)) if k else edwards_encode(NEUTRAL)
        add(f"key of small order, {k} times the generator of the torsion", key=key,
            sig=edwards_encode(BASE) + le(1))
        add(f"R of small order, {k}", sig=key + le(s))
    add("identity key, S zero", key=edwards_encode(NEUTRAL), sig=edwards_encode(NEUTRAL) + bytes(32))
    for name, value in (("p", P), ("p + 1", P + 1), ("2^255 - 1", 2**255 - 1)):
        add(f"unreduced key: {name}", key=le(value), sig=edwards_encode(BASE) + le(1))
    return {"good": rows, "bad": bad}


def small_order_point():
    for y in range(2, 100):
        square, x = sqrt_ratio((y * y - 1) % P, (D * y * y + 1) % P)
        if not square:
            continue
        point = edwards_mul(L, (x, y, 1, x * y % P))
        if edwards_encode(edwards_mul(4, point)) != edwards_encode(NEUTRAL):
            return point
    raise AssertionError


# RFC 9496, appendix A.1: the encodings of 0 to 15 times the generator.
RFC9496_MULTIPLES = """
0000000000000000000000000000000000000000000000000000000000000000
e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76
6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919
94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259
da80862773358b466ffadfe0b3293ab3d9fd53c5ea6c955358f568322daf6a57
e882b131016b52c1d3337080187cf768423efccbb517bb495ab812c4160ff44e
f64746d3c92b13050ed8d80236a7f0007c3b3f962f5ba793d19a601ebb1df403
44f53520926ec81fbd5a387845beb7df85a96a24ece18738bdcfa6a7822a176d
903293d8f2287ebe10e2374dc1a53e0bc887e592699f02d077d5263cdd55601c
02622ace8f7303a31cafc63f8fc48fdc16e1c8c8d234b2f0d6685282a9076031
20706fd788b2720a1ed2a5dad4952b01f413bcf0e7564de8cdc816689e2db95f
bce83f8ba5dd2fa572864c24ba1810f9522bc6004afe95877ac73241cafdab42
e4549ee16b9aa03099ca208c67adafcafa4c3f3e4e5303de6026e3ca8ff84460
aa52e000df2e16f55fb1032fc33bc42742dad6bd5a8fc0be0167436c5948501f
46376b80f409b29dc2b5f6f0c52591990896e5716f41477cd30085ab7f10301e
e0c418f7c8d9c4cdd7395b93ea124f3ad99021bb681dfc3302a9d99a2e53e64e
""".split()

# RFC 9496, appendix A.2: encodings that must be refused.
RFC9496_BAD = """
00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f
f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f
edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f
0100000000000000000000000000000000000000000000000000000000000000
01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f
ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20
c34c4e1826e5d403b78e246e88aa051c36ccf0aafebffe137d148a2bf9104562
c940e5a4404157cfb1628b108db051a8d439e1a421394ec4ebccb9ec92a8ac78
47cfc5497c53dc8e61c91d17fd626ffb1c49e2bca94eed052281b510b1117a24
f1c6165d33367351b0da8f6e4511010c68174a03b6581212c71c0e1d026c3c72
87260f7a2f12495118360f02c26a470f450dadf34a413d21042b43b9d93e1309
26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371
4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f
de6a7b00deadc788eb6b6c8d20c0ae96c2f2019078fa604fee5b87d6e989ad7b
bcab477be20861e01e4a0e295284146a510150d9817763caf1a6f4b422d67042
2a292df7e32cababbd9de088d1d1abec9fc0440f637ed2fba145094dc14bea08
f4a9e534fc0d216c44b218fa0c42d99635a0127ee2e53c712f70609649fdff22
8268436f8c4126196cf64b3c7ddbda90746a378625f9813dd9b8457077256731
2810e5cbc2cc4d4eece54f61c6f69758e289aa7ab440b3cbeaa21995c2f4232b
3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e
a45fdc55c76448c049a1ab33f17023edfb2be3581e9c7aade8a6125215e04220
d483fe813c6ba647ebbfd3ec41adca1c6130c2beeee9d9bf065c8d151c5f396e
8a2e1d30050198c65a54483123960ccc38aef6848e1ec8f5f780e8523769ba32
32888462f8b486c68ad7dd9610be5192bbeaf3b443951ac1a8118419d9fa097b
227142501b9d4355ccba290404bde41575b037693cef1f438c47f8fbf35d1165
5c37cc491da847cfeb9281d407efc41e15144c876e0170b499a96a22ed31e01e
445425117cb8c90edcbc7c1cc0e74f747f2c1efa5630a967c64f287792a48a4b
ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f
""".split()


def group_vectors():
    assert [base_mul(k).hex() for k in range(16)] == RFC9496_MULTIPLES
    assert all(decode(bytes.fromhex(bad)) is None for bad in RFC9496_BAD)
    high_bit = bytes.fromhex(RFC9496_MULTIPLES[1])
    bad = RFC9496_BAD + [RFC9496_MULTIPLES[0], (high_bit[:31] + bytes([high_bit[31] | 0x80])).hex(),
                         bytes(31).hex() + "80", "01" + bytes(30).hex() + "80"]
    products, scalars = [], []
    for k in range(8):
        a, b = draw_scalar(f"group a {k}"), draw_scalar(f"group b {k}")
        wide = draw(f"wide {k}", 64)
        if k == 0:
            a, b = L - 1, L - 1
        if k == 1:
            a, b, wide = 1, L - 2, b"\xff" * 64
        point = base_mul(b)
        products.append({"scalar": le(a).hex(), "point": point.hex(), "base": base_mul(a).hex(),
                         "product": encode(edwards_mul(a, decode(point))).hex(),
                         "sum": base_mul((a + b) % L).hex(), "difference": base_mul((a - b) % L).hex()})
        scalars.append({"a": le(a).hex(), "b": le(b).hex(), "sum": le((a + b) % L).hex(),
                        "difference": le((a - b) % L).hex(), "product": le(a * b % L).hex(),
                        "inverse": le(pow(a, -1, L)).hex(), "wide": wide.hex(),
                        "reduced": le(number(wide) % L).hex()})
    unreduced = [L, L + 1, 2 * L, 2**252 + 2**128, 2**253, 2**255 - 19, 2**255, 2**255 + 1, 2**256 - 1,
                 L + 2**64, L + 2**248]
    return {"multiples": RFC9496_MULTIPLES, "bad_points": bad, "products": products, "scalars": scalars,
            "unreduced": [le(v).hex() for v in unreduced],
            "reduced": [le(v).hex() for v in (1, 2, L - 1, L - 2, 2**252, 2**252 - 1, L - 2**64, 2**251)]}


def proof(context, secret, binding, pairs, rng):
    """pairs: (base encoding or None for the generator, image encoding)."""
    statement = binding + b"".join((b or b"") + i for b, i in pairs)
    nonce = number(H("consilium/1 proof nonce", le(len(context), 8), context.encode(), le(secret),
                     rng.fill(32), statement, size=64)) % L
    commitments = b"".join(encode(edwards_mul(nonce, decode(b) if b else BASE)) for b, _ in pairs)
    challenge = number(H(context, statement, commitments, size=64)) % L
    return le(challenge) + le((nonce + challenge * secret) % L)


def proof_vectors():
    possession, equality = [], []
    for k in range(4):
        secret, other = draw_scalar(f"proof secret {k}"), draw_scalar(f"proof other {k}")
        binding, key = draw(f"binding {k}", 32), draw(f"proof rng {k}", 32)
        point = base_mul(secret)
        row = {"secret": le(secret).hex(), "binding": binding.hex(), "rng_key": key.hex()}
        possession.append(row | {"point": point.hex(), "proof": proof(
            "consilium/1 possession", secret, binding, [(None, point)], SeededRng(key)).hex()})
        p = base_mul(other)
        shared = encode(edwards_mul(secret, decode(p)))
        equality.append(row | {"e": point.hex(), "p": p.hex(), "k": shared.hex(), "proof": proof(
            "consilium/1 equality", secret, binding, [(None, point), (p, shared)], SeededRng(key)).hex()})
    # Weak Fiat-Shamir: the point chosen after the challenge. With A = a*G and
    # c = H(A), S = (r*G - A)/c has a "proof" under a challenge that leaves S out.
    binding, a, r = draw("weak binding", 32), draw_scalar("weak a"), draw_scalar("weak r")
    commitment = base_mul(a)
    c = number(H("consilium/1 possession", binding, commitment, size=64)) % L
    weak = {"point": base_mul((r - a) * pow(c, -1, L) % L).hex(), "binding": binding.hex(),
            "proof": (le(c) + le(r)).hex()}
    return {"possession": possession, "equality": equality, "weak_fiat_shamir": weak}


def dual_word(indices, threshold, challenge):
    points = [0] + indices
    g = [number(H("consilium/1 degree word", challenge, le(k, 4), size=64)) % L
         for k in range(len(indices) - threshold + 1)]
    word = []
    for x in points:
        v = 1
        for other in points:
            if other != x:
                v = v * (x - other) % L
        word.append(pow(v, -1, L) * sum(c * pow(x, k, L) for k, c in enumerate(g)) % L)
    return word


def shamir_vectors():
    rows, degree = [], []
    for n, t, indices in ((1, 1, [1000]), (4, 3, [1, 2, 3, 4]), (5, 5, [9, 2, 1000, 999, 1]),
                          (7, 4, [3, 1, 4, 15, 926, 535, 89]), (40, 27, list(range(961, 1001)))):
        secret, key = draw_scalar(f"shamir {n}"), draw(f"shamir rng {n}", 32)
        rng = SeededRng(key)
        f = [secret] + [rng.scalar() for _ in range(t - 1)]
        shares = [sum(c * pow(x, k, L) for k, c in enumerate(f)) % L for x in indices]
        rows.append({"secret": le(secret).hex(), "threshold": t, "indices": indices, "rng_key": key.hex(),
                     "shares": [le(s).hex() for s in shares]})
    for n, t, indices in ((4, 3, [1, 2, 3, 4]), (7, 4, [3, 1, 4, 15, 926, 535, 89])):
        challenge = draw(f"degree challenge {n}", 32)
        word = dual_word(indices, t, challenge)
        f = [draw_scalar(f"degree {n} {k}") for k in range(t)]
        values = [sum(c * pow(x, k, L) for k, c in enumerate(f)) % L for x in [0] + indices]
        assert sum(v * w for v, w in zip(values, word)) % L == 0

        def row(why, challenge, values, good):
            return {"why": why, "indices": indices, "threshold": t, "challenge": challenge.hex(),
                    "points": [base_mul(v).hex() for v in values], "good": good}

        degree.append(row("a polynomial of degree threshold - 1", challenge, values, True))
        # Not on any such polynomial, but orthogonal to the word of this one
        # challenge: pins the derivation of the word, bit for bit.
        forged = list(values)
        forged[1] = (forged[1] + word[2]) % L
        forged[2] = (forged[2] - word[1]) % L
        assert sum(v * w for v, w in zip(forged, word)) % L == 0
        degree.append(row("forged for this challenge", challenge, forged, True))
        degree.append(row("forged for another challenge", draw("other challenge", 32), forged, False))
        higher = [(v + pow(x, t, L)) % L for v, x in zip(values, [0] + indices)]
        degree.append(row("degree exactly threshold", challenge, higher, False))
        degree.append(row("another secret", challenge, [values[0] + 1] + values[1:], False))
    return {"split": rows, "degree": degree}


def merkle_top(leaves):
    """Recursively: the left side is the largest full tree that leaves something over."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return H("consilium/1 merkle node", merkle_top(leaves[:half]), merkle_top(leaves[half:]))


def merkle_path(leaves, position):
    if len(leaves) == 1:
        return []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if position < half:
        return merkle_path(leaves[:half], position) + [merkle_top(leaves[half:])]
    return merkle_path(leaves[half:], position - half) + [merkle_top(leaves[:half])]


def merkle_vectors():
    rows = []
    for count in (1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 33, 100):
        leaves = [H("consilium/1 merkle leaf", le(k, 4)) for k in range(count)]
        position = count * 2 // 3
        rows.append({"count": count, "root": H("consilium/1 merkle root", le(count, 8), merkle_top(leaves)).hex(),
                     "position": position, "path": [s.hex() for s in merkle_path(leaves, position)]})
    return {"leaf": H("consilium/1 merkle leaf", b"leaf").hex(), "trees": rows, "refused": merkle_refused()}


def merkle_refused():
    """Leaves and paths that a tree of six doesn't have, each one step from one that it has."""
    count, position = 6, 3
    leaves = [H("consilium/1 merkle leaf", le(k, 4)) for k in range(count)]
    root, path = H("consilium/1 merkle root", le(count, 8), merkle_top(leaves)), merkle_path(leaves, position)
    node = H("consilium/1 merkle node", leaves[2], leaves[3])
    flipped = [bytes([path[0][0] ^ 1]) + path[0][1:]] + path[1:]
    cases = [("another leaf", leaves[2], count, position, path),
             ("another place", leaves[3], count, 2, path),
             ("a place behind the last", leaves[3], count, count, path),
             ("one leaf more", leaves[3], count + 1, position, path),
             ("one leaf less", leaves[3], count - 1, position, path),
             ("an inner node in the place of a leaf", node, 3, 1, path[1:]),
             ("an inner node, and the tree as it is", node, count, position, path[1:]),
             ("a path cut short", leaves[3], count, position, path[:-1]),
             ("a path too long", leaves[3], count, position, path + [path[0]]),
             ("a path in the wrong order", leaves[3], count, position, path[::-1]),
             ("a sibling altered", leaves[3], count, position, flipped),
             ("no path", leaves[3], count, position, []),
             ("a tree of none", leaves[3], 0, 0, [])]
    assert merkle_path(leaves, position) == path and len(path) == 3
    return [{"what": what, "root": root.hex(), "leaf": leaf.hex(), "count": n, "position": place,
             "path": [s.hex() for s in siblings]} for what, leaf, n, place, siblings in cases]


def seal_vectors():
    rows = []

    def add(key, nonce, ad, plain):
        rows.append({"key": key.hex(), "nonce": nonce.hex(), "ad": ad.hex(), "plain": plain.hex(),
                     "sealed": xchacha_seal(key, nonce, ad, plain).hex()})

    # draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    text = (b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
            b"sunscreen would be it.")
    add(bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58)), bytes.fromhex("50515253c0c1c2c3c4c5c6c7"), text)
    assert rows[0]["sealed"].startswith("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb")
    assert rows[0]["sealed"].endswith("c0875924c1c7987947deafd8780acf49")
    for ad_len, length in ((0, 0), (0, 32), (5, 1), (64, 32), (100, 200)):
        label = f"seal {ad_len} {length}"
        add(draw(label + " key", 32), draw(label + " nonce", 24), draw(label + " ad", ad_len),
            draw(label, length))
    return {"seal": rows, "refused": seal_refused(rows[3])}


def seal_refused(row):
    """One that opens, with one thing altered each time."""
    def flip(text, byte):
        data = bytearray.fromhex(text)
        data[byte] ^= 0x80
        return data.hex()

    cases = [("the key", {"key": flip(row["key"], 31)}), ("the nonce", {"nonce": flip(row["nonce"], 23)}),
             ("the associated data", {"ad": flip(row["ad"], 0)}), ("no associated data", {"ad": ""}),
             ("the ciphertext", {"sealed": flip(row["sealed"], 0)}), ("the tag", {"sealed": flip(row["sealed"], -1)}),
             ("a byte more", {"sealed": row["sealed"] + "00"}), ("a byte less", {"sealed": row["sealed"][:-2]}),
             ("the tag alone", {"sealed": row["sealed"][-32:]}), ("less than a tag", {"sealed": row["sealed"][-30:]}),
             ("nothing", {"sealed": ""})]
    fields = {name: row[name] for name in ("key", "nonce", "ad", "sealed")}
    return [{"what": what, **fields, **change} for what, change in cases]


def keystream(seed, first, length):
    """`length` elements from element `first`, by the openssl program."""
    skip = first % 4
    result = subprocess.run(
        ["openssl", "enc", "-aes-256-ctr", "-nosalt", "-K", seed.hex(), "-iv", f"{first // 4:032x}"],
        input=bytes(4 * (skip + length)), stdout=subprocess.PIPE, check=True)
    return struct.unpack(f"<{length}I", result.stdout[4 * skip:4 * (skip + length)])


def mask_vectors():
    rows = []
    for terms, first, length in ((1, 0, 1), (1, 0, 8), (1, 3, 6), (2, 1, 37), (3, 4095, 10), (5, 7, 131),
                                 (1, 4 * 2**32 - 6, 12), (2, 2**40 + 2, 9), (17, 2, 65)):
        vector = list(struct.unpack(f"<{length}I", draw(f"mask {first} {length}", 4 * length)))
        row = {"first": str(first), "vector": struct.pack(f"<{length}I", *vector).hex(), "terms": []}
        for k in range(terms):
            seed, sign = draw(f"mask {first} {length} seed {k}", 32), -1 if k % 3 == 1 else 1
            row["terms"].append({"seed": seed.hex(), "sign": sign})
            vector = [(v + sign * m) % 2**32 for v, m in zip(vector, keystream(seed, first, length))]
        row["masked"] = struct.pack(f"<{length}I", *vector).hex()
        rows.append(row)
    # A long one: several cache blocks, by its hash.
    seed, length = draw("mask long", 32), 20011
    stream = struct.pack(f"<{length}I", *keystream(seed, 5, length))
    return {"apply": rows, "long": {"seed": seed.hex(), "first": 5, "length": length,
                                    "digest": H("consilium/1 mask test", stream).hex()}}


def sketch(key, k, first, vector):
    """A*v of elements from `first` on: crypto/sketch.h, byte by byte."""
    w, rows = k // 8, [0] * k
    stream = struct.pack(f"<{2 * len(vector)}I", *keystream(key, 2 * first, 2 * len(vector)))
    for c, value in enumerate(vector):
        for block in range(8):
            byte = stream[8 * c + block]
            row = block * w + byte % w
            rows[row] = (rows[row] + (-value if byte >= 128 else value)) % 2**32
    return rows


def sketch_vectors():
    keys, rows, masks = [], [], []
    for k in range(3):
        transcript, nonce = draw(f"sketch transcript {k}", 32), draw(f"sketch nonce {k}", 32)
        keys.append({"transcript": transcript.hex(), "nonce": nonce.hex(),
                     "key": H("consilium/1 sketch matrix", transcript, nonce).hex()})
    for k, first, length in ((128, 0, 1), (128, 0, 700), (128, 3, 37), (256, 0, 65), (256, 2**32 - 5, 100),
                             (256, 1, 1), (512, 2047, 130), (512, 0, 17), (1024, 0, 3000), (1024, 2**40 + 1, 9)):
        key = draw(f"sketch key {k} {first} {length}", 32)
        vector = struct.unpack(f"<{length}I", draw(f"sketch vector {k} {first} {length}", 4 * length))
        rows.append({"key": key.hex(), "k": k, "first": str(first), "vector": struct.pack(f"<{length}I", *vector).hex(),
                     "sketch": struct.pack(f"<{k}I", *sketch(key, k, first, vector)).hex()})
    for k, count, words in ((128, 1, 4096), (256, 3, 5003), (512, 17, 100), (1024, 9, 2049)):
        key, seeds = draw(f"sketch mask key {k}", 32), [draw(f"sketch seed {k} {v}", 32) for v in range(count)]
        sketches = [struct.pack(f"<{k}I", *sketch(key, k, 0, keystream(seed, 0, words))) for seed in seeds]
        masks.append({"key": key.hex(), "k": k, "words": words, "seeds": [s.hex() for s in seeds],
                      "sketches": b"".join(sketches).hex()})
    return {"keys": keys, "vectors": rows, "masks": masks}


def seed_vectors():
    """Seeds of masks, from the text of protocol/upload.h: what they are bound to, and the secret last."""
    own, pairs = [], []
    for k, (i, j) in enumerate(((1, 2), (1, 1000), (258, 3), (513, 512))):
        ready, b = draw(f"seed transcript {k}", 32), draw_scalar(f"seed b {k}")
        own.append({"transcript": ready.hex(), "index": i, "b": le(b).hex(),
                    "seed": H("consilium/1 self mask", ready, le(i, 2), le(b)).hex()})
        s_i, s_j = draw_scalar(f"seed s {k}"), draw_scalar(f"seed other s {k}")
        shared = encode(edwards_mul(s_i, decode(base_mul(s_j))))
        low, high = sorted((i, j))
        pairs.append({"transcript": ready.hex(), "i": i, "j": j, "s_i": le(s_i).hex(), "s_j": le(s_j).hex(),
                      "shared": shared.hex(),
                      "seed": H("consilium/1 pair mask", ready, le(low, 2), le(high, 2), shared).hex()})
    return {"self": own, "pair": pairs}


def main():
    OUT.mkdir(exist_ok=True)
    files = {"hash": hash_vectors, "rng": rng_vectors, "identity": identity_vectors, "group": group_vectors,
             "proof": proof_vectors, "shamir": shamir_vectors, "merkle": merkle_vectors, "seal": seal_vectors,
             "mask": mask_vectors, "seeds": seed_vectors, "sketch": sketch_vectors}
    for name in sys.argv[1:] or files:
        (OUT / f"{name}.json").write_text(json.dumps(files[name](), indent=1) + "\n")


if __name__ == "__main__":
    main()
