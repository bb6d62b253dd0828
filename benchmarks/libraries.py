"""Is what `alctl` writes itself, and libraries offer too, still worth its lines: run lengths of masks, and large JSON?

Command:  pip install numpy orjson faster-coco-eval pycocotools ijson && python -m benchmarks.libraries
Hardware: 2-core x86-64 (AMD EPYC), no GPU, shared with other work (so processor time)
Date:     2026-11-27

| run lengths | library | decode | area | toBbox | iou |
|---|---|---|---|---|---|
| more pixels than the mask has | pycocotools 2.0.11 | refused | a value | a value | a value |
| more pixels than the mask has | faster-coco-eval 1.8.0 | refused | refused | refused | refused |
| fewer pixels than the mask has | pycocotools 2.0.11 | a value | a value | a value | a value |
| fewer pixels than the mask has | faster-coco-eval 1.8.0 | refused | a value | a value | a value |
| a run below zero | pycocotools 2.0.11 | refused | a value | a value | a value |
| a run below zero | faster-coco-eval 1.8.0 | refused | refused | refused | refused |
| 100,000 runs | pycocotools 2.0.11 | refused | a value | a value | a value |
| 100,000 runs | faster-coco-eval 1.8.0 | refused | refused | refused | refused |

| a mask of 640 × 480 pixels | code | microseconds |
|---|---|---|
| check, and count the pixels | alctl | 138 |
| check, and count the pixels | faster-coco-eval | 1,537 |
| check, and count the pixels | pycocotools | 697 |
| mask to text | alctl | 776 |
| mask to text | faster-coco-eval | 1,008 |
| mask to text | pycocotools | 622 |
| text to mask | alctl | 500 |
| text to mask | faster-coco-eval | 1,643 |
| text to mask | pycocotools | 596 |

| COCO, 99 MB | processor seconds | MB | against alctl's |
|---|---|---|---|
| alctl's splitter and orjson | 1.8 | 91 | 1.00x |
| ijson 3.6.0, yajl2_c | 3.4 | 91 | 1.85x |
| json.load | 5.3 | 608 | 2.91x |

So both stay. Only their `decode` finds all run lengths that do not add up (pycocotools' not even that: of too few pixels it
returns whatever was in memory), and it draws the whole mask, while most masks of an import only have to be checked.
ijson is 1.9 times slower and does not say at which byte an object begins, which reading COCO in two passes needs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.imports import make_coco

SIDE = 64
HOSTILE = {
    "more pixels than the mask has": [10, 10**6, 10**6],
    "fewer pixels than the mask has": [10, 20],
    "a run below zero": [10, -5, SIDE * SIDE - 5],
    "100,000 runs": [1] * 100_000,
}
"""Run lengths of masks of 64 × 64 pixels that do not add up, by what is wrong with them."""
ASKED = """
import sys
from importlib import import_module
module, call = sys.argv[1:]
mask = {"size": [64, 64], "counts": sys.stdin.buffer.read()}
peer = import_module(module)
try:
    peer.iou([mask], [mask], [0]) if call == "iou" else getattr(peer, call)(mask if call == "decode" else [mask])
except (ValueError, RuntimeError):
    print("refused")
else:
    print("a value")
"""
PEERS = {"pycocotools": "pycocotools.mask", "faster-coco-eval": "faster_coco_eval.core.mask"}
CALLS = ("decode", "area", "toBbox", "iou")
OWN_JSON = """
import sys
from pathlib import Path
from alctl.labels.parsing.json_stream import elements
print(sum(key == "annotations" for key, _ in elements(Path(sys.argv[1]))))
"""
IJSON = """
import sys
import ijson.backends.yajl2_c as ijson
print(sum(1 for _ in ijson.items(open(sys.argv[1], "rb"), "annotations.item", use_float=True)))
"""


def text_of(counts: Sequence[int]) -> bytes:
    """Return run lengths as COCO's text, whether they add up or not."""
    text = bytearray()
    for place, count in enumerate(counts):
        rest = count - counts[place - 2] if place > 2 else count
        done = False
        while not done:
            digit, rest = rest & 31, rest >> 5
            done = rest == (-1 if digit & 16 else 0)
            text.append(48 + (digit | (0 if done else 32)))
    return bytes(text)


def report_hostile() -> None:
    """Print what each library makes of run lengths that do not add up, each in a process of its own."""
    print("| run lengths | library | " + " | ".join(CALLS) + " |\n|---|---|" + "---|" * len(CALLS))
    for what, counts in HOSTILE.items():
        for name, module in PEERS.items():
            said = []
            for call in CALLS:
                command = [sys.executable, "-c", ASKED, module, call]
                done = subprocess.run(command, input=text_of(counts), capture_output=True, check=False)
                said.append(done.stdout.decode().strip() or f"crashed ({done.returncode})")
            print(f"| {what} | {name} {version(name)} | {' | '.join(said)} |", flush=True)


def masks(count: int) -> list[Any]:
    """Return masks of 640 × 480 pixels: blobs with ragged edges, as people and models draw them."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:480, :640]
    found = []
    for _ in range(count):
        y, x, radius = rng.uniform(80, 400), rng.uniform(80, 560), rng.uniform(10, 120)
        ragged = rng.normal(0, 2, (480, 640))
        found.append(np.hypot(rows - y, columns - x) + ragged < radius)
    return found


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Return the median processor time of some work."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return median(times)


def report_masks(rounds: int) -> None:
    """Print how long the own code and each library take for a mask."""
    from importlib import import_module

    from alctl.labels import rle

    pixels = masks(50)
    ordered = [np.asfortranarray(mask, dtype=np.uint8) for mask in pixels]
    own = [rle.of_mask(mask) for mask in pixels]
    given = [{"size": list(mask.size), "counts": mask.counts.encode()} for mask in own]
    jobs: dict[tuple[str, str], Callable[[], object]] = {
        ("check, and count the pixels", "alctl"): lambda: [rle.unpacked(mask)[1::2].sum() for mask in own],
        ("text to mask", "alctl"): lambda: [rle.to_mask(mask) for mask in own],
        ("mask to text", "alctl"): lambda: [rle.of_mask(mask) for mask in pixels],
    }
    for name, module in PEERS.items():
        peer = import_module(module)
        assert [peer.encode(mask)["counts"] for mask in ordered] == [mask["counts"] for mask in given]

        def check(peer: Any = peer) -> object:
            return [
                int(peer.decode(mask).sum()) for mask in given
            ]  # `area` believes counts that do not add up

        def decode(peer: Any = peer) -> object:
            return [peer.decode(mask) for mask in given]

        def encode(peer: Any = peer) -> object:
            return [peer.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in pixels]

        jobs["check, and count the pixels", name] = check
        jobs["text to mask", name] = decode
        jobs["mask to text", name] = encode
    print("| a mask of 640 × 480 pixels | code | microseconds |\n|---|---|---|")
    for (what, name), work in sorted(jobs.items()):
        print(f"| {what} | {name} | {seconds(work, rounds) / len(pixels) * 1e6:,.0f} |", flush=True)


def measured(program: str, file: Path) -> tuple[float, float]:
    """Return processor seconds and megabytes of a process that reads a file."""
    process = subprocess.Popen([sys.executable, "-c", program, str(file)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"a process failed: {program}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def report_json(megabytes: int, rounds: int) -> None:
    """Print how long the own splitter and ijson take for every annotation of a COCO file, in turn."""
    programs = {
        "alctl's splitter and orjson": OWN_JSON,
        f"ijson {version('ijson')}, yajl2_c": IJSON,
        "json.load": "import json, sys; json.load(open(sys.argv[1]))",
    }
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "coco.json"
        make_coco(file, megabytes, 100_000)
        size = file.stat().st_size
        for _ in range(rounds):
            for name, program in programs.items():
                results[name].append(measured(program, file))
    print(f"| COCO, {size / 1e6:,.0f} MB | processor seconds | MB | against alctl's |\n|---|---|---|---|")
    own = results["alctl's splitter and orjson"]
    for name, result in results.items():
        ratio = median(theirs[0] / ours[0] for theirs, ours in zip(result, own, strict=True))
        used, memory = median(used for used, _ in result), max(size for _, size in result)
        print(f"| {name} | {used:.1f} | {memory:,.0f} | {ratio:.2f}x |", flush=True)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=100, help="of the COCO file")
    args = parser.parse_args()
    report_hostile()
    print()
    report_masks(args.rounds)
    print()
    report_json(args.megabytes, args.rounds)


if __name__ == "__main__":
    main()
