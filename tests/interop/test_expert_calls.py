# SPDX-License-Identifier: MIT
"""hivemind's RemoteExpert against skep serve: what it answers is what torch computes with the same weights, in every form that tensors travel in."""
import time

import pytest
import torch
import torch_experts as experts

HIDDEN = {"ffn": 256, "transformer": 64, "det_dropout": 128, "nop": 1024}
OPTIONS = {"transformer": ["--class-options", "dropout=0"]}
# Unary up to 2 MiB of inputs, a stream above; 3000 rows of nop are three parts of 4 MiB.
ROWS = {"ffn": (1, 7, 3000), "transformer": (2, 70), "det_dropout": (5, 2000), "nop": (1, 512, 513, 3000)}
CLOSE = 1e-5
CASES = [(kind, rows) for kind, counts in ROWS.items() for rows in counts]
# How far off a codec may be, root mean square: half of it is its own loss of a normal tensor.
LOSS = {"NONE": 1e-5, "MEANSTD_16BIT": 1e-3, "FLOAT16": 1e-3, "QUANTILE_8BIT": 0.08, "UNIFORM_8BIT": 0.05, "BLOCKWISE_8BIT": 0.03}


@pytest.fixture(autouse=True)
def same_numbers_each_time():
    torch.manual_seed(1)


def checkpoints(folder, kind, uids):
    for uid in uids:
        experts.write_checkpoint(folder, uid, kind, HIDDEN[kind], experts.make(kind, HIDDEN[kind], uid))
    return folder


@pytest.fixture(scope="module")
def client(module_swarm):
    return module_swarm.hivemind()


@pytest.fixture(scope="module")
def servers(module_swarm, client, tmp_path_factory):
    """One of each class, made when it is first asked for; an expert for each case, since a backward changes it."""
    started = {}

    def server(kind):
        if kind not in started:
            uids = [f"{kind}.{rows}" for rows in ROWS[kind]]
            folder = checkpoints(tmp_path_factory.mktemp(kind), kind, uids)
            started[kind] = module_swarm.serve(kind, uids, HIDDEN[kind], folder, *OPTIONS.get(kind, []), join=[client])
        return started[kind]

    return server


def call(client, tmp_path, uid, inputs, grad=None, peer=None):
    experts.save(tmp_path / "in.npz", inputs if grad is None else [*inputs, grad])
    arguments = {"peer_id": peer.peer_id} if peer else {}
    client.do("call", uid=uid, inputs=str(tmp_path / "in.npz"), outputs=str(tmp_path / "out.npz"), backward=grad is not None, **arguments)
    y, *grads = experts.load(tmp_path / "out.npz")
    return y, grads


@pytest.mark.parametrize("kind,rows", CASES)
def test_outputs_and_gradients_are_torchs(servers, client, tmp_path, kind, rows):
    server, uid = servers(kind), f"{kind}.{rows}"
    inputs = experts.inputs_for(kind, HIDDEN[kind], rows, seed=rows)
    grad = torch.randn_like(inputs[0])
    y, grads = call(client, tmp_path, uid, inputs, grad, server)
    expected, expected_grads = experts.forward_backward(experts.make(kind, HIDDEN[kind], uid), inputs, grad)
    assert experts.off_by(y, expected) <= CLOSE
    for ours, theirs in zip(grads, expected_grads, strict=True):
        assert experts.off_by(ours, theirs) <= CLOSE


@pytest.mark.parametrize("kind", ROWS)
def test_experts_say_of_themselves_what_hivemind_says(servers, client, kind):
    server, sample = servers(kind), experts.sample_inputs(kind, 3, HIDDEN[kind])
    sample = sample if isinstance(sample, tuple) else (sample,)
    info = client.do("info", uid=server.uids[0], peer_id=server.peer_id)
    schema = [[[None, *x.shape[1:]], str(x.dtype), False, "NONE"] for x in sample]
    assert [[[None, *size[1:]], *rest] for size, *rest in info["forward_schema"]] == schema
    assert [[[None, *size[1:]], dtype] for size, dtype, *_ in info["outputs_schema"]] == [schema[0][:2]]
    assert info["keyword_names"] == []


def test_an_expert_is_found_in_the_dht(servers, client, tmp_path):
    server = servers("nop")
    deadline = time.monotonic() + 20
    while None in client.do("experts", uids=server.uids) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert client.do("experts", uids=server.uids) == [server.peer_id] * len(server.uids)
    x = torch.randn(3, HIDDEN["nop"])
    assert torch.equal(call(client, tmp_path, "nop.1", [x])[0], x)


# ---- compressions ----


@pytest.mark.parametrize("compression", experts.COMPRESSIONS)
@pytest.mark.parametrize("rows", [40, 3000])
def test_each_compression_loses_no_more_than_its_codec(swarm_of_compressions, client, tmp_path, compression, rows):
    server = swarm_of_compressions(compression)
    uid = f"ffn.{rows}"
    x, grad = experts.inputs_for("ffn", HIDDEN["ffn"], rows, seed=1)[0], torch.randn(rows, HIDDEN["ffn"])
    info = client.do("info", uid=uid, peer_id=server.peer_id)
    assert info["forward_schema"][0][3] == compression
    try:
        y, (x_grad,) = call(client, tmp_path, uid, [x], grad, server)
    except RuntimeError as error:
        if "bitsandbytes" in str(error):
            pytest.skip("hivemind needs bitsandbytes for it")
        raise
    arrived, back = experts.recoded(x, compression), experts.recoded(grad, info["outputs_schema"][0][3])
    expected, (expected_grad,) = experts.forward_backward(experts.make("ffn", HIDDEN["ffn"], uid), [arrived], back)
    assert experts.rms_off_by(y, expected) <= LOSS[info["outputs_schema"][0][3]]
    assert experts.rms_off_by(x_grad, expected_grad) <= LOSS[compression]


@pytest.fixture(scope="module")
def swarm_of_compressions(module_swarm, client, tmp_path_factory):
    started = {}

    def server(compression):
        if compression not in started:
            folder = checkpoints(tmp_path_factory.mktemp(compression), "ffn", ["ffn.40", "ffn.3000"])
            arguments = ["--compression", compression, "--optimizer", "none"]
            started[compression] = module_swarm.serve("ffn", ["ffn.40", "ffn.3000"], HIDDEN["ffn"], folder, *arguments, join=[client])
        return started[compression]

    return server


# ---- bad input ----


def nan_of(shape):
    x = torch.randn(*shape)
    x[0, 0] = float("nan")
    return x


BAD = {
    "an unknown uid": ("nop.77", torch.randn(2, 1024), "nop.77"),
    "a wrong shape": ("nop.1", torch.randn(2, 1000), "1000"),
    "a wrong dtype": ("nop.1", torch.randint(0, 9, (2, 1024)), "int64"),
    "NaN": ("nop.1", nan_of((2, 1024)), ""),
    "infinity": ("nop.1", torch.full((2, 1024), float("inf")), ""),
    "a batch above the largest": ("nop.1", torch.zeros(20000, 1024), "16384"),
    "no rows": ("nop.1", torch.zeros(0, 1024), ""),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_request_is_told_why_and_the_server_goes_on(servers, client, tmp_path, what):
    server, (uid, x, word) = servers("nop"), BAD[what]
    experts.save(tmp_path / "bad.npz", [x])
    with pytest.raises(RuntimeError) as error:
        client.do("forward_raw", uid=uid, inputs=str(tmp_path / "bad.npz"), peer_id=server.peer_id, timeout=30)
    assert "P2PHandlerError" in str(error.value), "not the server's words"
    assert word in str(error.value)
    y = torch.randn(2, 1024)
    assert torch.equal(call(client, tmp_path, "nop.1", [y], peer=server)[0], y)


# ---- training ----


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_lowers_the_loss_as_hiveminds_server_does(swarm, tmp_path, optimizer):
    hidden, uid, steps = 64, "ffn.5", 20
    theirs = swarm.hivemind()
    theirs.do("serve", kind="ffn", uids=[uid], hidden=hidden, optimizer=optimizer, timeout=90)
    experts.write_checkpoint(tmp_path / "c", uid, "ffn", hidden, experts.make("ffn", hidden, uid))
    ours = swarm.serve("ffn", [uid], hidden, tmp_path / "c", "--optimizer", optimizer, "--no-declare", join=[theirs])
    client = swarm.hivemind(join=[theirs, ours])
    x, target = torch.randn(32, hidden), torch.randn(32, hidden)
    experts.save(tmp_path / "in.npz", [x, target])
    curves = [client.do("train", uid=uid, inputs=str(tmp_path / "in.npz"), steps=steps, peer_id=peer.peer_id) for peer in (theirs, ours)]
    assert curves[0][-1] < curves[0][0] and curves[1][-1] < curves[1][0]
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)


# ---- stopping ----


def test_a_server_that_is_told_to_stop_answers_what_it_has_and_keeps_what_it_learned(swarm, tmp_path):
    hidden, uid, rows = 1024, "ffn.1", 2048
    client = swarm.hivemind()
    experts.write_checkpoint(tmp_path / "c", uid, "ffn", hidden, experts.make("ffn", hidden, uid))
    server = swarm.serve("ffn", [uid], hidden, tmp_path / "c", join=[client])
    x, grad = torch.randn(rows, hidden), torch.randn(rows, hidden)
    call(client, tmp_path, uid, [x[:1]], peer=server)
    experts.save(tmp_path / "in.npz", [x, grad])
    arguments = {"uid": uid, "inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / "out.npz"), "peer_id": server.peer_id}
    experts.save(tmp_path / "forward.npz", [x])
    client.do("call", **(arguments | {"inputs": str(tmp_path / "forward.npz"), "backward": False}))
    client.do("later", what="backward_alone", **arguments)
    time.sleep(0.05)
    assert server.stop() == 0
    assert "ok" in client.do("collect", seconds=30)
    (x_grad,) = experts.load(tmp_path / "out.npz")
    assert x_grad.shape == x.shape and x_grad.abs().max() > 0
    tensors, metadata = experts.read_checkpoint(tmp_path / "c", uid)
    assert metadata["step"] == "1" and metadata["class"] == "ffn" and metadata["hidden"] == str(hidden) and metadata["uid"] == uid
    assert tensors["optimizer.exp_avg_sq.ffn.weight"].max() > 0


def test_a_server_goes_on_where_its_checkpoint_ends(swarm, tmp_path):
    hidden, uid = 64, "ffn.2"
    client = swarm.hivemind()
    x, target = torch.randn(16, hidden), torch.randn(16, hidden)
    experts.save(tmp_path / "in.npz", [x, target])
    losses = []
    experts.write_checkpoint(tmp_path / "c", uid, "ffn", hidden, experts.make("ffn", hidden, uid))
    for _ in range(2):
        server = swarm.serve("ffn", [uid], hidden, tmp_path / "c", join=[client])
        losses += client.do("train", uid=uid, inputs=str(tmp_path / "in.npz"), steps=5, peer_id=server.peer_id)
        assert server.stop() == 0
    tensors, metadata = experts.read_checkpoint(tmp_path / "c", uid)
    assert metadata["format"] == "skep-expert-1" and metadata["step"] == "10"

    module = experts.make("ffn", hidden, uid)
    names = {f"module.{name}" for name, _ in module.named_parameters()}
    assert names <= set(tensors)
    optimizer, expected = torch.optim.Adam(module.parameters()), []
    for _ in range(10):  # in one go, here
        loss = (module(x) - target).pow(2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, rel=1e-3)
    for name, parameter in module.named_parameters():
        assert (tensors[f"module.{name}"] - parameter).abs().max() <= 2e-3, name  # two steps' worth: Adam's first steps go by signs
