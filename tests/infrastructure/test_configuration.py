"""`environments/platform/aws` with OpenTofu and Terraform, where that is installed; no account."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from infrastructure.mutants import GAPS, OF_THE_PLAN, OF_THE_SCHEMA, OF_THE_TESTS, Mutant
from infrastructure.programs import OPENTOFU, PROVIDER, program

ROOT = Path(__file__).resolve().parents[2]
AWS = ROOT / "environments/platform/aws"
VERSION = "6.69.1"
# The job of GitHub has the real provider, out of its registry.
REAL = os.environ.get("INFRASTRUCTURE_PROVIDER") == "real"
KEPT = (
    "aws_s3_bucket.models",
    "aws_db_instance.mlflow",
    "aws_kms_key.platform",
    "aws_ecr_repository.modelyard",
)
APPLIED = 'run "account" {'
SECOND_PLAN = 'run "a_closed_endpoint" {'
STOPPED = ("aws_eks_cluster.platform", "aws_nat_gateway.platform", "aws_eip.nat")


def tool(name: str) -> str:
    """OpenTofu as it is pinned, or a Terraform of this machine that is new enough."""
    if name == "tofu":
        return os.environ.get("INFRASTRUCTURE_TOFU") or str(program(OPENTOFU))
    if (found := shutil.which("terraform")) is None:
        pytest.skip("terraform is not installed")
    said = subprocess.run([found, "version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, re.search(r"v(\d+)\.(\d+)", said).groups())) < (1, 11):
        pytest.skip("terraform is older than 1.11")
    return found


class Folder:
    """A copy of the configuration, for one program."""

    def __init__(self, tool: str, folder: Path, settings: Path) -> None:
        self.tool, self.folder = tool, folder
        self.environment = {
            **os.environ,
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            # Each run lives for a second or two: an eighth of its time goes into collections.
            "GOGC": "off",
            "GOMEMLIMIT": "1GiB",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.tool, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def with_mutants(self, mutants: list[Mutant], folder: Path) -> "Folder":
        shutil.copytree(self.folder, folder, symlinks=True)
        for each in mutants:
            path = folder / each.file
            text = path.read_text()
            assert text.count(each.old) == 1, (each.title, text.count(each.old))
            path.write_text(text.replace(each.old, each.new))
        tests = folder / "tests/platform.tftest.hcl"
        # OpenTofu's plan has what is mocked already, and costs half of an apply.
        text = tests.read_text().replace(APPLIED, f"{APPLIED}\n  command = plan")
        # It plans the whole account once more, and refuses no mutant.
        text, number = re.subn(rf"^{SECOND_PLAN}.*?^}}\n", "", text, flags=re.DOTALL | re.MULTILINE)
        assert number == 1, SECOND_PLAN
        tests.write_text(text)
        return Folder(self.tool, folder, Path(self.environment["TF_CLI_CONFIG_FILE"]))


def said_by(*runs: subprocess.CompletedProcess[str]) -> str:
    """What the runs said, without frames and line breaks."""
    text = " ".join(each.stdout + each.stderr for each in runs)
    return re.sub(r"[\s│╷╵]+", " ", re.sub(r"\x1b\[\d*m", "", text))


@pytest.fixture(scope="session")
def settings(tmp_path_factory) -> Path:
    """The settings of both programs: providers come from a folder, and from nowhere else."""
    if REAL:
        return Path(os.devnull)
    mirror = tmp_path_factory.mktemp("mirror")
    for registry in ("registry.opentofu.org", "registry.terraform.io"):
        folder = mirror / registry / f"hashicorp/aws/{VERSION}/linux_amd64"
        folder.mkdir(parents=True)
        (folder / f"terraform-provider-aws_v{VERSION}").symlink_to(program(PROVIDER))
    path = mirror / "settings.tfrc"
    path.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
    )
    return path


@pytest.fixture(scope="session", params=["tofu", "terraform"])
def good(request, settings, tmp_path_factory) -> Folder:
    folder = tmp_path_factory.mktemp("good") / "aws"
    shutil.copytree(AWS, folder, ignore=shutil.ignore_patterns(".terraform*"))
    made = Folder(tool(request.param), folder, settings)
    # The tests destroy what they made, and the mocked bucket may be destroyed.
    (folder / "kept_override.tf").write_text(
        "\n".join(
            f'resource "{kind}" "{name}" {{\n  lifecycle {{\n    prevent_destroy = false\n  }}\n}}'
            for kind, name in (each.split(".") for each in KEPT)
        )
        + "\n"
    )
    ran = made.run("init", "-backend=false", "-input=false")
    assert ran.returncode == 0, ran.stderr
    return made


def test_the_files_are_formatted(good):
    ran = good.run("fmt", "-check", "-recursive")
    assert (ran.returncode, ran.stdout) == (0, "")


def test_the_configuration_is_valid(good):
    ran = good.run("validate")
    assert ran.returncode == 0, ran.stderr


def test_what_must_hold_of_the_account(good):
    ran = good.run("test")
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert "0 failed" in ran.stdout


def batches(mutants: tuple[Mutant, ...]) -> list[list[Mutant]]:
    """Mutants of which each is refused by words of its own, so that one run is enough for many."""
    found: list[list[Mutant]] = []
    for each in mutants:
        for batch in found:
            if all(each.said != other.said for other in batch):
                batch.append(each)
                break
        else:
            found.append([each])
    return found


# Terraform says the same in other words.
with_opentofu = pytest.mark.parametrize("good", ["tofu"], indirect=True)


@with_opentofu
@pytest.mark.skipif(REAL, reason="it says some of this in words of its own")
def test_the_schema_refuses_each_mistake(good, tmp_path):
    left = list(OF_THE_SCHEMA)
    while left:  # what depends on a mistake is not validated, and shows its own in the next run
        batch = apart(left)
        said = said_by(good.with_mutants(batch, tmp_path / f"{len(left)}").run("validate"))
        found = [each for each in batch if each.said in said]
        assert found, ([each.title for each in batch], said)
        left = [each for each in left if each not in found]


def apart(mutants: list[Mutant]) -> list[Mutant]:
    """Mutants that do not change the same lines."""
    found: list[Mutant] = []
    for each in mutants:
        near = [other.old for other in found if other.file == each.file]
        if not any(each.old in other or other in each.old for other in near):
            found.append(each)
    return found


@with_opentofu
@pytest.mark.skipif(REAL, reason="it refuses some by itself, and then nothing asserts the others")
@pytest.mark.parametrize("batch", batches(OF_THE_TESTS), ids=len)
def test_the_assertions_refuse_mistakes(good, batch, tmp_path):
    ran = good.with_mutants(batch, tmp_path / "aws").run("test")
    said = said_by(ran)
    assert [each.title for each in batch if each.said not in said] == [], said
    assert ran.returncode == 1


@with_opentofu
@pytest.mark.parametrize("mutant", OF_THE_PLAN, ids=lambda each: each.title)
def test_a_plan_refuses_mistakes(good, mutant, tmp_path):
    ran = good.with_mutants([mutant], tmp_path / "aws").run("test")
    assert ran.returncode == 1
    assert mutant.said in said_by(ran)


@with_opentofu
@pytest.mark.skipif(REAL, reason="the real provider refuses some of them")
def test_what_only_the_real_provider_refuses_is_known(good, tmp_path):
    ran = good.with_mutants(list(GAPS), tmp_path / "aws").run("test")
    assert ran.returncode == 0, said_by(ran)
    readme = (ROOT / "docs/aws.md").read_text()
    assert [each.title for each in GAPS if each.title not in readme] == []


@pytest.mark.skipif(not REAL, reason="needs the real provider")
@with_opentofu
@pytest.mark.parametrize("mutant", GAPS[:2], ids=lambda each: each.title)
def test_the_real_provider_refuses_what_a_schema_cannot_say(good, mutant, tmp_path):
    assert good.with_mutants([mutant], tmp_path / "aws").run("validate").returncode == 1


def test_stopping_the_cluster_touches_nothing_that_keeps(good, tmp_path):
    """What depends on a stopped resource is destroyed with it."""
    stopping = good.with_mutants([], tmp_path / "aws")
    (stopping.folder / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    assert stopping.run("init", "-input=false").returncode == 0
    graph = stopping.run("graph", "-type=plan")
    assert graph.returncode == 0, graph.stderr
    needs: dict[str, set[str]] = {}
    for one, other in re.findall(r'"([^"]+)" -> "([^"]+)"', graph.stdout):
        needs.setdefault(_address(one), set()).add(_address(other))
    stopped = set(STOPPED)
    while more := {one for one, others in needs.items() if others & stopped} - stopped:
        stopped |= more
    resources = {each for each in stopped if each.startswith("aws_")}
    assert resources >= {*STOPPED, "aws_eks_node_group.platform", "aws_route.private"}
    assert [each for each in resources if each in KEPT or "aws_s3_" in each] == []
    readme = (AWS / "README.md").read_text()
    assert "tofu destroy " + " ".join(f"-target={each}" for each in STOPPED) in readme


def _address(node: str) -> str:
    return re.sub(r"^\[root\] | \((expand|close)\)$", "", node)


def test_what_keeps_cannot_be_destroyed_by_mistake():
    text = "\n".join(path.read_text() for path in AWS.glob("*.tf"))
    blocks = dict(
        re.findall(r'^resource "(\w+" "\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL)
    )
    kept = {
        name.replace('" "', ".")
        for name, block in blocks.items()
        if "prevent_destroy = true" in block
    }
    assert kept == set(KEPT)
    assert not re.search(
        r"force_destroy\s*=\s*true|skip_final_snapshot\s*=\s*true|force_delete", text
    )
