# SPDX-License-Identifier: MIT
"""examples/train_moe.c against the same model trained by torch in one process, without a network: the losses fall alike, also when a server goes half-way."""
import math
import re
import statistics
import subprocess

import torch
import torch_experts as experts
from conftest import ROOT

HIDDEN, SIDE, BATCH, STEPS, SEEDS = 32, 4, 128, 300, (1, 2, 3)


def train_over_the_network(*arguments):
    out = subprocess.run([str(ROOT / "build" / "examples" / "example_train_moe"), *arguments], capture_output=True, text=True, timeout=120, check=True).stdout
    return [float(loss) for loss in re.findall(r"step +\d+ +loss ([\d.]+)", out)]


def spirals(rng, lift):
    r, side = 0.2 + 0.8 * torch.rand(BATCH, generator=rng), (torch.rand(BATCH, generator=rng) >= 0.5).float()
    angle = 3 * math.pi * r + side * math.pi
    point = torch.stack([r * angle.cos(), r * angle.sin()], 1) + 0.04 * (torch.rand(BATCH, 2, generator=rng) - 0.5)
    return (point @ lift[:, :2].T + lift[:, 2]).cos(), side


def train_locally(seed):
    rng = torch.Generator().manual_seed(7)
    lift = (torch.rand(HIDDEN, 3, generator=rng) - 0.5) * torch.tensor([12, 12, 6.28])
    torch.manual_seed(seed)
    rng.manual_seed(seed)
    hosted = [experts.name_to_block["ffn"](HIDDEN) for _ in range(SIDE * SIDE)]
    theirs = [torch.optim.Adam(expert.parameters()) for expert in hosted]
    gate, head = torch.nn.Linear(HIDDEN, 2 * SIDE), torch.nn.Linear(HIDDEN, 1)
    ours = torch.optim.Adam([*gate.parameters(), *head.parameters()], lr=3e-3)
    losses = []
    for _ in range(STEPS):
        x, label = spirals(rng, lift)
        rows, columns = gate(x).split(SIDE, dim=1)
        scores = (rows[:, :, None] + columns[:, None, :]).flatten(1)
        best, chosen = scores.topk(2, dim=1)
        weights, y = best.softmax(1), torch.zeros(BATCH, HIDDEN)
        used = sorted(set(chosen.flatten().tolist()))
        for index in used:
            sample, place = (chosen == index).nonzero(as_tuple=True)
            y = y.index_add(0, sample, weights[sample, place, None] * hosted[index](x[sample]))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(y)[:, 0], label)
        for optimizer in [ours, *theirs]:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in [ours, *(theirs[index] for index in used)]:
            optimizer.step()
        losses.append(loss.item())
    tenth = STEPS // 10
    return [statistics.mean(losses[at : at + tenth]) for at in range(0, STEPS, tenth)]


def test_the_loss_falls_as_that_of_the_same_model_without_a_network():
    over = [train_over_the_network("--steps", str(STEPS), "--seed", str(seed)) for seed in SEEDS]
    local = [train_locally(seed) for seed in SEEDS]
    for at in (1, 4, 9):  # early, half-way, at the end
        a, b = [math.log(run[at] + 1e-4) for run in over], [math.log(run[at] + 1e-4) for run in local]
        noise = statistics.stdev(a) + statistics.stdev(b)
        assert abs(statistics.mean(a) - statistics.mean(b)) <= 2 * noise + math.log(1.5), (at, over, local)
    assert max(run[9] for run in over) < 0.02


def test_it_goes_on_while_a_third_of_the_servers_are_killed():
    losses = train_over_the_network("--steps", "600", "--servers", "3", "--kill", "1")
    assert losses[9] < 0.01
    assert losses[9] <= losses[4]  # and gets better after the kill
