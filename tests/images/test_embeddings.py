"""The table of embeddings: kept by content, appended in blocks, whole after any kill."""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alctl.errors import AlctlError
from alctl.images.embeddings import Embeddings, Key, as_digests, folder_of, stored_digests
from tests.project_files import ENVIRONMENT

KEY = Key("some-network", "f" * 64, {"size": 224, "mean": [127.0]}, 6)


def digests(*numbers: int):
    return as_digests([hashlib.sha256(str(number).encode()).digest() for number in numbers])


def vectors(*numbers: int) -> np.ndarray:
    """Return rows that float16 holds exactly, each other than all others."""
    rows = [[number + 1, number / 4, 0, 1, 2, 3] for number in numbers]
    return np.array(rows, np.float32).reshape(-1, 6)


def write(table: Embeddings, *numbers: int, block: int = 4) -> None:
    with table.writing(block) as writer:
        for number in numbers:
            writer.append(digests(number), vectors(number))


def test_vectors_are_found_by_content_in_the_order_asked_for(tmp_path):
    table = Embeddings(tmp_path, KEY)
    assert table.rows(digests(1, 2)).tolist() == [-1, -1]
    write(table, *range(10))
    found = table.vectors(digests(7, 0, 7, 3))
    assert found.dtype == np.float32
    assert np.array_equal(found, vectors(7, 0, 7, 3))
    assert (table.rows(digests(99, 3)) >= 0).tolist() == [False, True]
    again = Embeddings(tmp_path, KEY)
    assert len(again) == 10
    assert [len(part) for part in again.blocks(digests(*range(10)), 4)] == [4, 4, 2]
    assert np.array_equal(np.concatenate(list(again.blocks(digests(*range(10)), 3))), vectors(*range(10)))
    with pytest.raises(KeyError):
        again.vectors(digests(1, 99))
    assert again.vectors(digests()).shape == (0, 6)


def test_digests_that_end_in_zeros_are_told_apart(tmp_path):
    table = Embeddings(tmp_path, KEY)
    odd = as_digests([b"a" + bytes(31), b"a" * 31 + bytes(1), bytes(32), b"b" * 32])
    with table.writing() as writer:
        writer.append(odd, vectors(0, 1, 2, 3))
    assert np.array_equal(Embeddings(tmp_path, KEY).vectors(odd[::-1]), vectors(3, 2, 1, 0))


@pytest.mark.parametrize(
    "change",
    [{"backbone": "other"}, {"weights": "0" * 64}, {"preprocessing": {"size": 112, "mean": [127.0]}}, {"dimension": 7}],
    ids=str,
)  # fmt: skip
def test_another_key_is_another_table(tmp_path, change):
    write(Embeddings(tmp_path, KEY), 1, 2, 3)
    other = Embeddings(tmp_path, Key(**{**vars(KEY), **change}))
    assert len(other) == 0
    assert other.folder != folder_of(tmp_path, KEY.digest)


def test_a_key_that_went_through_json_is_the_same(tmp_path):
    table = Embeddings(tmp_path, KEY)
    write(table, 1)
    told = json.loads((table.folder / "table.json").read_text())
    assert Key(**told["key"]).digest == KEY.digest
    assert told["rows"] == 1


def test_float16_changes_a_cosine_by_at_most_4e_5(tmp_path):
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.01, 5, (200, 1))
    given = np.asarray(np.maximum(rng.normal(0, 1, (200, 1280)), 0) * scales, np.float32)
    key = Key("net", "", {}, 1280)
    table = Embeddings(tmp_path, key)
    with table.writing() as writer:
        writer.append(digests(*range(200)), given)
    stored = table.vectors(digests(*range(200)))

    def cosines(rows):
        unit = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        return unit @ unit.T

    error = np.abs(cosines(stored) - cosines(given)).max()
    assert 0 < error <= 4e-5


def test_zero_and_not_finite_vectors_are_marked_and_counted(tmp_path):
    rows = vectors(*range(6))
    rows[1], rows[2, 3], rows[3, 0], rows[4, 5] = 0, np.nan, np.inf, 1e6  # 1e6 is too large for float16
    table = Embeddings(tmp_path, KEY)
    with table.writing() as writer:
        writer.append(digests(*range(6)), rows)
        assert writer.excluded == 4
    found = Embeddings(tmp_path, KEY)
    assert found.excluded == 4
    assert found.vectors(digests(*range(6))).any(axis=1).tolist() == [True, False, False, False, False, True]
    write(found, 7)
    assert (found.excluded, len(found)) == (4, 7)


def test_what_was_appended_before_an_error_is_kept(tmp_path):
    table = Embeddings(tmp_path, KEY)

    def fail_on_the_way() -> None:
        with table.writing(block=100) as writer:
            writer.append(digests(1), vectors(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_on_the_way()
    assert np.array_equal(Embeddings(tmp_path, KEY).vectors(digests(1)), vectors(1))


def test_one_process_writes_at_a_time_and_others_read_what_is_there(tmp_path):
    table, other = Embeddings(tmp_path, KEY), Embeddings(tmp_path, KEY)
    with table.writing(block=2) as writer:
        writer.append(digests(1, 2), vectors(1, 2))
        writer.append(digests(3), vectors(3))
        other.refresh()
        assert len(other) == 2
        with pytest.raises(AlctlError, match="another alctl process is computing"), other.writing():
            pass
    write(other, 4)
    assert np.array_equal(other.vectors(digests(1, 2, 3, 4)), vectors(1, 2, 3, 4))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from alctl.images.embeddings import Embeddings
from tests.images.test_embeddings import KEY, write

def run(folder, moment):
    passed = 0
    def count(frame, event, function):
        nonlocal passed
        if event == "c_call" and function.__name__ in {"open", "truncate", "write", "close", "fsync", "replace", "rename"}:
            passed += 1
            if passed == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(count)
    write(Embeddings(folder, KEY), *range(5), block=4)
    sys.setprofile(None)

for moment in range(1, 1000):
    child = os.fork()
    if child == 0:
        run(Path(sys.argv[1]) / str(moment), moment)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(moment, status)
    if status == 0:
        break
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_blocks_that_the_next_run_goes_on_from(tmp_path):
    script = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parents[2])]
    done = subprocess.run(script, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    outcomes = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert outcomes[-1][1] == 0
    assert {status for _, status in outcomes[:-1]} == {signal.SIGKILL}
    seen = set()
    for moment, _ in outcomes:
        table = Embeddings(tmp_path / str(moment), KEY)
        seen.add(len(table))
        assert np.array_equal(table.vectors(digests(*range(len(table)))), vectors(*range(len(table))))
        write(table, *range(len(table), 5))
        assert np.array_equal(table.vectors(digests(*range(5))), vectors(*range(5)))
        assert sorted(stored_digests(table.folder)) == sorted(digests(*range(5)))
        assert (table.folder / "vectors.f16").stat().st_size == 5 * 6 * 2
    assert seen == {0, 4, 5}


def test_half_a_block_behind_the_last_whole_one_does_not_count(tmp_path):
    table = Embeddings(tmp_path, KEY)
    write(table, 1, 2)
    for name in ("vectors.f16", "digests.u8"):
        with (table.folder / name).open("ab") as stream:
            stream.write(b"torn")
    again = Embeddings(tmp_path, KEY)
    write(again, 3)
    assert np.array_equal(again.vectors(digests(1, 2, 3)), vectors(1, 2, 3))


def test_a_damaged_table_is_named_and_not_read(tmp_path):
    table = Embeddings(tmp_path, KEY)
    write(table, 1, 2)
    whole = (table.folder / "vectors.f16").read_bytes()
    (table.folder / "vectors.f16").write_bytes(whole[:-1])
    with pytest.raises(AlctlError, match="fewer vectors than it says"):
        Embeddings(tmp_path, KEY)
    (table.folder / "vectors.f16").write_bytes(whole)
    (table.folder / "table.json").write_text("{")
    with pytest.raises(AlctlError, match="is damaged"):
        Embeddings(tmp_path, KEY)
