"""Both definitions of the protocol, the stock package's and ours, and messages with every field set."""

import subprocess
from collections.abc import Iterable, Iterator
from functools import cache

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    field_mask_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from jumpstarter_protocol.jumpstarter.client.v1 import client_pb2, client_pb2_grpc
from jumpstarter_protocol.jumpstarter.v1 import (
    common_pb2,
    jumpstarter_pb2,
    jumpstarter_pb2_grpc,
    kubernetes_pb2,
    router_pb2,
    router_pb2_grpc,
)

from .router import example

STOCK = [client_pb2, common_pb2, jumpstarter_pb2, kubernetes_pb2, router_pb2]
STUBS = {client_pb2: client_pb2_grpc, jumpstarter_pb2: jumpstarter_pb2_grpc, router_pb2: router_pb2_grpc}


def stock_files() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    files = {}
    for module in STOCK:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files[file.name] = file
    return files


@cache
def our_set() -> descriptor_pb2.FileDescriptorSet:
    """With the files of google.protobuf that ours import."""
    done = subprocess.run([example("protocol_echo"), "descriptors"], capture_output=True, check=True, timeout=30)
    return descriptor_pb2.FileDescriptorSet.FromString(done.stdout)


def our_files() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    return {file.name: file for file in our_set().file if file.name.startswith("jumpstarter/")}


@cache
def our_pool() -> descriptor_pool.DescriptorPool:
    """Ours, for Python: has what is newer than the stock package, too."""
    pool = descriptor_pool.DescriptorPool()
    for file in our_set().file:
        pool.Add(file)
    for file in our_set().file:
        keep_classes(pool.FindFileByName(file.name).message_types_by_name.values())
    return pool


# protobuf makes a class for a message when it is first needed, and fails when it needs it again after it was collected.
CLASSES: list[type[Message]] = []


def keep_classes(descriptors: Iterable[Descriptor]) -> None:
    for descriptor in descriptors:
        CLASSES.append(message_factory.GetMessageClass(descriptor))
        keep_classes(descriptor.nested_types)


def stock_services() -> Iterator[ServiceDescriptor]:
    for module in STOCK:
        yield from module.DESCRIPTOR.services_by_name.values()


def our_services() -> Iterator[ServiceDescriptor]:
    for name in our_files():
        yield from our_pool().FindFileByName(name).services_by_name.values()


def request_class(method: MethodDescriptor) -> type[Message]:
    return message_factory.GetMessageClass(method.input_type)


def answer_class(method: MethodDescriptor) -> type[Message]:
    return message_factory.GetMessageClass(method.output_type)


def path(method: MethodDescriptor) -> str:
    return f"{method.containing_service.full_name}/{method.name}"


VALUE = {"text": "ü", "number": -1.5, "none": None, "list": [True, {"deeper": []}], "empty": {}}


def full(message_class: type[Message], salt: int = 1) -> Message:
    """Every field is set, to something that differs from field to field and from one salt to another."""
    message = message_class()
    name = message.DESCRIPTOR.full_name
    if name == struct_pb2.Value.DESCRIPTOR.full_name:
        json_format.ParseDict({**VALUE, "salt": salt}, message)
        return message
    if name == timestamp_pb2.Timestamp.DESCRIPTOR.full_name:
        message.seconds, message.nanos = 1_700_000_000 + salt, 999_999_000 + salt
        return message
    if name == field_mask_pb2.FieldMask.DESCRIPTOR.full_name:
        message.paths.extend([f"duration{salt}", "begin_time"])
        return message
    for field in message.DESCRIPTOR.fields:
        entry = field.message_type
        if entry and entry.GetOptions().map_entry:
            for i in range(3):
                getattr(message, field.name)[f"{field.name}-{i}"] = f"{salt + i}"
        elif field.is_repeated and entry:
            getattr(message, field.name).extend(full(entry._concrete_class, salt + i) for i in range(2))
        elif field.is_repeated:
            getattr(message, field.name).extend(scalar(field, salt + i) for i in range(2))
        elif entry:
            getattr(message, field.name).CopyFrom(full(entry._concrete_class, salt + field.number))
        else:
            setattr(message, field.name, scalar(field, salt))
    return message


def present(message_class: type[Message]) -> Message:
    """What can be told from "not set" is set to its default; everything else is left alone."""
    message = message_class()
    for field in message.DESCRIPTOR.fields:
        if field.message_type and not field.is_repeated:
            getattr(message, field.name).SetInParent()
        elif field.has_presence:
            setattr(message, field.name, field.default_value)
    return message


def scalar(field: FieldDescriptor, salt: int):
    kinds = {
        FieldDescriptor.CPPTYPE_STRING: f"{field.name} {salt} ü",
        FieldDescriptor.CPPTYPE_BOOL: True,
        FieldDescriptor.CPPTYPE_INT32: -(2**31) + field.number + salt,
        FieldDescriptor.CPPTYPE_INT64: -(2**63) + field.number + salt,
        FieldDescriptor.CPPTYPE_UINT32: 2**32 - field.number - salt,
        FieldDescriptor.CPPTYPE_UINT64: 2**64 - field.number - salt,
        # Open enums: a value of the future has to survive.
        FieldDescriptor.CPPTYPE_ENUM: 1000 + salt,
    }
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes(range(256)) + bytes([salt])
    return kinds[field.cpp_type]
