"""Server reflection: tools learn the contract from the server itself."""

from __future__ import annotations

from typing import Final

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.gateway.rpc.method_table import ANNOTATION_SERVICE, JOB_SERVICE

REFLECTION_SERVICE_NAMES: Final = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)
"""The messages of v1 are those of v1alpha, which the library knows."""


def create_reflection_handlers() -> list[grpc.GenericRpcHandler]:
    """The service under both its names."""
    service_names = (
        ANNOTATION_SERVICE.full_name,
        JOB_SERVICE.full_name,
        health.SERVICE_NAME,
        reflection.SERVICE_NAME,
    )
    servicer = reflection.aio.ReflectionServicer(service_names)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [
        grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})
        for name in REFLECTION_SERVICE_NAMES
    ]
