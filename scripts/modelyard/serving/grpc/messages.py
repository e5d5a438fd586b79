"""The protocol's messages, made of their descriptor by whatever protobuf a model's runtime has.

Code that protoc generates asks for the protobuf that generated it, or a newer one. A trainer's
libraries pin theirs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

SERVICE = "inference.GRPCInferenceService"
DESCRIPTOR = Path(__file__).with_name("open_inference.binpb")
"""What protoc makes of the `.proto` beside it."""


@cache
def message_class(name: str) -> Any:
    """The class of one of the protocol's messages."""
    from google.protobuf import message_factory  # noqa: PLC0415 - only where gRPC is asked for

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"inference.{name}"))


@cache
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool  # noqa: PLC0415 - as above

    # Not the default pool, in which somebody else's messages may have the same names.
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool
