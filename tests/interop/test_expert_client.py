# SPDX-License-Identifier: MIT
"""skep call against hivemind's own server: what it gets is what torch computes, in each compression that the server asks for."""
import numpy as np
import pytest
import torch
import torch_experts as experts

HIDDEN, ROWS = 256, (5, 3000)  # one message, and a stream
# As in test_expert_calls: root mean square, half of it the codec's own loss.
LOSS = {"NONE": 1e-5, "MEANSTD_16BIT": 1e-3, "FLOAT16": 1e-3, "QUANTILE_8BIT": 0.08, "UNIFORM_8BIT": 0.05, "BLOCKWISE_8BIT": 0.03}


@pytest.fixture(scope="module", params=experts.COMPRESSIONS)
def server(request, module_swarm):
    if request.param == "BLOCKWISE_8BIT":
        pytest.importorskip("bitsandbytes", reason="hivemind needs it for this compression")
    peer = module_swarm.hivemind()
    peer.do("serve", kind="ffn", uids=[f"ffn.{rows}" for rows in ROWS], hidden=HIDDEN, optimizer="none", compression=request.param, timeout=90)
    peer.compression = request.param
    return peer


@pytest.fixture
def skep_call(module_swarm, server, tmp_path):
    def call(uid, x, grad=None, code=0):
        np.save(tmp_path / "x.npy", x.numpy())
        arguments = ["--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"]
        if grad is not None:
            np.save(tmp_path / "grad.npy", grad.numpy())
            arguments += ["--backward", tmp_path / "grad.npy"]
        said = module_swarm.skep("call", uid, *arguments, join=[server], code=code)
        return said, torch.from_numpy(np.load(tmp_path / "y.npy")) if code == 0 else None

    return call


@pytest.mark.parametrize("rows", ROWS)
def test_a_forward_is_torchs(skep_call, server, rows):
    uid = f"ffn.{rows}"
    (x,) = experts.inputs_for("ffn", HIDDEN, rows, seed=rows)
    _, y = skep_call(uid, x)
    with torch.no_grad():
        expected = experts.make("ffn", HIDDEN, uid)(experts.recoded(x, server.compression))
    # hivemind sends outputs as they are. Of its inputs a few of a million are on the border of two steps, and their means are sums of many: torch's order
    # of adding them is its own.
    assert experts.rms_off_by(y, expected) <= (1e-3 if server.compression in ("QUANTILE_8BIT", "UNIFORM_8BIT") else LOSS["NONE"])


@pytest.mark.parametrize("rows", ROWS)
def test_a_backward_is_torchs(skep_call, server, rows):
    uid = f"ffn.{rows}"
    (x,), grad = experts.inputs_for("ffn", HIDDEN, rows, seed=rows), experts.inputs_for("ffn", HIDDEN, rows, seed=rows + 1)[0]
    _, x_grad = skep_call(uid, x, grad)
    _, (expected,) = experts.forward_backward(experts.make("ffn", HIDDEN, uid), [experts.recoded(x, server.compression)], grad)
    assert experts.rms_off_by(x_grad, expected) <= LOSS[server.compression]


def test_what_an_expert_says_of_itself_is_shown(module_swarm, server):
    info = module_swarm.skep("call", f"ffn.{ROWS[0]}", "--info", join=[server])
    assert info["inputs"][0]["shape"][-1] == HIDDEN and info["inputs"][0]["dtype"] == "float32"
    assert info["inputs"][0]["compression"] == server.compression and info["outputs"][0]["compression"] == "NONE"


def test_hiveminds_words_of_what_went_wrong_are_shown(module_swarm, server, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20000, HIDDEN), np.float32))
    argv = ["call", f"ffn.{ROWS[0]}", "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"]
    with pytest.raises(AssertionError, match="max_batch_size"):
        module_swarm.skep(*argv, join=[server], timeout=30)
    assert not (tmp_path / "y.npy").exists()
