# SPDX-License-Identifier: MIT
"""Checkpoints: Python's safetensors reads ours, and we read what it writes."""
import json
import pathlib
import struct
import subprocess
import urllib.parse

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from conftest import SKEP

PROGRAM = str(pathlib.Path(SKEP).parent / "tests" / "interop" / "checkpoint_program")
UIDS = ["fake.0.3", 'q"\\/é\n.7']


def run(command, folder, uid, optimizer="adam", hidden=5):
    return subprocess.run(
        [PROGRAM, command, str(folder), uid, optimizer, str(hidden)], capture_output=True, text=True, timeout=20
    )


def path_of(folder, uid):
    return folder / urllib.parse.quote(uid, safe="") / "checkpoint_last.safetensors"


def blocks(hidden, kinds=("module.", "optimizer.exp_avg.", "optimizer.exp_avg_sq."), first=1.0):
    """The program's own numbers."""
    tensors, at = {}, first
    for kind in kinds:
        for name, shape in (("scale", (hidden,)), ("bias", (hidden, 2))):
            count = torch.Size(shape).numel()
            tensors[kind + name] = torch.arange(at, at + count, dtype=torch.float32).reshape(shape)
            at += count
    return tensors


def notes(**changes):
    return {"format": "skep-expert-1", "class": "fake", "hidden": "5", "step": "7", "optimizer": "adam", **changes}


def write(folder, uid, tensors, metadata):
    path_of(folder, uid).parent.mkdir()
    save_file(tensors, path_of(folder, uid), metadata=metadata)


@pytest.mark.parametrize("uid", UIDS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_python_reads_what_we_save(tmp_path, uid, optimizer):
    assert run("save", tmp_path, uid, optimizer).returncode == 0
    expected = blocks(5) if optimizer == "adam" else blocks(5, ["module."])
    tensors = load_file(path_of(tmp_path, uid))
    assert tensors.keys() == expected.keys()
    for name in expected:
        assert torch.equal(tensors[name], expected[name]), name
    with safe_open(path_of(tmp_path, uid), framework="pt") as file:
        assert file.metadata() == notes(step="1005", optimizer=optimizer, uid=uid)


def test_our_headers_are_json_aligned_and_sorted_by_offset(tmp_path):
    assert run("save", tmp_path, UIDS[1]).returncode == 0
    raw = path_of(tmp_path, UIDS[1]).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    offsets = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    assert length % 8 == 0 and offsets == sorted(offsets) and len(raw) == 8 + length + offsets[-1][1]


@pytest.mark.parametrize("uid", UIDS)
def test_we_load_what_python_writes(tmp_path, uid):
    tensors = blocks(5, first=100.0)
    write(tmp_path, uid, tensors, notes())
    done = run("load", tmp_path, uid)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["step", "7"]
    assert {line[0]: [float(v) for v in line[1:]] for line in lines[1:]} == {
        name: tensor.flatten().tolist() for name, tensor in tensors.items()
    }


@pytest.mark.parametrize(
    "tensors, metadata, why",
    [
        (blocks(5), None, "it is no checkpoint of skep's: its format is not said"),
        (blocks(5), notes(**{"class": "ffn"}), "its class is ffn, not fake"),
        (blocks(6), notes(), "its tensor module.scale has another shape"),
        (blocks(5, ["module."]), notes(), "it lacks the tensors of Adam after 7 steps"),
        ({k: v.half() for k, v in blocks(5).items()}, notes(), "its tensor module.scale is of type F16, not F32"),
        ({**blocks(5), "more": torch.zeros(1)}, notes(), 'its class has no tensor "more"'),
    ],
)
def test_what_does_not_fit_is_refused_and_never_overwritten(tmp_path, tensors, metadata, why):
    write(tmp_path, "fake.1", tensors, metadata)
    before = path_of(tmp_path, "fake.1").read_bytes()
    done = run("load", tmp_path, "fake.1")
    assert done.returncode == 1
    assert done.stderr == f"{path_of(tmp_path, 'fake.1')}: {why}\n"
    if "Adam" not in why:  # whole, of this class and dimension: a new one may replace it
        assert run("save", tmp_path, "fake.1").returncode == 1
        assert path_of(tmp_path, "fake.1").read_bytes() == before


def test_weights_alone_begin_a_training(tmp_path):
    write(tmp_path, "fake.1", blocks(5, ["module."], first=3.0), notes(step="0"))
    done = run("load", tmp_path, "fake.1")
    assert done.returncode == 0, done.stderr
    assert "module.scale 3 4 5 6 7\n" in done.stdout and "optimizer.exp_avg.scale 0 0 0 0 0\n" in done.stdout
