"""Write schemas.json again: what the AWS provider says of the types that the configuration uses.

The provider itself is too large to build for a test. The package `cdktn-provider-aws` is generated
from the provider's own schema, and its JavaScript keeps all of it:

    pip download --no-deps cdktn-provider-aws==25.8.1
    python tests/infrastructure/extract.py cdktn_provider_aws-25.8.1-py3-none-any.whl

Where the JavaScript does not say what this file expects, it stops.
"""

import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CONFIGURATION = HERE.parents[1] / "environments/platform/aws"
SCALARS = {"string": "string", "number": "number", "boolean": "bool"}
GETTERS = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getStringMapAttribute": ["map", "string"],
    "getListAttribute": ["list", "string"],
}
FIELD = re.compile(r"    // (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n")
ENTRY = re.compile(
    r'(\w+): \{\n\s+value: .*\n\s+isBlock: (\w+),\n\s+type: "(\w+)",\n\s+storageClassType: "(\w+)"'
)
NEW = re.compile(r"= new (\w+?)(List|Map|OutputReference)\(this, \"\w+\"(?:, (true|false))?\)")

Document = dict[str, Any]


class Source:
    """The JavaScript of one resource, data source or provider."""

    def __init__(self, text: str) -> None:
        self.text = text
        parts = re.split(r"^class (\w+) extends cdktn\.(\w+) ", text, flags=re.MULTILINE)
        self.classes = dict(zip(parts[1::3], parts[3::3], strict=True))
        (self.top,) = (
            name
            for name, kind in zip(parts[1::3], parts[2::3], strict=True)
            if kind in {"TerraformResource", "TerraformDataSource", "TerraformProvider"}
        )

    @property
    def terraform_type(self) -> str:
        return re.search(r'static tfResourceType = "(\w+)"', self.text)[1]

    def block(self, name: str | None = None) -> Document:
        """The attributes and nested blocks of a class, or of the whole."""
        body = self.classes[self.top if name is None else f"{name}OutputReference"]
        written = self._written(name)
        found: Document = {"attributes": {}, "blocks": {}}
        fields = FIELD.split(body)[1:]
        for tf_name, computed, optional, required, code in zip(*[iter(fields)] * 5, strict=True):
            is_block, kind, stored = written.get(tf_name, ("false", "", ""))
            if is_block == "true":
                found["blocks"][tf_name] = self._nested(kind, stored, code, required == "true")
                continue
            found["attributes"][tf_name] = {
                "type": self._type(kind, stored, code),
                "is": [
                    word
                    for word, holds in (
                        ("computed", computed),
                        ("optional", optional),
                        ("required", required),
                    )
                    if holds == "true"
                ],
            }
        return {key: value for key, value in found.items() if value}

    def _written(self, name: str | None) -> dict[str, tuple[str, str, str]]:
        """What may be written in a block: whether it is a block itself, its kind and its class."""
        if name is None:
            code = self.classes[self.top].partition("synthesizeHclAttributes()")[2]
        else:
            head = f"function {name[0].lower()}{name[1:]}ToHclTerraform("
            code = self.text.partition(head)[2].partition("\n}\n")[0]
        return {key: (block, kind, stored) for key, block, kind, stored in ENTRY.findall(code)}

    def _nested(self, kind: str, stored: str, code: str, required: bool) -> Document:  # noqa: FBT001
        if kind == "struct":
            return {"nesting": "single", **self.block(stored)}
        made = NEW.search(code)
        name = made[1] if made else stored.removesuffix("List")
        # The provider's own blocks have no class of their own in the JavaScript.
        inner = self.block(name) if f"{name}OutputReference" in self.classes else self._plain(name)
        most = {"max": 1} if made is None or made[2] == "OutputReference" else {}
        return {"nesting": kind, **({"min": 1} if required else {}), **most, **inner}

    def _plain(self, name: str) -> Document:
        return {
            "attributes": {
                key: {"type": self._type(kind, stored, ""), "is": ["optional"]}
                for key, (block, kind, stored) in self._written(name).items()
                if block == "false"
            }
        }

    def _type(self, kind: str, stored: str, code: str) -> Any:
        if kind == "simple":
            return SCALARS[stored]
        element = stored.removesuffix("List").removesuffix("Map")
        if element in SCALARS:
            return [kind, SCALARS[element]]
        if "= new cdktn.StringMap(" in code:
            return ["map", "string"]
        if made := NEW.search(code):
            return self._type_of_objects(*made.groups())
        (getter,) = {found for found in GETTERS if f"this.{found}(" in code}
        return ["set", "string"] if "Fn.tolist(" in code else GETTERS[getter]

    def _type_of_objects(self, name: str, holder: str, in_set: str | None) -> Any:
        element = ["object", self._object(name)]
        if in_set == "true":
            return ["set", element]
        if holder != "OutputReference":
            return [holder.lower(), element]
        # One that has an index is the only element of a list.
        indexed = "super(terraformResource, terraformAttribute, false, 0)"
        return ["list", element] if indexed in self.classes[f"{name}OutputReference"] else element

    def _object(self, name: str) -> Document:
        inner = self.block(name)
        assert not inner.get("blocks"), name
        return {key: value["type"] for key, value in inner["attributes"].items()}


def sources(wheel: Path, wanted: set[str]) -> Iterator[Source]:
    """The JavaScript of the wanted types, and of the provider itself."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (each for each in outer.namelist() if each.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as inner:
            for member in inner:
                if re.fullmatch(r"package/lib/[\w-]+/index\.js", member.name):
                    text = inner.extractfile(member).read().decode().partition("//# source")[0]
                    named = re.search(r'static tfResourceType = "(\w+)"', text)
                    if named and named[1] in wanted:
                        yield Source(text)


def used_types() -> tuple[set[str], set[str]]:
    """The types of resources and of data sources that the configuration names."""
    text = "\n".join(path.read_text() for path in CONFIGURATION.glob("*.tf"))
    named = (
        set(re.findall(rf'^{kind} "(\w+)"', text, re.MULTILINE)) for kind in ("resource", "data")
    )
    resources, data = named
    return resources, data


def main(wheel: Path) -> None:
    resources, data = used_types()
    version = ""
    found: Document = {"resources": {}, "data": {}}
    for source in sources(wheel, resources | data | {"aws"}):
        name = source.terraform_type
        if "extends cdktn.TerraformProvider" in source.text:
            version = re.search(r"providerVersion: '([\d.]+)'", source.text)[1]
            found["provider"] = source.block()
        elif "extends cdktn.TerraformDataSource" in source.text:
            if name in data:
                found["data"][name] = source.block()
        elif name in resources:
            found["resources"][name] = source.block()
    assert (found["resources"].keys(), found["data"].keys()) == (resources, data)
    found = {
        "source": f"hashicorp/aws {version}, from {wheel.name}; MPL-2.0, see NOTICE",
        **found,
    }
    (HERE / "programs/provider/schemas.json").write_text(
        json.dumps(found, indent=1, sort_keys=True) + "\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
