# SPDX-License-Identifier: MIT
"""Makes mixture.json: what hivemind's mixtures compute on given numbers, forward and backward.

    python tests/vectors/generate_mixture.py > tests/vectors/mixture.json      (with hivemind 1.1.12 and torch)

The modules are hivemind's own, with the search and the remote calls replaced by tables. Of the switch mixture the two lines with the known
defects (the jitter in place, the utilization of the balancing loss; docs/wire.md h) are written out here as they are meant.
"""
import json

import torch
from hivemind.moe.client import moe
from hivemind.moe.client.moe import RemoteMixtureOfExperts
from hivemind.moe.client.switch_moe import RemoteSwitchMixtureOfExperts

PREFIX = "ffn."


class Expert:
    info = {"outputs_schema": None}

    def __init__(self, coordinates):
        self.coordinates = coordinates
        self.uid = PREFIX + ".".join(map(str, coordinates))


class Search:
    uid_prefix = PREFIX

    def __init__(self, grid, chosen):
        self.grid_size, self.total_grid_size, self.chosen = grid, sum(grid), chosen

    def batch_find_best_experts(self, scores, k_best):
        return self.chosen


def numbers(tensor):
    if tensor is None:
        return None
    return [float(f"{x:.9g}") for x in tensor.detach().reshape(-1).tolist()]


def draw_experts(grid, counts):
    """Different experts for each sample."""
    chosen = []
    for count in counts:
        row = set()
        while len(row) < count:
            row.add(tuple(int(torch.randint(size, ())) for size in grid))
        chosen.append([Expert(c) for c in sorted(row)])
    return chosen


def module_of(cls, grid, chosen, features):
    module = cls.__new__(cls)
    torch.nn.Module.__init__(module)
    module.beam_search = Search(grid, chosen)
    module.proj = torch.nn.Linear(features, sum(grid))
    module._expert_info = {"outputs_schema": None}
    module.k_best = module.k_min = module.backward_k_min = 1
    module.forward_timeout = module.backward_timeout = module.timeout_after_k_min = None
    module.detect_anomalies = module.allow_zero_outputs = False
    return module


def make_case(seed, grid, counts, features, shape, missing):
    torch.manual_seed(seed)
    chosen = draw_experts(grid, counts)
    batch, columns = len(counts), max(counts)
    mask = torch.tensor([[j < counts[i] and (i, j) not in missing for j in range(columns)] for i in range(batch)])
    outputs = torch.randn(batch, columns, *shape) * mask.reshape(batch, columns, *[1] * len(shape))
    return {
        "grid": list(grid),
        "features": features,
        "batch": batch,
        "columns": columns,
        "out_features": outputs[0, 0].numel(),
        "coordinates": [[e.coordinates for e in row] + [None] * (columns - len(row)) for row in chosen],
        "answered": [[bool(x) for x in row] for row in mask.tolist()],
    }, chosen, mask, outputs.requires_grad_()


def mixture_case(seed, grid, counts, features, middle, shape, missing):
    case, chosen, mask, outputs = make_case(seed, grid, counts, features, shape, missing)
    module = module_of(RemoteMixtureOfExperts, grid, chosen, features)
    input = torch.randn(len(counts), *middle, features, requires_grad=True)
    moe._RemoteCallMany.apply = lambda *args: (mask, outputs)
    with torch.no_grad():
        x = input.mean(dim=tuple(range(1, input.ndim - 1))) if middle else input
        scores = module.proj(x)
        logits = module.compute_expert_scores(scores.split_with_sizes(grid, dim=-1), chosen)
        weights = torch.softmax(logits.masked_fill(~mask, -float("inf")), dim=1)
    mixed = module(input)
    grad = torch.randn_like(mixed)
    mixed.backward(grad)
    case.update(
        middle=torch.Size(middle).numel(),
        input=numbers(input), weight=numbers(module.proj.weight), bias=numbers(module.proj.bias), outputs=numbers(outputs),
        scores=numbers(scores), weights=numbers(weights), mixed=numbers(mixed), grad=numbers(grad),
        grad_outputs=numbers(outputs.grad), grad_input=numbers(input.grad),
        grad_weight=numbers(module.proj.weight.grad), grad_bias=numbers(module.proj.bias.grad),
    )
    return case


def switch_case(seed, grid, counts, features, missing, keep, grad_loss):
    case, chosen, mask, outputs = make_case(seed, grid, counts, features, (features,), missing)
    module = module_of(RemoteSwitchMixtureOfExperts, grid, chosen, features)
    input = torch.randn(len(counts), features, requires_grad=True)
    noise = torch.empty(len(counts), features).uniform_(0.9, 1.1)
    kept = torch.rand(sum(grid)) < keep
    for size, at in zip(grid, torch.tensor([0] + list(grid)).cumsum(0)):
        kept[at] = True  # a dimension with nothing left is NaN in hivemind
    module.grid_utilization = torch.cat([torch.full((size,), 1 / size) for size in grid])
    old = torch.rand(sum(grid))
    module.grid_utilization = torch.cat([part / part.sum() for part in old.split(list(grid))])
    before = module.grid_utilization.clone()

    scores = module.proj(input * noise)  # hivemind: input *= noise
    dropped = torch.where(kept, scores, torch.full((1,), float("-inf")))
    softmaxes = [torch.softmax(part, dim=-1) for part in dropped.split_with_sizes(grid, dim=-1)]
    module.grid_utilization = 0.9 * module.grid_utilization + (1 - 0.9) * module._compute_batch_utilization(chosen, mask)
    probs = module.compute_expert_scores(softmaxes, chosen)
    weights = torch.where(mask, probs, torch.zeros((1,)))
    mixed = (weights[..., None] * outputs).sum(dim=1) + input
    loss = sum(
        torch.mean(softmax.mean(0) * use) * size**2  # hivemind: zip(…, self.grid_utilization, …)
        for softmax, use, size in zip(softmaxes, module.grid_utilization.split(list(grid)), grid)
    )
    grad = torch.randn_like(mixed)
    ((mixed * grad).sum() + grad_loss * loss).backward()
    case.update(
        middle=1, grad_loss=grad_loss,
        input=numbers(input), weight=numbers(module.proj.weight), bias=numbers(module.proj.bias), outputs=numbers(outputs),
        noise=numbers(noise), kept=[bool(k) for k in kept], utilization_before=numbers(before),
        utilization=numbers(module.grid_utilization), probabilities=numbers(torch.cat(softmaxes, dim=-1)),
        weights=numbers(weights), mixed=numbers(mixed), loss=loss.item(), grad=numbers(grad),
        grad_outputs=numbers(outputs.grad), grad_input=numbers(input.grad),
        grad_weight=numbers(module.proj.weight.grad), grad_bias=numbers(module.proj.bias.grad),
    )
    return case


def main():
    print(json.dumps({
        "mixture": [
            mixture_case(1, (3, 4), [3, 3, 2, 3, 1], 6, (), (7,), {(0, 1), (3, 0), (3, 2)}),
            mixture_case(2, (5, 2, 3), [4, 4, 4], 5, (3,), (2, 4), {(1, 3)}),
            mixture_case(3, (9,), [1, 2], 20, (2, 2), (3,), set()),
            mixture_case(4, (4, 4), [4] * 6, 17, (), (19,), set()),
        ],
        "switch": [
            switch_case(5, (3, 4), [1, 1, 1, 1, 1], 6, set(), 1.0, 0.5),
            switch_case(6, (4, 3, 2), [2, 1, 2, 2], 9, {(0, 0), (1, 0)}, 0.7, 1.25),
            switch_case(7, (6,), [1, 1, 1], 4, {(1, 0)}, 0.5, 0.0),
        ],
    }, separators=(",", ":")))


main()
