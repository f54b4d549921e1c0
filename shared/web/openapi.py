"""The OpenAPI documents: problems, bearer tokens and unique names for each service, and one document for all."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from shared.web.fast import SCHEMAS

Document = dict[str, Any]

VERSION = "1.0.0"
_METHODS = ("get", "put", "post", "delete", "patch")
_SCHEMA_PREFIX = "#/components/schemas/"
_PROBLEM_RESPONSE = {"$ref": "#/components/responses/Problem"}
_BEARER: Document = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token of the issuer, or an API key (`sg_...`) within its scopes.",
}
_PROBLEM: Document = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "description": "Stable; what programs look at."},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body; empty outside of it."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                    "parameter": {"type": "string", "description": "The query parameter, where it is one."},
                    "header": {"type": "string", "description": "The header, where it is one."},
                },
            },
        },
    },
    "additionalProperties": True,
}


def operation_id(route: APIRoute) -> str:
    """Return `<tag>_<function>`: what generated clients call the operation."""
    tag = str(route.tags[0]) if route.tags else "service"
    return re.sub(r"\W+", "_", f"{tag}_{route.name}".removeprefix("_"))


def complete(document: Document) -> Document:
    """Return FastAPI's document with the security scheme, the problem answers and the schemas of hot routes."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for operation in _operations(document):
        schemas.update(operation.pop(SCHEMAS, {}))
        operation.setdefault("security", [{"bearer": []}])
        operation["responses"].pop("422", None)
        operation["responses"]["default"] = _PROBLEM_RESPONSE
        _show_body(operation, schemas)
    for methods in document["paths"].values():
        _tell_of_changes(methods, schemas)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM
    components["schemas"] = dict(sorted(schemas.items()))
    components["responses"] = {
        "Problem": {
            "description": "RFC 9457 problem in the language of Accept-Language (zh or en).",
            "content": {"application/problem+json": {"schema": {"$ref": f"{_SCHEMA_PREFIX}Problem"}}},
        }
    }
    components["securitySchemes"] = {"bearer": _BEARER}
    return document


def openapi_with_all(apps: Mapping[str, FastAPI]) -> Document:
    """Return one document for all services."""
    return merged_documents({name: copy.deepcopy(app.openapi()) for name, app in apps.items()})


def merged_documents(documents: Mapping[str, Document]) -> Document:
    """Return one document for those of all services, which are changed.

    A name for two different things gets the service's name before it.
    """
    merged: Document = {
        "openapi": "3.1.0",
        "info": {"title": "SalesGrain", "version": VERSION},
        "servers": [{"url": "/"}],
        "paths": {},
        "components": {"schemas": {}, "responses": {}, "securitySchemes": {}},
        "tags": [],
    }
    for name, document in documents.items():
        others = [other for known, other in documents.items() if known != name]
        _prefix_schemas(document, name, others)
        _prefix_operations(document, name, others)
        merged["paths"].update(document["paths"])
        for part, found in document["components"].items():
            merged["components"].setdefault(part, {}).update(found)
        merged["tags"].extend(tag for tag in document.get("tags", []) if tag not in merged["tags"])
    return merged


def _operations(document: Document) -> Iterator[Document]:
    for methods in document["paths"].values():
        for method, operation in methods.items():
            if method in _METHODS:
                yield operation


def _show_body(operation: Document, schemas: Document) -> None:
    """Put an example beside the schema of a body: not every reader looks for it within."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "example" not in content and "examples" not in content:
            example = _example_of(content["schema"], schemas)
            if example is not None:
                content["example"] = example


def _example_of(schema: Document, schemas: Document) -> Any:
    schema = schemas[schema["$ref"].removeprefix(_SCHEMA_PREFIX)] if "$ref" in schema else schema
    if "examples" in schema:
        return schema["examples"][0]
    for choice in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if (example := _example_of(choice, schemas)) is not None:
            return example
    parts = {name: _example_of(part, schemas) for name, part in schema.get("properties", {}).items()}
    return {name: example for name, example in parts.items() if example is not None} or schema.get("default")


def _tell_of_changes(methods: Mapping[str, Document], schemas: Document) -> None:
    """Say that a change needs If-Match, and that what a PATCH leaves out stays: it has no defaults."""
    for method in methods.keys() & {"patch", "delete"}:
        for parameter in methods[method].get("parameters", ()):
            parameter["required"] = parameter["required"] or parameter["name"] == "If-Match"
    for content in methods.get("patch", {}).get("requestBody", {}).get("content", {}).values():
        body = schemas.get(content["schema"].get("$ref", "").removeprefix(_SCHEMA_PREFIX), {})
        for part in body.get("properties", {}).values():
            part.pop("default", None)


def _prefix_schemas(document: Document, name: str, others: list[Document]) -> None:
    schemas = document["components"]["schemas"]
    clashing = {
        schema for schema, shape in schemas.items() for other in others
        if other["components"]["schemas"].get(schema, shape) != shape
    }  # fmt: skip
    renamed = {schema: f"{name.capitalize()}{schema}" for schema in clashing}
    document["components"]["schemas"] = {renamed.get(schema, schema): shape for schema, shape in schemas.items()}
    _follow(document, {_SCHEMA_PREFIX + old: _SCHEMA_PREFIX + new for old, new in renamed.items()})


def _follow(part: Any, renamed: Mapping[str, str]) -> None:
    """Point every reference within `part` (also those of discriminators) to its new name."""
    if isinstance(part, dict):
        for key, value in part.items():
            if isinstance(value, str):
                part[key] = renamed.get(value, value)
            else:
                _follow(value, renamed)
    elif isinstance(part, list):
        for item in part:
            _follow(item, renamed)


def _prefix_operations(document: Document, name: str, others: list[Document]) -> None:
    taken = {operation["operationId"] for other in others for operation in _operations(other)}
    for operation in _operations(document):
        if operation["operationId"] in taken:
            operation["operationId"] = f"{name}_{operation['operationId']}"
