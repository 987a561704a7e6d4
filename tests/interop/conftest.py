# SPDX-License-Identifier: MIT
"""Processes under test: real hivemind peers, and skep by its command line. Every answer has a time limit."""
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKEP = os.environ.get("SKEP", str(ROOT / "build" / "skep"))
PEER = str(pathlib.Path(__file__).with_name("hivemind_peer.py"))


class Process:
    """A child whose standard output is read line by line with a time limit."""

    def __init__(self, argv, log, **kwargs):
        self.log = open(log, "a")
        self.child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True, **kwargs
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.child.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def line(self, timeout):
        line = self.lines.get(timeout=timeout)
        if line is None:
            raise EOFError(f"process ended with {self.child.wait(5)}; see {self.log.name}")
        return line

    def kill(self):
        """End it and the children it made (hivemind's DHT process and its daemon), at once."""
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()
        self.log.close()


class HivemindPeer(Process):
    def __init__(self, log, **options):
        env = dict(os.environ, OMP_NUM_THREADS="1")
        super().__init__([sys.executable, PEER], log, env=env)
        started = self.do("start", timeout=60, **options)
        self.maddrs, self.peer_id = started["maddrs"], started["peer_id"]

    def do(self, command, timeout=60, **arguments):
        self.child.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self.child.stdin.flush()
        answer = json.loads(self.line(timeout))
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]


class SkepNode(Process):
    def __init__(self, log, *arguments, join=()):
        argv = [SKEP, "node", "--listen", "/ip4/127.0.0.1/tcp/0", *arguments]
        for maddr in join:
            argv += ["--join", maddr]
        super().__init__(argv, log)
        self.maddrs = [self.line(20).strip()]
        self.peer_id = self.maddrs[0].rsplit("/p2p/", 1)[1]


class SkepServer(Process):
    """skep serve, with the weights that torch_experts makes of the uids, by way of its own checkpoints."""

    def __init__(self, log, kind, uids, hidden, folder, *arguments, join=()):
        argv = [SKEP, "serve", "--listen", "/ip4/127.0.0.1/tcp/0", "--class", kind, "--hidden", str(hidden), "--expert-uids", *uids]
        argv += ["--checkpoint-dir", str(folder), "--update-period", "10s", *map(str, arguments)]
        for maddr in join:
            argv += ["--join", maddr]
        super().__init__(argv, log)
        self.uids, self.folder = uids, folder
        self.maddrs = [self.line(20).strip()]
        self.peer_id = self.maddrs[0].rsplit("/p2p/", 1)[1]

    def stop(self, timeout=20):
        """As a supervisor does. @return its exit code."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout)


class Swarm:
    """Starts peers and ends all of them."""

    def __init__(self, log):
        self.log, self.peers = str(log), []

    def hivemind(self, join=(), tries=3, **options):
        for attempt in range(tries):  # hivemind's own start times out now and then
            try:
                peer = HivemindPeer(self.log, initial_peers=[m for p in join for m in p.maddrs], **options)
                break
            except (RuntimeError, EOFError, queue.Empty):
                if attempt == tries - 1:
                    raise
        self.peers.append(peer)
        return peer

    def node(self, *arguments, join=()):
        peer = SkepNode(self.log, *arguments, join=[m for p in join for m in p.maddrs])
        self.peers.append(peer)
        return peer

    def serve(self, kind, uids, hidden, folder, *arguments, join=()):
        peer = SkepServer(self.log, kind, uids, hidden, folder, *arguments, join=[m for p in join for m in p.maddrs])
        self.peers.append(peer)
        return peer

    def skep(self, *arguments, join=(), timeout=60, code=0, stdin=None):
        """Run one skep command with --json; its parsed output."""
        argv = [SKEP, arguments[0], "--json"]
        for peer in join:
            for maddr in peer.maddrs:
                argv += ["--join", maddr]
        argv += map(str, arguments[1:])
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, input=stdin)
        assert done.returncode == code, f"{argv}: exit {done.returncode}: {done.stderr}"
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.strip().startswith(("{", "["))]
        if not lines and done.stdout.strip():
            lines = [json.loads(done.stdout)]
        return lines[0] if len(lines) == 1 else lines

    def close(self):
        for peer in self.peers:
            peer.kill()


@pytest.fixture
def swarm(tmp_path):
    swarm = Swarm(tmp_path / "peers.log")
    yield swarm
    swarm.close()


@pytest.fixture(scope="module")
def module_swarm(tmp_path_factory):
    swarm = Swarm(tmp_path_factory.mktemp("swarm") / "peers.log")
    yield swarm
    swarm.close()
