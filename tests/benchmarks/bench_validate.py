"""Validate 10,000 versions, against parsing alone and against check-jsonschema.

    python tests/benchmarks/bench_validate.py [VERSIONS]

Prints JSON: seconds of `modelyard validate` as a process, and its ratio to parsing the same files
with PyYAML's C loader and to check-jsonschema with the same schema, each as a process too.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PER_MODEL = 500
RUNS = 3

PARSE = """
import sys, yaml
for file in sys.stdin.read().split():
    with open(file, "rb") as stream:
        yaml.load(stream, yaml.CSafeLoader)
"""

MODEL = """\
apiVersion: modelyard/v1
kind: Model
name: {model}
description: Predicts whether a flight leaves late.
owner: {{team: operations, contact: "#flights"}}
task: binary
target: {{column: arr_delay, above: 15}}
outputs:
  - {{name: late, kind: probability, primary: true}}
trainer:
  command: [python, train.py]
data:
  timestamp: date
  columns:
    - {{name: date, type: timestamp}}
    - {{name: carrier, type: category}}
    - {{name: distance, type: number, unit: mi, minimum: 0, maximum: 6000}}
    - {{name: arr_delay, type: number, unit: min, nullable: true, available_at: later}}
gate: {{metric: auc, margin: 0.01}}
"""

HELD_OUT = """\
apiVersion: modelyard/v1
kind: HeldOut
model: {model}
name: april
files:
  - {{uri: 2013-04.parquet, sha256: {sha}}}
cluster: date
role: recent
max_looks: 1000
window: {{since: 2013-04-01, until: 2013-05-01}}
"""

VERSION = """\
apiVersion: modelyard/v1
kind: ModelVersion
model: {model}
version: v{number}
reason: Try number {number} of the carriers and the distances
{parent}data:
  files:
    - uri: 2013-01.parquet
      sha256: {one}
    - uri: 2013-02.parquet
      sha256: {two}
    - uri: 2013-03.parquet
      sha256: {three}
  window: {{since: 2013-01-01, until: 2013-04-01}}
held_out: [april]
code:
  tree: {tree}
runtime:
  lock: {lock}
parameters:
  features: [carrier, distance]
  max_iter: {number}
  monotone: {{distance: 1}}
seed: {number}
"""


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_tree(root: Path, versions: int) -> list[Path]:
    """A checkout of that many versions in models of `PER_MODEL` each; returns their files."""
    (root / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    files = []
    for first in range(0, versions, PER_MODEL):
        model = f"model-{first // PER_MODEL}"
        folder = root / "models" / model
        (folder / "versions").mkdir(parents=True)
        (folder / "heldout").mkdir()
        (folder / "model.yaml").write_text(MODEL.format(model=model))
        held_out = HELD_OUT.format(model=model, sha=sha("april"))
        (folder / "heldout/april.yaml").write_text(held_out)
        for number in range(first, min(first + PER_MODEL, versions)):
            file = folder / f"versions/v{number}.yaml"
            file.write_text(version(model, number, first))
            files.append(file)
    return files


def version(model: str, number: int, first: int) -> str:
    """One version; each descends from the one before."""
    return VERSION.format(
        model=model,
        number=number,
        parent="" if number == first else f"parent: v{number - 1}\n",
        one=sha("january"),
        two=sha("february"),
        three=sha("march"),
        tree=sha(f"tree {number}")[:40],
        lock=sha("lock"),
    )


def seconds(args: list[str], cwd: Path, runs: int = RUNS, stdin: str = "") -> float:
    """Median wall-clock seconds of a process that must succeed."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(args, cwd=cwd, input=stdin, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(versions: int) -> dict[str, float]:
    """All figures."""
    binaries = Path(sys.executable).parent
    schema = ROOT / "schemas/model-version.schema.json"
    with tempfile.TemporaryDirectory(prefix="bench-validate-") as folder:
        root = Path(folder)
        files = [str(file.relative_to(root)) for file in write_tree(root, versions)]
        names = "\n".join(files)
        ours = seconds([str(binaries / "modelyard"), "validate"], root)
        parsing = seconds([sys.executable, "-c", PARSE], root, stdin=names)
        checker = [str(binaries / "check-jsonschema"), "--schemafile", str(schema)]
        theirs = seconds([*checker, *files], root, runs=1)
    return {
        "versions": versions,
        "seconds": round(ours, 3),
        "parsing_seconds": round(parsing, 3),
        "ratio_to_parsing": round(ours / parsing, 2),
        "check_jsonschema_seconds": round(theirs, 3),
        "ratio_to_check_jsonschema": round(ours / theirs, 3),
    }


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(json.dumps(main(count), indent=2))
