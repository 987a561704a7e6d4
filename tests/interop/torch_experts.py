# SPDX-License-Identifier: MIT
"""Experts in torch, as hivemind computes them, for comparison: made from a seed, written to skep's checkpoints and read from them, mixed without a network."""
import json
import os
import pathlib
import struct
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
if "hivemind" not in sys.modules:  # whoever imports this for its classes alone
    os.environ.setdefault("HIVEMIND_LOGLEVEL", "ERROR")

import hivemind  # noqa: E402, F401
import numpy as np  # noqa: E402
import safetensors.torch  # noqa: E402
import torch  # noqa: E402
from hivemind.compression import deserialize_torch_tensor, serialize_torch_tensor  # noqa: E402
from hivemind.moe.server.layers import name_to_block, name_to_input  # noqa: E402
from hivemind.proto.runtime_pb2 import CompressionType  # noqa: E402

torch.set_num_threads(1)
COMPRESSIONS = ["NONE", "MEANSTD_16BIT", "FLOAT16", "QUANTILE_8BIT", "UNIFORM_8BIT", "BLOCKWISE_8BIT"]


def seed_of(uid):
    """A server of either side gives an expert the same weights."""
    return sum(byte * 31**i for i, byte in enumerate(uid.encode())) % 2**31


def make(kind, hidden, uid):
    torch.manual_seed(seed_of(uid))
    module = name_to_block[kind](hidden)
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        elif isinstance(part, torch.nn.MultiheadAttention):
            part.dropout = 0.0
    for name, parameter in module.named_parameters():
        if "norm" in name:  # fresh ones are all 1 or 0, which hides a forgotten one
            parameter.data += 0.1 * torch.randn_like(parameter)
    return module


def inputs_for(kind, hidden, rows, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 128, hidden, generator=rng) if kind == "transformer" else torch.randn(rows, hidden, generator=rng)
    if kind == "transformer":
        mask = torch.rand(rows, 128, generator=rng) < 0.3
        mask[:, 0] = False  # a sample of which every key is ignored is NaN
        return [x, mask]
    if kind == "det_dropout":
        return [x, torch.randint(0, 2, (rows, hidden), generator=rng)]
    return [x]


def optimizer_of(name, module):
    classes = {"adam": torch.optim.Adam, "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01), "none": lambda _parameters: None}
    return classes[name](module.parameters())


def forward_backward(module, inputs, grad):
    """@return outputs, and gradients of the inputs: zeros for those that are not floating point."""
    inputs = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    module.zero_grad()
    y = module(*inputs)
    y.backward(grad)
    return y.detach(), [torch.zeros_like(x) if x.grad is None else x.grad for x in inputs]


def recoded(tensor, compression):
    """What is left of it after the wire."""
    return deserialize_torch_tensor(serialize_torch_tensor(tensor, CompressionType.Value(compression)))


def sample_inputs(kind, rows, hidden):
    return name_to_input[kind](rows, hidden)


# ---- comparisons ----


def off_by(a, b):
    """max |a - b| as a part of max |b|."""
    assert a.shape == b.shape and a.dtype == b.dtype, f"{a.shape} {a.dtype}, {b.shape} {b.dtype}"
    a, b = a.double(), b.double()
    largest = b.abs().max().item() if b.numel() else 0.0
    difference = (a - b).abs().max().item() if b.numel() else 0.0
    return difference / largest if largest > 0 else difference


def rms_off_by(a, b):
    assert a.shape == b.shape and a.dtype == b.dtype
    return ((a - b).pow(2).mean().sqrt() / b.pow(2).mean().sqrt()).item()


# ---- skep's checkpoints ----


def checkpoint_path(folder, uid):
    return pathlib.Path(folder) / uid / "checkpoint_last.safetensors"


def write_checkpoint(folder, uid, kind, hidden, module):
    path = checkpoint_path(folder, uid)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, parameter in module.named_parameters():
        tensors[f"module.{name}"] = parameter.detach().contiguous()
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"optimizer.{moment}.{name}"] = torch.zeros_like(parameter).detach()
    metadata = {"format": "skep-expert-1", "step": "0", "class": kind, "hidden": str(hidden), "optimizer": "adam", "uid": uid}
    safetensors.torch.save_file(tensors, path, metadata=metadata)


def read_checkpoint(folder, uid):
    """@return the tensors, and the metadata."""
    path = checkpoint_path(folder, uid)
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        metadata = json.loads(file.read(length))["__metadata__"]
    return safetensors.torch.load_file(path), metadata


# ---- tensors in files ----


def save(path, tensors):
    np.savez(path, **{f"t{i}": tensor.detach().numpy() for i, tensor in enumerate(tensors)})


def load(path):
    with np.load(path) as file:
        return [torch.from_numpy(file[f"t{i}"]) for i in range(len(file.files))]


# ---- a mixture without a network ----


class LocalMixture(torch.nn.Module):
    """RemoteMixtureOfExperts over a grid of which every cell is there, or its switch sibling without jitter and grid dropout."""

    def __init__(self, modules, prefix, grid, in_features, k_best, switch=False):
        super().__init__()
        self.experts, self.prefix, self.grid, self.k_best, self.switch = modules, prefix, grid, k_best, switch
        self.proj = torch.nn.Linear(in_features, sum(grid))

    def forward(self, x):
        scores = self.proj(x).split_with_sizes(self.grid, dim=-1)
        sums = scores[0][:, :, None] + scores[1][:, None, :]  # [batch, first, second]
        best = sums.detach().flatten(1).topk(self.k_best, dim=1).indices
        if self.switch:
            first, second = (torch.softmax(s, dim=-1) for s in scores)
            weights = (first[:, :, None] * second[:, None, :]).flatten(1).gather(1, best)
        else:
            weights = torch.softmax(sums.flatten(1).gather(1, best), dim=1)
        rows = []
        for i, row in enumerate(best.tolist()):
            uids = [f"{self.prefix}{cell // self.grid[1]}.{cell % self.grid[1]}" for cell in row]
            rows.append(sum(w * self.experts[uid](x[i : i + 1]) for w, uid in zip(weights[i], uids)))
        y = torch.cat(rows)
        return y + x if self.switch else y


def gate(in_features, grid, seed):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(sum(grid), in_features, generator=rng) / in_features**0.5, torch.randn(sum(grid), generator=rng) * 0.1
