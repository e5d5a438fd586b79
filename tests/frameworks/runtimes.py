"""The runtimes that models of other libraries have here, locked and built as a user would.

What is built is kept in the user's cache, so that a second run needs no package index. As a program
it builds all of them, or says whether those of `make test-frameworks-short` could be.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from modelyard.adapters.runtimes.environments import Environments, Runtime
from modelyard.domain.specs.paths import trainer_lock, trainer_wishes
from modelyard.errors import YardError
from modelyard.operations.models.skeleton import FRAMEWORKS
from modelyard.operations.runtimes.lock import PYTHON, SERVING, extra_requirements, lock_model
from possible import exit_if_possible

CACHE = Path.home() / ".cache" / "modelyard" / "frameworks"
SKLEARN = "scikit-learn>=1.7,<1.9"
WISHES = {
    "xgboost": ("xgboost-cpu==3.2.0", SKLEARN, "pandas==2.2.3", "numpy==2.3.5"),
    "lightgbm": ("lightgbm==4.7.0", SKLEARN, "skops>=0.13,<0.15"),
    "onnx": ("onnxruntime==1.32.0", "onnx", "skl2onnx==1.20.0", SKLEARN),
    "catboost": ("catboost==1.2.10", "numpy==2.2.6"),
    "statsmodels": ("statsmodels>=0.14,<0.15",),
}
# Wishes that do not go together are a fault of theirs.
_MISSED = re.compile("Failed to fetch|not found in|no version|network was disabled")


def make_runtime(library: str) -> Runtime:
    """The runtime of a model that wishes for a library."""
    root = CACHE / "wishes"
    wishes = root / trainer_wishes(library)
    wishes.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{each}\n" for each in WISHES[library])
    lock = root / trainer_lock(library)
    if not lock.exists() or wishes.read_text() != text:
        lock.unlink(missing_ok=True)  # else, after a failure, it would be taken for that of these
        wishes.write_text(text)
        lock_model(root, library)
    environments = Environments(CACHE)
    kept = environments.keep_lock(lock.read_bytes())
    place = environments.get_or_build(kept.stem)
    return Runtime(lock=kept.stem, lock_file=kept, python=place / "bin" / "python")


def find_obstacle() -> str | None:
    """What uv misses of a package index, or of what it keeps of one, for the short tests."""
    uv = Path(sys.executable).with_name("uv")
    for wishes in (WISHES["xgboost"], FRAMEWORKS["lightgbm"].requirements):
        asked = subprocess.run(
            [uv, "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON, "-"],
            input="\n".join((*wishes, *extra_requirements(SERVING))), text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        said = " ".join(asked.stderr.split())
        if asked.returncode and not _MISSED.search(said):
            sys.exit(said)
        if asked.returncode:
            return said
    return None


def _main(verb: str, *libraries: str) -> None:
    """`build` these, or all of them, and tell how far it is; or say whether it is `possible`."""
    if verb == "possible":
        exit_if_possible("models of LightGBM and XGBoost", find_obstacle())
    for library in libraries or WISHES:
        print(f"the runtime of {library}:", end=" ", flush=True)  # noqa: T201 - a program
        started = time.monotonic()
        try:
            make_runtime(library)
        except YardError as error:
            sys.exit(f"error: {error.message}\nhint: {error.hint}")
        print(f"{time.monotonic() - started:.0f} s", flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    _main(*sys.argv[1:])
