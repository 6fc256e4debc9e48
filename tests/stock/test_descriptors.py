"""Our definition of the protocol is the stock package's, but for what is listed here."""

from collections.abc import Callable, Iterator

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto

from .protocol import our_files, stock_files

# What upstream has added since the release, with all that is inside. Whatever else differs fails the test, and so does an
# entry that is no longer true.
NEWER_FILES = {"jumpstarter/v1/telemetry.proto"}
NEWER = {
    "jumpstarter.v1.ControllerService.GetServiceEndpoints",
    "jumpstarter.v1.GetServiceEndpointsRequest",
    "jumpstarter.v1.GetServiceEndpointsResponse",
    "jumpstarter.v1.TelemetryEndpoint",
    "jumpstarter.v1.StatusResponse.context",
    "jumpstarter.v1.StatusResponse.ContextEntry",
    "jumpstarter.v1.GetReportResponse.motd",
    "jumpstarter.v1.LogStreamResponse.driver_type",
    "jumpstarter.v1.LogStreamResponse.operation",
    "jumpstarter.v1.LogStreamResponse.timestamp",
    "jumpstarter.v1.LogStreamResponse.structured_fields",
    "jumpstarter.v1.LogStreamResponse.StructuredFieldsEntry",
    "jumpstarter.client.v1.Lease.context",
    "jumpstarter.client.v1.Lease.ContextEntry",
}

# Left out of ours: options of google.api in client.proto (HTTP paths, required and read-only fields, resource names), and
# options of files that name packages of other languages. No gRPC peer sees either. These are compared:
OPTIONS = {"deprecated", "map_entry", "packed", "allow_alias", "idempotency_level"}
GOOGLE_API = "google/api/"

F = FieldDescriptorProto
Facts = dict[str, dict]


def is_newer(name: str) -> bool:
    return any(name == newer or name.startswith(f"{newer}.") for newer in NEWER)


def facts(file: FileDescriptorProto) -> Facts:
    """Everything that a file defines, by its full name."""
    found: Facts = {file.name: {"package": file.package, "syntax": file.syntax}}
    found |= {f"import {name} by {file.name}": {} for name in file.dependency if not name.startswith(GOOGLE_API)}

    def add(name: str, part, **more) -> None:
        options = {option.name: value for option, value in part.options.ListFields() if option.name in OPTIONS}
        found[name] = {"kind": type(part).__name__, "options": options, **more}

    def add_enum(name: str, enum: EnumDescriptorProto) -> None:
        add(name, enum)
        for value in enum.value:
            add(f"{name}.{value.name}", value, number=value.number)

    def add_message(name: str, message: DescriptorProto) -> None:
        reserved = sorted((r.start, r.end) for r in message.reserved_range), sorted(message.reserved_name)
        add(name, message, reserved=reserved)
        for field in message.field:
            add(
                f"{name}.{field.name}",
                field,
                number=field.number,
                type=F.Type.Name(field.type),
                of=field.type_name,
                label=F.Label.Name(field.label),
                optional=field.proto3_optional,
                oneof=message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None,
                json=field.json_name,
                default=field.default_value,
            )
        for nested in message.nested_type:
            add_message(f"{name}.{nested.name}", nested)
        for nested in message.enum_type:
            add_enum(f"{name}.{nested.name}", nested)

    for message in file.message_type:
        add_message(f"{file.package}.{message.name}", message)
    for enum in file.enum_type:
        add_enum(f"{file.package}.{enum.name}", enum)
    for service in file.service:
        name = f"{file.package}.{service.name}"
        add(name, service)
        for method in service.method:
            streams = method.client_streaming, method.server_streaming
            add(f"{name}.{method.name}", method, request=method.input_type, answer=method.output_type, streams=streams)
    return found


def all_facts(files: list[FileDescriptorProto]) -> Facts:
    return {name: fact for file in files for name, fact in facts(file).items()}


def differences(ours: Facts, stock: Facts) -> list[str]:
    found = [f"{name} is missing in proto/" for name in stock.keys() - ours.keys()]
    found += [f"{name} is in proto/ only" for name in ours.keys() - stock.keys() if not is_newer(name)]
    found += [f"{name} is not newer than the release" for name in NEWER if name in stock or name not in ours]
    for name in ours.keys() & stock.keys():
        if ours[name] != stock[name]:
            found.append(f"{name} is {ours[name]} in proto/ but {stock[name]} in the release")
    return found


def test_same():
    ours, stock = our_files(), stock_files()
    assert ours.keys() - stock.keys() == NEWER_FILES
    mine = [file for name, file in ours.items() if name not in NEWER_FILES]
    found = differences(all_facts(mine), all_facts(list(stock.values())))
    assert not found, "\n".join(["", *found])


def change(attribute: str, to: Callable) -> Callable:
    return lambda part: setattr(part, attribute, to(getattr(part, attribute)))


RENAME = {"name": change("name", lambda name: f"{name}x")}
RENUMBER = {"number": change("number", lambda number: number + 100)}
# By the kind of part: what can be altered, and how.
ALTERATIONS = {
    "value": RENAME | RENUMBER,
    "method": RENAME
    | {
        "request": change("input_type", lambda _: ".jumpstarter.v1.Time"),
        "answer": change("output_type", lambda _: ".jumpstarter.v1.Time"),
        "client streams": change("client_streaming", lambda streams: not streams),
        "server streams": change("server_streaming", lambda streams: not streams),
    },
    "field": RENAME
    | RENUMBER
    | {
        "type": change("type", lambda t: F.TYPE_STRING if t == F.TYPE_BYTES else F.TYPE_BYTES),
        "type's name": change("type_name", lambda name: f"{name}x"),
        "label": change("label", lambda label: F.LABEL_OPTIONAL if label == F.LABEL_REPEATED else F.LABEL_REPEATED),
        "optionality": change("proto3_optional", lambda optional: not optional),
        "JSON name": change("json_name", lambda name: f"{name}x"),
        "deprecation": lambda field: setattr(field.options, "deprecated", not field.options.deprecated),
    },
}


def alterable(file: FileDescriptorProto) -> Iterator[tuple[str, str, object]]:
    """Name, kind, and the list that holds them, of all fields, enum values and methods."""

    def of(name: str, message: DescriptorProto) -> Iterator[tuple[str, str, object]]:
        yield name, "field", message.field
        for nested in message.nested_type:
            yield from of(f"{name}.{nested.name}", nested)

    for message in file.message_type:
        yield from of(f"{file.package}.{message.name}", message)
    for enum in file.enum_type:
        yield f"{file.package}.{enum.name}", "value", enum.value
    for service in file.service:
        yield f"{file.package}.{service.name}", "method", service.method


def test_whatever_is_altered_is_found():
    """Each field, enum value and method, altered in each way, or missing, or once too often."""
    stock = all_facts(list(stock_files().values()))
    mine = [file for name, file in our_files().items() if name not in NEWER_FILES]
    count = 0
    for file in mine:
        others = all_facts([other for other in mine if other is not file])

        def found(what: str) -> None:
            nonlocal count
            count += 1
            assert differences(others | facts(file), stock), f"not found: {what}"

        for name, kind, parts in alterable(file):
            if is_newer(name):
                continue
            for i in range(len(parts)):
                if is_newer(f"{name}.{parts[i].name}"):
                    continue
                original = type(parts[i])()
                original.CopyFrom(parts[i])
                for what, alter in ALTERATIONS[kind].items():
                    alter(parts[i])
                    found(f"{what} of {name}.{original.name}")
                    parts[i].CopyFrom(original)
                del parts[i]
                found(f"no {name}.{original.name}")
                parts.insert(i, original)
            parts.add(name="extra")
            found(f"{name}.extra")
            del parts[-1]
    assert count > 1000
    assert differences(all_facts(mine), stock) == []
