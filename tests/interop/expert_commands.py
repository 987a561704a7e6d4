# SPDX-License-Identifier: MIT
"""What a hivemind peer does with experts: serve them, call them, mix them. Tensors cross in .npz files, made and read by torch_experts."""
import threading
import time

import torch
import torch_experts as experts
from hivemind.compression import serialize_torch_tensor
from hivemind.moe.client.expert import create_remote_experts, expert_backward, expert_forward
from hivemind.moe.client.moe import RemoteMixtureOfExperts
from hivemind.moe.client.remote_expert_worker import RemoteExpertWorker
from hivemind.moe.client.switch_moe import RemoteSwitchMixtureOfExperts
from hivemind.moe.expert_uid import ExpertInfo
from hivemind.moe.server import Server, get_experts
from hivemind.moe.server.module_backend import ModuleBackend
from hivemind.p2p import PeerID
from hivemind.proto.runtime_pb2 import CompressionType
from hivemind.utils import nested_flatten
from hivemind.utils.tensor_descr import BatchTensorDescriptor


class ExpertCommands:
    def __init__(self):
        self.dht, self.server, self.mixtures = None, None, {}

    # ---- serve ----

    def serve(self, kind, uids, hidden, optimizer="adam", compression="NONE"):
        """hivemind's own server; weights as torch_experts makes them of the uids."""
        sample = experts.sample_inputs(kind, 3, hidden)
        sample = sample if isinstance(sample, tuple) else (sample,)
        schema = tuple(
            BatchTensorDescriptor.from_tensor(x, CompressionType.Value(compression if x.is_floating_point() else "NONE")) for x in sample
        )
        backends = {}
        for uid in uids:
            module = experts.make(kind, hidden, uid)
            backends[uid] = ModuleBackend(
                name=uid, module=module, args_schema=schema, optimizer=experts.optimizer_of(optimizer, module), max_batch_size=16384
            )
        self.server = Server(self.dht, backends, num_connection_handlers=2, update_period=10, device=torch.device("cpu"))
        self.server.run_in_background(timeout=60)
        return True

    # ---- call ----

    def expert(self, uid, peer_id):
        if peer_id is None:
            return get_experts(self.dht, [uid])[0]
        return create_remote_experts([ExpertInfo(uid, PeerID.from_base58(peer_id))], self.dht)[0]

    def info(self, uid, peer_id=None):
        info = self.expert(uid, peer_id).info
        return {
            name: [[list(d.size), str(d.dtype), d.requires_grad, CompressionType.Name(d.compression)] for d in nested_flatten(info[name])]
            for name in ("forward_schema", "outputs_schema")
        } | {"keyword_names": list(info["keyword_names"])}

    def call(self, uid, inputs, outputs, peer_id=None, backward=True):
        """Inputs, and with backward the outputs' gradient after them. @return seconds; outputs, then gradients of the inputs, are in the file."""
        expert, tensors = self.expert(uid, peer_id), experts.load(inputs)
        grad = tensors.pop() if backward else None
        started = time.perf_counter()
        tensors = [x.requires_grad_(x.is_floating_point()) for x in tensors]
        y = expert(*tensors)
        if backward:
            y.backward(grad)
        experts.save(outputs, [y, *(torch.zeros_like(x) if x.grad is None else x.grad for x in tensors)] if backward else [y])
        return time.perf_counter() - started

    def backward_alone(self, uid, inputs, outputs, peer_id):
        """One backward, with no forward before it on the wire."""
        expert, tensors = self.expert(uid, peer_id), experts.load(inputs)
        schema = nested_flatten((expert.info["forward_schema"], expert.info["outputs_schema"]))
        coded = [serialize_torch_tensor(x, d.compression) for x, d in zip(tensors, schema)]
        experts.save(outputs, RemoteExpertWorker.run_coroutine(expert_backward(uid, tensors, coded, expert.stub)))
        return True

    def forward_raw(self, uid, inputs, peer_id):
        """What the expert says of itself is not asked for, nor are the inputs looked at. @return the outputs' shapes."""
        tensors = experts.load(inputs)
        coded = [serialize_torch_tensor(x, CompressionType.NONE) for x in tensors]
        outputs = RemoteExpertWorker.run_coroutine(expert_forward(uid, tensors, coded, self.expert(uid, peer_id).stub))
        return [list(y.shape) for y in outputs]

    def train(self, uid, inputs, steps, peer_id=None):
        """Squared error between what an expert says and a target, as the training of a bigger model would see it. @return the losses."""
        expert, (x, target) = self.expert(uid, peer_id), experts.load(inputs)
        losses = []
        for _ in range(steps):
            y = expert(x)
            loss = (y - target).pow(2).mean()
            loss.backward()
            losses.append(loss.item())
        return losses

    # ---- mix ----

    def mixture(self, name, prefix, grid, hidden, switch=False, **options):
        if switch:
            made = RemoteSwitchMixtureOfExperts(dht=self.dht, in_features=hidden, grid_size=tuple(grid), uid_prefix=prefix, jitter_eps=0.0, **options)
        else:
            made = RemoteMixtureOfExperts(dht=self.dht, in_features=hidden, grid_size=tuple(grid), uid_prefix=prefix, **options)
        self.mixtures[name] = made
        return True

    def mix(self, name, inputs, outputs):
        """x, gradient of y, gate weight, gate bias; out: y, gradients of x, weight and bias."""
        mixture, (x, grad, weight, bias) = self.mixtures[name], experts.load(inputs)
        mixture.proj.weight.data, mixture.proj.bias.data = weight, bias
        mixture.zero_grad()
        x.requires_grad_(True)
        y = mixture(x.clone())  # the switch's overwrites its input
        y = y[0] if isinstance(y, tuple) else y
        y.backward(grad)
        experts.save(outputs, [y, x.grad, mixture.proj.weight.grad, mixture.proj.bias.grad])
        return True

    def train_mixture(self, name, inputs, steps):
        """The gate learns here, the experts where they are. @return [loss, or None where too few experts answered] of each step."""
        mixture, (x, target) = self.mixtures[name], experts.load(inputs)
        optimizer = torch.optim.Adam(mixture.proj.parameters(), lr=1e-3)
        losses = []
        for _ in range(steps):
            try:
                loss = (mixture(x) - target).pow(2).mean()
                loss.backward()
            except (TimeoutError, RuntimeError):
                losses.append(None)
                continue
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    def later(self, what, **arguments):
        """Run another command beside what follows; collect() waits for it."""
        box = {}

        def run():
            try:
                box["ok"] = getattr(self, what)(**arguments)
            except Exception as error:  # noqa: BLE001
                box["error"] = repr(error)

        self.running = threading.Thread(target=run, daemon=True), box
        self.running[0].start()
        return True

    def collect(self, seconds=60):
        thread, box = self.running
        thread.join(seconds)
        return dict(box)
