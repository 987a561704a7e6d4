# SPDX-License-Identifier: MIT
"""Mixtures across the two sides: hivemind's over skep's servers, over mixed servers in one grid, and skep's over hivemind's, all against torch alone."""
import json
import os
import pathlib
import subprocess
import time

import numpy as np
import pytest
import torch
import torch_experts as experts
from conftest import SKEP

HIDDEN, GRID, BATCH = 32, (4, 4), 12
UIDS = [f"ffn.{i}.{j}" for i in range(GRID[0]) for j in range(GRID[1])]
PEER = os.environ.get("MIXTURE_PEER", str(pathlib.Path(SKEP).parent / "tests" / "interop" / "mixture_peer"))
CLOSE = 1e-5
KINDS = [("softmax", 4), ("softmax", 1), ("switch", 1), ("switch", 2)]


@pytest.fixture(scope="module")
def local():
    return {uid: experts.make("ffn", HIDDEN, uid) for uid in UIDS}


def serve_skep(swarm, folder, local, uids, join, *arguments):
    for uid in uids:
        experts.write_checkpoint(folder, uid, "ffn", HIDDEN, local[uid])
    return swarm.serve("ffn", uids, HIDDEN, folder, "--optimizer", "none", *arguments, join=join)


@pytest.fixture(scope="module", params=["skep", "mixed"])
def grid(request, module_swarm, local, tmp_path_factory):
    """The whole grid on two servers, and a hivemind client. Without an optimizer: hivemind makes a call for each sample, and each would be a step."""
    client = module_swarm.hivemind()
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "mixed":
        first = module_swarm.hivemind(join=[client])
        first.do("serve", kind="ffn", uids=UIDS[::2], hidden=HIDDEN, optimizer="none", timeout=90)
    else:
        first = serve_skep(module_swarm, folder, local, UIDS[::2], [client])
    serve_skep(module_swarm, folder, local, UIDS[1::2], [client, first])
    wait_for_all(client)
    return module_swarm, client


def wait_for_all(client, uids=UIDS, seconds=30):
    deadline = time.monotonic() + seconds
    while None in client.do("experts", uids=uids):
        assert time.monotonic() < deadline, "not every expert was declared"
        time.sleep(0.5)


def work(kind, k_best, local, seed):
    """@return x, the output's gradient, the gate; and what torch alone makes of it: y, gradients of x, weight, bias."""
    weight, bias = experts.gate(HIDDEN, GRID, seed)
    x, grad = (experts.inputs_for("ffn", HIDDEN, BATCH, seed + i)[0] for i in (1, 2))
    mixture = experts.LocalMixture(local, "ffn.", GRID, HIDDEN, k_best, switch=kind == "switch")
    mixture.proj.weight.data, mixture.proj.bias.data = weight.clone(), bias.clone()
    leaf = x.clone().requires_grad_(True)
    y = mixture(leaf)
    y.backward(grad)
    return [x, grad, weight, bias], [y.detach(), leaf.grad, mixture.proj.weight.grad, mixture.proj.bias.grad]


def assert_close(ours, theirs):
    for name, a, b in zip(("y", "x_grad", "weight_grad", "bias_grad"), ours, theirs, strict=True):
        assert experts.off_by(a, b) <= CLOSE, name


@pytest.mark.parametrize("kind,k_best", KINDS)
def test_hiveminds_mixture_over_skeps_servers_is_torchs(grid, tmp_path, local, kind, k_best):
    _, client = grid
    given, expected = work(kind, k_best, local, seed=10 * k_best)
    experts.save(tmp_path / "in.npz", given)
    client.do("mixture", name="m", prefix="ffn.", grid=GRID, hidden=HIDDEN, k_best=k_best, switch=kind == "switch")
    client.do("mix", name="m", inputs=str(tmp_path / "in.npz"), outputs=str(tmp_path / "out.npz"), timeout=90)
    assert_close(experts.load(tmp_path / "out.npz"), expected)


# ---- skep's mixture ----


def skep_mixture(folder, kind, k_best, given, peers):
    for name, tensor in zip(("x", "grad", "weight", "bias"), given):
        tensor.numpy().astype(np.float32).tofile(folder / f"{name}.f32")
    argv = [PEER, folder, kind, "ffn.", "x".join(map(str, GRID)), HIDDEN, BATCH, k_best, *(m for p in peers for m in p.maddrs)]
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    shapes = {"y": (BATCH, HIDDEN), "x_grad": (BATCH, HIDDEN), "weight_grad": (sum(GRID), HIDDEN), "bias_grad": (sum(GRID),)}
    return [torch.from_numpy(np.fromfile(folder / f"{name}.f32", np.float32).reshape(shape)) for name, shape in shapes.items()], json.loads(done.stdout)


@pytest.fixture(scope="module")
def hivemind_grid(module_swarm, local):
    """The whole grid on two hivemind servers."""
    servers = []
    for half in (0, 1):
        server = module_swarm.hivemind(join=servers)
        server.do("serve", kind="ffn", uids=UIDS[half::2], hidden=HIDDEN, optimizer="none", timeout=90)
        servers.append(server)
    client = module_swarm.hivemind(join=servers)
    wait_for_all(client)
    return servers, client


@pytest.mark.parametrize("kind,k_best", KINDS)
def test_skeps_mixture_over_hiveminds_servers_is_hiveminds(hivemind_grid, tmp_path, local, kind, k_best):
    servers, client = hivemind_grid
    given, expected = work(kind, k_best, local, seed=10 * k_best + 5)
    ours, report = skep_mixture(tmp_path, kind, k_best, given, servers)
    assert_close(ours, expected)
    assert report["failed"] == 0 and report["forward_calls"] <= min(len(UIDS), BATCH * k_best)
    experts.save(tmp_path / "in.npz", given)
    client.do("mixture", name="m", prefix="ffn.", grid=GRID, hidden=HIDDEN, k_best=k_best, switch=kind == "switch")
    client.do("mix", name="m", inputs=str(tmp_path / "in.npz"), outputs=str(tmp_path / "out.npz"), timeout=90)
    assert_close(ours, experts.load(tmp_path / "out.npz"))


# ---- servers that die ----


def test_a_hivemind_mixture_trains_on_when_a_server_is_killed(swarm, local, tmp_path):
    client = swarm.hivemind()
    servers = []
    for part in range(3):
        for uid in UIDS[part::3]:
            experts.write_checkpoint(tmp_path / "c", uid, "ffn", HIDDEN, local[uid])
        servers.append(swarm.serve("ffn", UIDS[part::3], HIDDEN, tmp_path / "c", join=[client, *servers]))
    wait_for_all(client)
    x, target = torch.randn(BATCH, HIDDEN), torch.randn(BATCH, HIDDEN)
    experts.save(tmp_path / "in.npz", [x, target])
    client.do("mixture", name="m", prefix="ffn.", grid=GRID, hidden=HIDDEN, k_best=4, forward_timeout=3, backward_timeout=3, timeout_after_k_min=1)
    train = {"what": "train_mixture", "name": "m", "inputs": str(tmp_path / "in.npz")}
    client.do("later", steps=6, **train)
    before = client.do("collect", seconds=60, timeout=70)["ok"]
    servers[1].kill()
    client.do("later", steps=8, **train)
    after = client.do("collect", seconds=120, timeout=130)["ok"]
    assert None not in before and before[-1] < before[0]
    lived = [loss for loss in after if loss is not None]
    assert len(lived) >= 6 and lived[-1] < before[0]
