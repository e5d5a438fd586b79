from __future__ import annotations

from dataclasses import replace

from modelyard.domain.machines.placement import Placement
from modelyard.domain.machines.resources import Resources
from modelyard.domain.specs.model import Server
from modelyard.domain.specs.repository import Repository
from unit.domain.checks.small_catalog import GOOD, MODEL, said, with_environment, with_model

GPU = (Placement(name="gpu"),)


def test_a_quantity_without_a_unit_is_refused_where_it_is_written():
    trainer = replace(MODEL.trainer, resources=Resources(memory="4096"))
    message = "'4096' is no size with its unit: write 512Mi, 4Gi or 2G"
    assert said(with_model(trainer=trainer)) == [("quantities-can-be-read", "model.yaml", message)]


def test_a_server_may_have_less_room_for_files_than_a_trainer_needs():
    little = Resources(ephemeral_storage="8Mi")
    assert said(with_model(server=Server(resources=little))) == []
    trainer = replace(MODEL.trainer, resources=little)
    ((_, _, message),) = said(with_model(trainer=trainer))
    none = Resources(ephemeral_storage="0Gi")
    ((_, _, other),) = said(with_model(server=Server(resources=none)))
    assert other == "0Gi is no room for any file: write at least 1Mi"
    assert message == "8Mi is no room for a model and its log: write at least 16Mi"


def test_replicas_of_an_unknown_environment_are_refused():
    message = "there is no environment moon (canary, dev, production)"
    assert said(with_model(server=Server(replicas={"moon": 2, "dev": 1}))) == [
        ("replicas-are-of-environments", "model.yaml", message)
    ]


def test_every_environment_lists_the_class_of_a_models_servers():
    asked = with_model(server=Server(placement="gpu"))
    assert [message for _, _, message in said(asked)] == [
        f"environments/{name}/environment.yaml lists no class gpu under placements"
        for name in ("canary", "dev", "production")
    ]
    listed = {n: replace(each, placements=GPU) for n, each in GOOD.environments.items()}
    assert said(replace(asked, environments=listed)) == []


def test_a_class_of_nodes_is_listed_once():
    found = said(with_environment("dev", placements=GPU * 2))
    assert [message for _, _, message in found] == ["class gpu is listed twice"]


def test_modelyard_yaml_lists_the_class_of_a_models_trainer():
    asked = with_model(trainer=replace(MODEL.trainer, placement="gpu"))
    message = "modelyard.yaml lists no class gpu under placements"
    assert said(asked) == [("placements-of-trainers-are-listed", "model.yaml", message)]
    assert said(replace(asked, repository=Repository(placements=GPU))) == []
