# SPDX-License-Identifier: MIT
"""Experts: declared by one side, found by the other, in the same order."""
import json
import random

import pytest


@pytest.fixture(scope="module")
def grid_swarm(module_swarm):
    first = module_swarm.hivemind()
    node = module_swarm.node(join=[first])
    module_swarm.hivemind(join=[node])
    module_swarm.node(join=[first])
    return module_swarm, first, node


def random_uids(rng, name, grid, count):
    uids = {".".join([name, *(str(rng.randrange(size)) for size in grid)]) for _ in range(count)}
    return sorted(uids)


def random_scores(rng, grid):
    # Multiples of 1/8: ties are common, and every sum is exact in any precision.
    return [[rng.randrange(-16, 17) / 8 for _ in range(size)] for size in grid]


GRIDS = [([12], 7), ([64], 20), ([8, 8], 20), ([32, 32], 60), ([6, 6, 6], 60), ([16, 16, 16], 100), ([4, 4, 4, 4], 60)]


@pytest.mark.parametrize("side", ["hivemind", "skep"])
@pytest.mark.parametrize("grid,count", GRIDS, ids=lambda v: str(v))
def test_both_searchers_rank_the_same_experts_alike(grid_swarm, tmp_path, side, grid, count):
    swarm, first, node = grid_swarm
    rng = random.Random(f"{side} {grid}")
    name = f"{side[0]}{len(grid)}x{grid[0]}"
    uids = random_uids(rng, name, grid, count)
    if side == "hivemind":
        assert first.do("declare", uids=uids, ttl=600, timeout=120) > 0
    else:
        (tmp_path / "uids").write_text("\n".join(uids) + "\n")
        declarer = swarm.node(join=[first])  # so that the experts' peer stays alive
        swarm.skep("declare", "--file", tmp_path / "uids", "--ttl", "600", join=[declarer, node])
    for trial in range(8):
        scores = random_scores(rng, grid)
        beam = rng.choice([1, 2, 4, 8])
        theirs = first.do("find", prefix=name + ".", grid=grid, scores=scores, beam=beam, negative_caching=False, timeout=120)
        found = swarm.skep(
            "find", "--prefix", name + ".", "--grid", "x".join(map(str, grid)), "--scores", "-", "--beam", beam,
            "--no-negative-cache", join=[node], stdin=json.dumps(scores),
        )
        assert [[e["uid"], e["peer_id"]] for e in found["experts"]] == theirs, f"trial {trial}, scores {scores}"


def test_experts_of_either_side_are_looked_up_by_uid(grid_swarm):
    swarm, first, node = grid_swarm
    assert first.do("declare", uids=["byuid.0.1", "byuid.5.7"], ttl=120)
    said = swarm.skep("declare", "byskep.1.2", "byskep.3.4", "--ttl", "120", join=[first])
    ours = swarm.skep("experts", "byuid.0.1", "byuid.5.7", "byuid.9.9", join=[node], code=1)
    assert [row["peer_id"] for row in ours] == [first.peer_id, first.peer_id, None]
    theirs = first.do("experts", uids=["byskep.1.2", "byskep.3.4", "byskep.9.9"])
    assert theirs[0] == theirs[1] and theirs[0] is not None and theirs[2] is None
    assert said


def test_successors_of_a_prefix_are_those_declared(grid_swarm):
    swarm, first, node = grid_swarm
    assert first.do("declare", uids=["succ.1.2.3", "succ.1.5.0", "succ.2.0.0"], ttl=120)
    rows = swarm.skep("successors", "succ.1.", "succ.2.", "succ.3.", join=[node], code=0)
    assert [sorted(s["coordinate"] for s in row["successors"]) for row in rows] == [[2, 5], [0], []]
