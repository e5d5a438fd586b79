from __future__ import annotations

import pytest

from adapters.specs.test_reader import FILES
from fakes import Files
from modelyard.adapters.specs.reader import read_specs
from modelyard.adapters.specs.split import split_specs

MODELS = ("flight-delay", "other", "gone")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"models/flight-delay/model.yaml": "a: ["}, id="a model"),
        pytest.param({"models/other/versions/v1.yaml": "kind: [\n"}, id="another's version"),
        pytest.param({"environments/dev/environment.yaml": "a: 1\n"}, id="an environment"),
        pytest.param({"environments/dev/releases/other.yaml": "a: 1\n"}, id="a release"),
        pytest.param({"modelyard.yaml": "forge: none\n"}, id="the settings"),
    ],
)
def test_the_specs_of_each_model_are_those_that_are_read_for_it_alone(changed):
    tree = Files({**FILES, **changed})

    together = split_specs(read_specs(tree, models=MODELS), MODELS)

    assert together == {model: read_specs(tree, models=[model]) for model in MODELS}
