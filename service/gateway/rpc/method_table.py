"""What gRPC can be asked for: each method of the contract, and what it takes to call it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from circumplex.v1 import annotation_pb2, jobs_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from service.domain.caller import Scope

ANNOTATION_SERVICE: Final[ServiceDescriptor] = annotation_pb2.DESCRIPTOR.services_by_name[
    "AnnotationService"
]
JOB_SERVICE: Final[ServiceDescriptor] = jobs_pb2.DESCRIPTOR.services_by_name["JobService"]
READ_ACTIONS: Final = frozenset({"get_job", "list_jobs", "watch_job", "get_result"})
"""Actions that change nothing: for holders of the scope `read`."""
AUDITED_READ_ACTIONS: Final = frozenset({"get_result"})
"""Those among them that are written down in the audit log all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcMethod:
    """One method. name: as in metrics. action: as REST calls the same."""

    name: str
    action: str
    descriptor: MethodDescriptor

    @property
    def scope(self) -> Scope:
        """What the caller's key has to allow."""
        return Scope.READ if self.action in READ_ACTIONS else Scope.SUBMIT

    @property
    def is_audited(self) -> bool:
        """Whether every call is written down, not only refused ones."""
        return self.action not in READ_ACTIONS or self.action in AUDITED_READ_ACTIONS

    @property
    def request_class(self) -> Any:
        """The class of its requests."""
        return GetMessageClass(self.descriptor.input_type)


def list_methods(service: ServiceDescriptor) -> Iterator[RpcMethod]:
    """All methods of a service."""
    for descriptor in service.methods:
        yield RpcMethod(
            name=f"{service.full_name}/{descriptor.name}",
            action=re.sub(r"(?<!^)(?=[A-Z])", "_", descriptor.name).lower(),
            descriptor=descriptor,
        )
