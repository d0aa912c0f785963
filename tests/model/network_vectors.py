#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes network_vectors.h: losses, gradients and SGD steps of small networks,
computed without backpropagation: the gradient is a central difference of the
loss in double precision. Independent of the C code."""
import hashlib
import math
import random
import struct

rng = random.Random(19860323)
own = random.Random(20201910)
CLASSES, FEATURES, ROWS = 3, 3, 6
RATE, MOMENTUM, EPOCHS, PROXIMAL = 0.1, 0.9, 2, 0.75
STEPS = 5
SCALE = RATE * STEPS


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def layers(hidden):
    widths = [FEATURES] + hidden + [CLASSES]
    return list(zip(widths, widths[1:]))


def logits(params, hidden, act, row):
    at, values = 0, row
    for depth, (inputs, outputs) in enumerate(layers(hidden)):
        weight, bias = params[at:at + inputs * outputs], params[at + inputs * outputs:at + (inputs + 1) * outputs]
        at += (inputs + 1) * outputs
        values = [bias[o] + sum(weight[o * inputs + i] * values[i] for i in range(inputs)) for o in range(outputs)]
        if depth < len(hidden):
            values = [math.tanh(v) if act == "tanh" else max(v, 0.0) for v in values]
    return values


def loss(params, hidden, act, x, y):
    total = 0.0
    for row, label in zip(x, y):
        z = logits(params, hidden, act, row)
        top = max(z)
        total += top + math.log(sum(math.exp(v - top) for v in z)) - z[label]
    return total / len(x)


def gradient(params, hidden, act, x, y, h=1e-5):
    out = []
    for k in range(len(params)):
        up, down = list(params), list(params)
        up[k] += h
        down[k] -= h
        out.append((loss(up, hidden, act, x, y) - loss(down, hidden, act, x, y)) / (2 * h))
    return out


def train(params, hidden, act, x, y, proximal=0.0, correction=None, momentum=MOMENTUM):
    """The whole table is one batch; the update."""
    velocity, moved = [0.0] * len(params), list(params)
    for _ in range(EPOCHS):
        g = gradient(moved, hidden, act, x, y)
        g = [d + proximal * (w - p) + (correction[k] if correction else 0)
             for k, (d, w, p) in enumerate(zip(g, moved, params))]
        velocity = [momentum * v + d for v, d in zip(velocity, g)]
        moved = [w - RATE * v for w, v in zip(moved, velocity)]
    return [w - p for w, p in zip(moved, params)]


def scaffold(params, hidden, act, x, y, control, own):
    """Karimireddy et al. 2020, Algorithm 1, option II: dy and SCALE times c_i+ - c_i."""
    dy = train(params, hidden, act, x, y, 0, [c - o for c, o in zip(control, own)], 0)
    new_own = [o - c - d / (EPOCHS * RATE) for o, c, d in zip(own, control, dy)]
    return dy + [SCALE * (n - o) for n, o in zip(new_own, own)]


def chacha20_block(key, block):
    """Bernstein's original: 64-bit counter, zero nonce."""
    def rotate(v, n):
        return (v << n | v >> (32 - n)) & 0xFFFFFFFF

    start = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<8I", key)) + [block, 0, 0, 0]
    w = list(start)
    for turn in range(20):
        for i in range(4):
            a, b, c, d = i, 4 + (i + turn % 2) % 4, 8 + (i + 2 * (turn % 2)) % 4, 12 + (i + 3 * (turn % 2)) % 4
            for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                w[x] = (w[x] + w[y]) & 0xFFFFFFFF
                w[z] = rotate(w[z] ^ w[x], n)
    return struct.pack("<16I", *[(u + v) & 0xFFFFFFFF for u, v in zip(w, start)])


def initial_model(seed, hidden, act):
    label = b"initial model"
    key = hashlib.blake2b(struct.pack("<QQ", seed, len(label)) + label, digest_size=32,
                          key=b"consilium/1 seeded stream").digest()
    stream = b"".join(chacha20_block(key, block) for block in range(8))
    at, out = 0, []
    for depth, (inputs, outputs) in enumerate(layers(hidden)):
        relu = act == "relu" and depth < len(hidden)
        reach = math.sqrt(6 / (inputs if relu else inputs + outputs))
        for _ in range(inputs * outputs):
            bits = int.from_bytes(stream[at:at + 3], "little")
            at += 4
            out.append(f32(reach * ((bits + 0.5) / 2**23 - 1)))
        out += [0.0] * outputs
    return out


def c_array(values):
    return "{" + ", ".join(f32(v).hex() + "f" for v in values) + "}"


def main():
    out = ["/* Written by network_vectors.py; don't edit. */", "/* clang-format off */",
           f"enum {{ VECTOR_ROWS = {ROWS}, VECTOR_DIM_MAX = 64 }};", f"static const double vector_proximal = {PROXIMAL};", f"enum {{ VECTOR_STEPS = {STEPS} }};",
           "static const struct { const char *model; size_t dim; float x[%d]; uint16_t label[%d];" % (ROWS * FEATURES, ROWS),
           "  float params[64]; double loss; float gradient[64]; float own[64], joint[128]; float near[64], correction[64], corrected[64]; float update[64]; float logits[%d]; } network_vectors[] = {" % (ROWS * CLASSES)]
    for hidden, act, model in [([], "", '{\\"kind\\": \\"logistic\\"}'),
                               ([4, 5], "tanh", '{\\"kind\\": \\"mlp\\", \\"hidden\\": [4, 5], \\"activation\\": \\"tanh\\"}'),
                               ([6], "relu", '{\\"kind\\": \\"mlp\\", \\"hidden\\": [6], \\"activation\\": \\"relu\\"}'),
                               ([3, 2, 4], "relu", '{\\"kind\\": \\"mlp\\", \\"hidden\\": [3, 2, 4], \\"activation\\": \\"relu\\"}')]:
        dim = sum((i + 1) * o for i, o in layers(hidden))
        x = [[f32(rng.uniform(-1, 1)) for _ in range(FEATURES)] for _ in range(ROWS)]
        y = [rng.randrange(CLASSES) for _ in range(ROWS)]
        params = [f32(rng.uniform(-1, 1)) for _ in range(dim)]
        start = gradient(params, hidden, act, x, y)
        correction = [f32(own.uniform(-0.5, 0.5)) for _ in range(dim)]
        z = [v for row in x for v in logits(params, hidden, act, row)]
        out.append("  {\"%s\", %d, %s," % (model, dim, c_array([v for row in x for v in row])))
        out.append("   {%s}, %s," % (", ".join(map(str, y)), c_array(params)))
        out.append("   %s, %s," % (loss(params, hidden, act, x, y).hex(), c_array(start)))
        variate = [f32(own.uniform(-0.5, 0.5)) for _ in range(dim)]
        out.append("   %s, %s," % (c_array(variate), c_array(scaffold(params, hidden, act, x, y, correction, variate))))
        out.append("   %s, %s, %s," % (c_array(train(params, hidden, act, x, y, PROXIMAL)), c_array(correction),
                                       c_array(train(params, hidden, act, x, y, 0, correction))))
        out.append("   %s, %s}," % (c_array(train(params, hidden, act, x, y)), c_array(z)))
    out += ["};", "static const float initial_relu[] = " + c_array(initial_model(5, [4, 5], "relu")) + ";",
            "static const float initial_tanh[] = " + c_array(initial_model(5, [4, 5], "tanh")) + ";", ""]
    open("network_vectors.h", "w").write("\n".join(out))


main()
