"""The checks of `modelyard doctor` about this machine; see `checks.py`."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modelyard.adapters.store.signing_keys import SIGNING_KEY
from modelyard.domain.isolation import Isolation
from modelyard.errors import CannotAnswer
from modelyard.operations.doctor.runner import Checkout, Finding

LEAST_FREE_MEGABYTES = 500
"""Free space that a training and its servers can be expected to need on a disk."""

_FIX = (
    "run Linux 6.2 or newer with landlock in /sys/kernel/security/lsm, or let users make "
    "namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
)


def trainers_are_closed_in(checkout: Checkout) -> Iterator[Finding]:
    """What a trainer on this machine is kept from; says it also where nothing is wrong."""
    from modelyard.adapters.isolation.confinement import Reach, find_means

    del checkout
    with tempfile.TemporaryDirectory(prefix="modelyard-doctor-") as place:
        means = find_means(Reach(readable=(), writable=()), Path(place))
    names = [f"Landlock (ABI {means.abi})"] if means.abi else []
    names += ["namespaces"] if means.namespaces else []
    could = f"; a trainer could still {', and '.join(means.gaps)}" if means.gaps else ""
    what = f"isolation: {means.isolation}, by {' and '.join(names) or 'no means'}{could}"
    # Nothing can be done about it on a system that has neither.
    is_wrong = means.isolation is Isolation.NONE and sys.platform.startswith("linux")
    yield Finding(what=what, fix=_FIX if is_wrong else None)


def the_signing_key_is_out_of_reach(checkout: Checkout) -> Iterator[Finding]:
    """The key that training signs with is one, and no model server of this machine can read it."""
    from modelyard.operations.signing.keys import find_key, refuse_key_beside_code

    try:
        if find_key(checkout.root, None) is not None:
            models = checkout.specs.catalog.models.values()
            refuse_key_beside_code(checkout.workspace.services.repository, models)
    except CannotAnswer as error:
        yield Finding(what=error.message, fix=error.hint or f"unset {SIGNING_KEY}")


def the_disks_have_room(checkout: Checkout) -> Iterator[Finding]:
    """The disks of the state, of the artifacts, of Git's objects and of temporary files."""
    repository = checkout.workspace.services.repository
    store = str(checkout.root / repository.artifacts.removeprefix("file://"))
    objects = checkout.git.run("rev-parse", "--absolute-git-dir").stdout.decode().strip()
    folders = (str(checkout.root / repository.state), store, objects, tempfile.gettempdir())
    seen = set()
    for folder in folders:
        # The nearest folder that exists is on the disk of those that are made in it.
        there = next(each for each in (Path(folder), *Path(folder).parents) if each.exists())
        device = there.stat().st_dev
        free = shutil.disk_usage(there).free // 1_000_000
        if device not in seen and free < LEAST_FREE_MEGABYTES:
            what = f"{there}: {free:,} MB are free, {LEAST_FREE_MEGABYTES} are needed"
            yield Finding(what=what, fix=f"make room there: du -xhd1 {shlex.quote(str(there))}")
        seen.add(device)
