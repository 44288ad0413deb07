"""Holds `spate-bench probe` against fio on the same file and prints both.

    scripts/probe-beside-fio [--dir DIR] [--rounds 3] [--seconds 1] [--bin PATH]

Each round asks both, one right after the other, for every size and depth; the one that goes first
changes from round to round. A row is right when the medians lie within ten per cent, or when the
rounds of one program lie further apart than that: then the disk is too noisy to tell. Exits 1 if
a row is wrong, 2 if none is and some cannot be told."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import ROOT

SIZES_KIB = [4, 16, 64, 256, 1024]
DEPTHS = [1, 2, 4]
FILE_MIB = 256
TOLERATED = 0.10


def by_probe(binary: Path, folder: Path, size_kib: int, depth: int, seconds: float) -> float:
    command = [
        str(binary), "probe", "--json", "--only", "disk", "--keep", "--dir", str(folder),
        "--file-mib", str(FILE_MIB), "--sizes-kib", str(size_kib), "--depths", str(depth),
        "--duration", f"{int(seconds * 1000)}ms",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120)
    found = json.loads(done.stdout)
    if len(found["disk"]) != 1:
        raise SystemExit(f"the probe left out depth {depth}: {found['notes']}")
    return found["disk"][0]["bytes_per_s"]


def by_fio(folder: Path, size_kib: int, depth: int, seconds: float) -> float:
    command = [
        "fio", "--name=probe", "--output-format=json", "--rw=write", "--direct=1", "--sync=dsync",
        "--ioengine=io_uring", f"--iodepth={depth}", f"--bs={size_kib}k", f"--size={FILE_MIB}m",
        f"--filename={folder / 'spate-bench-probe.data'}", "--time_based=1", "--refill_buffers=0",
        "--fixedbufs=1",
        f"--runtime={int(seconds * 1000)}ms", f"--ramp_time={int(seconds * 200)}ms",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120)
    text = done.stdout.decode()
    # fio may warn on standard output before its JSON.
    job = json.loads(text[text.index("{") :])["jobs"][0]
    return job["write"]["bw_bytes"]


def spread(values: list[float]) -> float:
    return (max(values) - min(values)) / 2 / statistics.median(values)


def verdict(probe: list[float], fio: list[float]) -> str:
    ratio = statistics.median(probe) / statistics.median(fio)
    if abs(ratio - 1) <= TOLERATED:
        return "within 10 %"
    if max(spread(probe), spread(fio)) > TOLERATED:
        return "too noisy to tell"
    return "APART"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dir", type=Path, default=ROOT / "target")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release/spate-bench")
    options = parser.parse_args()
    wrong = unsure = 0
    columns = ("write", "depth", "probe MB/s", "fio MB/s", "ratio", "+-", "verdict")
    print("{:>8} {:>5} {:>11} {:>11} {:>6} {:>12} {}".format(*columns))
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="probe-fio-") as folder:
        for size_kib in SIZES_KIB:
            for depth in DEPTHS:
                load = (Path(folder), size_kib, depth, options.seconds)
                probe, fio = [], []
                # The first probe makes the file that both write to from then on.
                by_probe(options.bin, *load[:3], 0.05)
                for number in range(options.rounds):
                    for turn in (0, 1) if number % 2 == 0 else (1, 0):
                        if turn == 0:
                            probe.append(by_probe(options.bin, *load))
                        else:
                            fio.append(by_fio(*load))
                said = verdict(probe, fio)
                wrong += said == "APART"
                unsure += said == "too noisy to tell"
                mid = [statistics.median(values) / 1e6 for values in (probe, fio)]
                apart = f"{spread(probe):.0%}/{spread(fio):.0%}"
                row = (f"{size_kib} KiB", depth, *mid, mid[0] / mid[1], apart, said)
                print("{:>8} {:>5} {:>11.1f} {:>11.1f} {:>6.2f} {:>12} {}".format(*row), flush=True)
    sys.exit(1 if wrong else 2 if unsure else 0)


if __name__ == "__main__":
    main()
