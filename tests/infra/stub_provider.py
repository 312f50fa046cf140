"""A Terraform provider with a real schema and no cloud: what Terraform starts as its plugin in the offline checks.

Terraform itself reports unknown arguments, missing required ones and wrong types from the schema; computed values are
unknown until an apply, which this provider does not do (``terraform test`` mocks it). The program's own name says
which provider it is, the environment variable STUB_SCHEMAS where its schema lies. It is run by a Python that has the
packages of tests/infra/requirements.txt.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import msgpack
import tf.provider
import tf.runner
from tf.gen import tfplugin_pb2 as messages
from tf.gen import tfplugin_pb2_grpc as services

UNKNOWN = msgpack.ExtType(0, b"\x00")
_NAME = re.search(r"terraform-provider-([a-z]+)", Path(sys.argv[0]).name)
PROVIDER = _NAME[1] if _NAME else ""
_Nested = messages.Schema.NestedBlock
_NESTING = {"single": _Nested.SINGLE, "list": _Nested.LIST, "set": _Nested.SET}


class StubProvider(services.ProviderServicer):  # type: ignore[misc]
    """Announces the schema, accepts every configuration, plans what is proposed."""

    def __init__(self, *_: Any) -> None:
        path = Path(os.environ["STUB_SCHEMAS"]) / f"{PROVIDER}.json"
        self._schemas = json.loads(path.read_text())

    def GetMetadata(self, request: Any, context: Any) -> Any:
        return messages.GetMetadata.Response()

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        return messages.GetProviderSchema.Response(
            provider=_schema(self._schemas["provider"]),
            resource_schemas={name: _schema(block) for name, block in self._schemas["resource"].items()},
            data_source_schemas={name: _schema(block) for name, block in self._schemas["data"].items()},
            server_capabilities=messages.ServerCapabilities(get_provider_schema_optional=False),
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
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
        return messages.PlanResourceChange.Response(planned_state=_encode(_with_unknowns(block, proposed)))

    def StopProvider(self, request: Any, context: Any) -> Any:
        return messages.StopProvider.Response()


def _schema(block: dict[str, Any]) -> Any:
    return messages.Schema(version=0, block=_block(block))


def _block(block: dict[str, Any]) -> Any:
    return messages.Schema.Block(
        attributes=[
            messages.Schema.Attribute(
                name=name,
                type=json.dumps(each["type"]).encode(),
                required=each["required"],
                optional=each["optional"],
                computed=each["computed"] and not each["required"],
            )
            for name, each in block["attributes"].items()
        ],
        block_types=[_nested(name, each) for name, each in block["blocks"].items()],
    )


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


def _with_placeholders(block: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """A data source's answer: a data source is read while planning, so its values have to be there."""
    for name, each in block["attributes"].items():
        if value.get(name) is None and each["type"] == "string":
            value[name] = f"00000000-0000-0000-0000-{PROVIDER[:4].encode().hex():0>12}"
    return value


def _decode(value: Any) -> Any:
    return msgpack.unpackb(
        value.msgpack, ext_hook=lambda code, data: UNKNOWN, raw=False, strict_map_key=False
    )


def _encode(value: Any) -> Any:
    return messages.DynamicValue(msgpack=msgpack.packb(value))


class _Named:
    def full_name(self) -> str:
        return PROVIDER


if __name__ == "__main__":
    tf.provider.ProviderServicer = StubProvider
    tf.runner.run_provider(_Named(), sys.argv)
