#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains a hospital's part of a round with NumPy alone, exactly as the built-in trainer of
`consilium hospital` does: logistic regression and multi-layer perceptrons, softmax and
cross-entropy, mini-batch SGD with momentum. See README.md; the task is described in
docs/trainers.md."""

import csv
import json
import os
import struct
import sys

import numpy as np

# ---- safetensors ----


def read_tensors(path):
    """{name: float32 array} of a file of F32 tensors."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F32", name
        tensors[name] = np.frombuffer(data[begin:end], dtype="<f4").reshape(entry["shape"]).copy()
    return tensors


def write_tensors(path, tensors):
    header, at = {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + 4 * tensor.size]}
        at += 4 * tensor.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.astype("<f4").tobytes())


# ---- the table ----

MISSING = {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"}


def standardise(feature, cell):
    """To [-1, 1] by the study's public range."""
    value = feature["missing"]["impute"] if cell in MISSING else float(cell)
    low, high = feature["min"], feature["max"]
    return 2 * ((min(max(value, low), high) - low) / (high - low)) - 1


def read_table(task):
    """Features [rows, features] and labels [rows] of the rows to train on."""
    table = task["table"]
    with open(task["files"]["train_rows"]) as file:
        wanted = {int(line) for line in file}
    x, y = [], []
    with open(task["files"]["data"], newline="", encoding="utf-8-sig") as file:
        records = (record for record in csv.reader(file) if record)
        header = [name.strip(" \t") for name in next(records)]
        columns = [header.index(feature["name"]) for feature in table["features"]]
        label = header.index(table["label"])
        for number, record in enumerate(records, 1):  # the first row of data is 1
            if number not in wanted:
                continue
            cells = [record[column].strip(" \t") for column in columns]
            x.append([standardise(*pair) for pair in zip(table["features"], cells)])
            y.append(table["classes"].index(record[label].strip(" \t")))
    return np.array(x, dtype=np.float32), np.array(y)


# ---- the order of the rows ----


class ChaCha20:
    """The key's stream with a nonce of zeros, as numbers of 64 bits."""

    def __init__(self, key):
        self.key = np.frombuffer(key, dtype="<u4")
        self.block, self.numbers = 0, []

    def more(self, blocks=256):
        state = np.empty((16, blocks), dtype=np.uint32)
        state[:4] = np.frombuffer(b"expand 32-byte k", dtype="<u4")[:, None]
        state[4:12] = self.key[:, None]
        counters = np.arange(self.block, self.block + blocks, dtype=np.uint64)
        state[12], state[13] = counters.astype(np.uint32), (counters >> np.uint64(32)).astype(np.uint32)
        state[14:] = 0
        x = state.copy()

        def mix(target, other, shift):
            x[target] ^= x[other]
            x[target] = (x[target] << np.uint32(shift)) | (x[target] >> np.uint32(32 - shift))

        def quarter(a, b, c, d):
            for add, source, target, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[add] += x[source]
                mix(target, add, shift)

        for _ in range(10):
            for a in range(4):
                quarter(a, 4 + a, 8 + a, 12 + a)
            for a in range(4):
                quarter(a, 4 + (a + 1) % 4, 8 + (a + 2) % 4, 12 + (a + 3) % 4)
        words = np.ascontiguousarray((x + state).T.astype("<u4"))
        self.block += blocks
        self.numbers = [int(number) for number in words.view("<u8").ravel()[::-1]]

    def below(self, bound):
        """Uniform below bound: values that would favour small results are thrown away."""
        surplus = 2**64 % bound
        while True:
            if not self.numbers:
                self.more()
            value = self.numbers.pop()
            if value >= surplus:
                return value % bound


def shuffle(stream, order):
    """Fisher and Yates, in place."""
    for i in range(len(order), 1, -1):
        j = stream.below(i)
        order[i - 1], order[j] = order[j], order[i - 1]


# ---- the network ----


def layers_of(tensors):
    count = len(tensors) // 2
    return [[tensors[f"layer{layer}.{kind}"] for kind in ("weight", "bias")] for layer in range(count)]


def forward(layers, activation, x):
    """The outputs of all layers; those of the last are logits."""
    outputs = []
    for number, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        if number + 1 < len(layers):
            x = np.tanh(x) if activation == "tanh" else np.maximum(x, np.float32(0))
        outputs.append(x)
    return outputs


def gradients(layers, activation, x, y):
    """Mean cross-entropy's gradient, a pair for each layer, and the loss summed over the rows."""
    outputs = forward(layers, activation, x)
    logits = outputs[-1].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    loss = -log_p[rows, y].sum()
    delta = np.exp(log_p)
    delta[rows, y] -= 1
    delta = (delta / len(y)).astype(np.float32)
    found = []
    for number in range(len(layers) - 1, -1, -1):
        below = outputs[number - 1] if number > 0 else x
        found.append([delta.T @ below, delta.sum(axis=0)])
        if number > 0:
            delta = delta @ layers[number][0]
            delta *= (1 - below * below) if activation == "tanh" else (below > 0)
    return found[::-1], loss


def train(task, layers, x, y):
    """Changes the layers; the mean loss of the first epoch and of the last."""
    training = task["training"]
    rate, momentum = np.float32(training["learning_rate"]), np.float32(training["momentum"])
    proximal = np.float32(training["proximal"])  # of FedProx: how strongly to stay near the received model
    activation = task["model"].get("activation")
    received = [[tensor.copy() for tensor in layer] for layer in layers]
    velocity = [[np.zeros_like(tensor) for tensor in layer] for layer in layers]
    stream, order, losses = ChaCha20(bytes.fromhex(task["shuffle_key"])), list(range(len(y))), []
    for _ in range(training["local_epochs"]):
        shuffle(stream, order)
        total = 0.0
        for at in range(0, len(order), training["batch"]):
            rows = order[at:at + training["batch"]]
            found, loss = gradients(layers, activation, x[rows], y[rows])
            total += loss
            for layer, start, speed, gradient in zip(layers, received, velocity, found):
                for k in range(2):
                    if proximal:
                        gradient[k] += proximal * (layer[k] - start[k])
                    speed[k] = momentum * speed[k] + gradient[k]
                    layer[k] -= rate * speed[k]
        losses.append(total / len(y))
    return losses[0], losses[-1]


def main():
    with open(os.environ["CONSILIUM_TASK"]) as file:
        task = json.load(file)
    if task["model"]["kind"] not in ("logistic", "mlp"):
        sys.exit("this example trains the models of kind logistic and mlp")
    received = read_tensors(task["files"]["global"])
    trained = {name: tensor.copy() for name, tensor in received.items()}
    x, y = read_table(task)
    first, last = train(task, layers_of(trained), x, y)
    write_tensors(task["files"]["update"], {name: trained[name] - received[name] for name in received})
    with open(task["files"]["metrics"], "w") as file:
        json.dump({"examples": len(y), "first_loss": first, "last_loss": last}, file)
    print(f"round {task['round']}: trained on {len(y)} rows")


if __name__ == "__main__":
    main()
