"""Terraform providers with real schemas and no cloud: what the offline checks attach Terraform to.

Terraform itself reports unknown arguments, missing required ones and wrong types from the schema; computed values are
unknown until an apply, which these providers do not do (``terraform test`` mocks it). tests/infra/told.py tells some of
them: ids, and what other resources ask for. Run by a Python that has the
packages of tests/infra/requirements.txt, with a folder of ``<provider>.json``; prints one line for
TF_REATTACH_PROVIDERS and serves until its standard input is closed, so it never outlives who started it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import msgpack
from tf.gen import grpc_controller_pb2 as controller
from tf.gen import grpc_controller_pb2_grpc as controller_services
from tf.gen import grpc_stdio_pb2_grpc as stdio_services
from tf.gen import tfplugin_pb2 as messages
from tf.gen import tfplugin_pb2_grpc as services

from tests.infra.told import told

ADDRESSES = {
    "azurerm": "hashicorp/azurerm",
    "azuread": "hashicorp/azuread",
    "azapi": "azure/azapi",
}
UNKNOWN = msgpack.ExtType(0, b"\x00")
PLACEHOLDER = "22222222-2222-2222-2222-222222222222"
_Nested = messages.Schema.NestedBlock
_Object = messages.Schema.Object
_NESTING = {"single": _Nested.SINGLE, "list": _Nested.LIST, "set": _Nested.SET}


class StubProvider(services.ProviderServicer):  # type: ignore[misc]
    """Announces the schema, accepts every configuration, plans what is proposed."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas
        self._subscription = PLACEHOLDER

    def GetMetadata(self, request: Any, context: Any) -> Any:
        return messages.GetMetadata.Response()

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        return messages.GetProviderSchema.Response(
            provider=_schema(self._schemas["provider"]),
            resource_schemas={
                name: _schema(block) for name, block in self._schemas["resource"].items()
            },
            data_source_schemas={
                name: _schema(block) for name, block in self._schemas["data"].items()
            },
            server_capabilities=messages.ServerCapabilities(get_provider_schema_optional=False),
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        named = _decode(request.config).get("subscription_id")
        self._subscription = named if isinstance(named, str) else PLACEHOLDER
        return messages.ConfigureProvider.Response()

    def ReadDataSource(self, request: Any, context: Any) -> Any:
        block = self._schemas["data"][request.type_name]
        state = _with_placeholders(block, _decode(request.config))
        return messages.ReadDataSource.Response(state=_encode(state))

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        proposed = _decode(request.proposed_new_state)
        if proposed is None:
            return messages.PlanResourceChange.Response(planned_state=request.proposed_new_state)
        block = self._schemas["resource"][request.type_name]
        planned = _with_unknowns(block, proposed)
        for name, answer in told(request.type_name, planned, self._subscription).items():
            _put(planned, name, answer)
        return messages.PlanResourceChange.Response(planned_state=_encode(planned))

    def StopProvider(self, request: Any, context: Any) -> Any:
        return messages.StopProvider.Response()


def _schema(block: dict[str, Any]) -> Any:
    return messages.Schema(version=0, block=_block(block))


def _block(block: dict[str, Any]) -> Any:
    return messages.Schema.Block(
        attributes=_attributes(block),
        block_types=[_nested(name, each) for name, each in block["blocks"].items()],
    )


def _attributes(block: dict[str, Any]) -> list[Any]:
    return [
        messages.Schema.Attribute(
            name=name,
            required=each["required"],
            optional=each["optional"],
            computed=each["computed"] and not each["required"],
            **_shape(each),
        )
        for name, each in block["attributes"].items()
    ]


def _shape(attribute: dict[str, Any]) -> dict[str, Any]:
    if "nested" not in attribute:
        return {"type": json.dumps(attribute["type"]).encode()}
    inner = _attributes(attribute["nested"])
    return {"nested_type": messages.Schema.Object(attributes=inner, nesting=_Object.SINGLE)}


def _nested(name: str, nested: dict[str, Any]) -> Any:
    bounded = nested["nesting"] != "single"
    return _Nested(
        type_name=name,
        nesting=_NESTING[nested["nesting"]],
        min_items=nested["min"] if bounded else 0,
        max_items=nested["max"] if bounded else 0,
        block=_block(nested["block"]),
    )


def _with_unknowns(block: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """A planned state: what the cloud would compute is not known yet."""
    for name, each in block["attributes"].items():
        if each["computed"] and value.get(name) is None:
            value[name] = UNKNOWN
    for name, nested in block["blocks"].items():
        inner = value.get(name)
        for item in inner if isinstance(inner, list) else [inner]:
            if isinstance(item, dict):
                _with_unknowns(nested["block"], item)
    return value


def _put(planned: dict[str, Any], name: str, answer: Any) -> None:
    """Fill in what is not known yet; of a block, in each of its items."""
    if isinstance(answer, dict):
        for item in planned.get(name) or []:
            for key, value in answer.items():
                _put(item, key, value)
    elif planned.get(name) == UNKNOWN:
        planned[name] = answer


def _with_placeholders(block: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """A data source's answer: a data source is read while planning, so its values have to be there."""
    for name, each in block["attributes"].items():
        if value.get(name) is None and each.get("type") == "string":
            value[name] = PLACEHOLDER
    return value


def _decode(value: Any) -> Any:
    return msgpack.unpackb(
        value.msgpack, ext_hook=lambda code, data: UNKNOWN, raw=False, strict_map_key=False
    )


def _encode(value: Any) -> Any:
    return messages.DynamicValue(msgpack=msgpack.packb(value))


class _Controller(controller_services.GRPCControllerServicer):  # type: ignore[misc]
    def Shutdown(self, request: Any, context: Any) -> Any:
        # Terraform leaves an attached provider running; so does this one.
        return controller.Empty()


class _Stdio(stdio_services.GRPCStdioServicer):  # type: ignore[misc]
    def StreamStdio(self, request: Any, context: Any) -> Any:
        return iter(())


def _serve(folder: Path, schemas: dict[str, Any], name: str) -> tuple[Any, dict[str, Any]]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    services.add_ProviderServicer_to_server(StubProvider(schemas), server)
    controller_services.add_GRPCControllerServicer_to_server(_Controller(), server)
    stdio_services.add_GRPCStdioServicer_to_server(_Stdio(), server)
    socket = str(folder / name)
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    return server, {
        "Protocol": "grpc",
        "ProtocolVersion": 6,
        "Pid": os.getpid(),
        "Test": True,
        "Addr": {"Network": "unix", "String": socket},
    }


def main(schemas: Path) -> None:
    """Serve every provider until standard input ends."""
    with tempfile.TemporaryDirectory(prefix="stub-") as sockets:
        attached, servers = {}, []
        for name, address in ADDRESSES.items():
            document = json.loads((schemas / f"{name}.json").read_text())
            server, attached[address] = _serve(Path(sockets), document, name)
            servers.append(server)
        print(json.dumps(attached), flush=True)
        sys.stdin.read()
        for server in servers:
            server.stop(grace=None).wait(2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
