#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What hivemind's expert classes and torch's optimizers compute: writes experts.json. Run with hivemind 1.1.12 and torch.

Weights, inputs and gradients are drawn by a hash that the tests compute again (draw()), so that only results are stored.
"""
import json
import os

import numpy as np
import torch

from hivemind.moe.server.layers import get_linear_schedule_with_warmup, name_to_block
from hivemind.moe.server.layers.common import TransformerEncoderLayer
from hivemind.moe.server.layers.optim import ClippingWrapper

FULL = 1100  # longer gradients are stored as two products with drawn vectors


def draw(seed: int, count: int, bound: float) -> np.ndarray:
    """Uniform in [-bound, bound): a 32-bit mixer ("lowbias32") of seed and place."""
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint32) + np.uint32(seed * 0x9E3779B9 & 0xFFFFFFFF)
        x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
        x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
        x = x ^ x >> np.uint32(16)
    unit = (x >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return (unit * np.float32(2) - np.float32(1)) * np.float32(bound)


def tensor(seed, shape, bound=1.0):
    return torch.from_numpy(draw(seed, int(np.prod(shape)), bound).reshape(shape).copy())


def hexed(t: torch.Tensor) -> str:
    return t.detach().contiguous().numpy().astype("<f4").tobytes().hex()


def set_parameters(module, seed):
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(tensor(seed + i, tuple(p.shape), 0.3))
            if p.dim() == 1:
                p.add_(0.5)


def stored_gradient(grad, seed):
    if grad.numel() <= FULL:
        return {"whole": hexed(grad)}
    right, left = tensor(seed, (grad.shape[1],)), tensor(seed + 1, (grad.shape[0],))
    return {"times_right": hexed(grad.double().mv(right.double()).float()),
            "times_left": hexed(grad.double().t().mv(left.double()).float())}


def mask_of(name, seed, rows, length, hidden):
    if name == "transformer":
        return tensor(seed, (rows, length)) > 0.4
    return (tensor(seed, (rows, hidden)) > -0.6).long() * 2 - (tensor(seed + 1, (rows, hidden)) > 0.8).long()


def one_pass(name, hidden, rows, length, seed):
    module = TransformerEncoderLayer(hidden, 16, 4 * hidden, dropout=0.0) if name == "transformer" else name_to_block[name](hidden)
    module.train()
    set_parameters(module, seed)
    shape = (rows, length, hidden) if name == "transformer" else (rows, hidden)
    x = tensor(seed + 100, shape, 2.0).requires_grad_(True)
    inputs = [x]
    if name != "ffn":
        mask = mask_of(name, seed + 200, rows, length, hidden)
        if name == "transformer":
            mask[:, 0] = False
        inputs.append(mask)
    y = module(*inputs)
    y.backward(tensor(seed + 101, shape))
    return {"class": name, "hidden": hidden, "rows": rows, "length": length, "seed": seed, "output": hexed(y), "input_gradient": hexed(x.grad),
            "gradients": {n: stored_gradient(p.grad, seed + 300 + 2 * i) for i, (n, p) in enumerate(module.named_parameters())}}


def training(what, optimizer, clip, schedule, seed, steps=10, hidden=8, rows=5):
    module = name_to_block["ffn"](hidden)
    set_parameters(module, seed)
    optim = {"adam": lambda p: torch.optim.Adam(p), "sgd": lambda p: torch.optim.SGD(p, 0.01)}[optimizer](module.parameters())
    scheduler = get_linear_schedule_with_warmup(optim, *schedule) if schedule else None
    if clip:
        optim = ClippingWrapper(optim, clip)
    rates, input_gradients = [], []
    for step in range(steps):
        x = tensor(seed + 100 + step, (rows, hidden), 2.0).requires_grad_(True)
        rates.append(optim.param_groups[0]["lr"])
        module(x).backward(tensor(seed + 200 + step, (rows, hidden)))
        optim.step()
        optim.zero_grad()
        if scheduler:
            scheduler.step()
        input_gradients.append(hexed(x.grad))
    return {"what": what, "optimizer": optimizer, "clip": clip, "schedule": schedule, "seed": seed, "hidden": hidden, "rows": rows, "rates": rates,
            "input_gradients": input_gradients, "parameters": {n: hexed(p) for n, p in module.named_parameters()}}


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    passes = [one_pass("ffn", 32, rows, 1, 1000 * rows) for rows in (1, 7, 64)] + [one_pass("ffn", 61, 3, 1, 900)]
    passes += [one_pass("transformer", 16, 3, 5, 5000), one_pass("transformer", 48, 2, 19, 6000)]
    passes += [one_pass("det_dropout", 32, rows, 1, 7000 + 1000 * rows) for rows in (1, 9)]
    result = {"what": "hivemind 1.1.12's expert classes and torch's optimizers; see generate_experts.py", "passes": passes,
              "training": [training("Adam", "adam", None, None, 20000), training("SGD", "sgd", None, None, 21000),
                           training("Adam, clipped", "adam", 0.5, None, 22000), training("SGD, clipped, but seldom", "sgd", 12.0, None, 23000),
                           training("Adam with a schedule", "adam", None, (3, 8), 24000), training("SGD with a schedule", "sgd", 3.0, (0, 9), 25000)]}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "experts.json"), "w") as f:
        json.dump(result, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
