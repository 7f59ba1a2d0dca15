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

ANNOTATION: Final[ServiceDescriptor] = annotation_pb2.DESCRIPTOR.services_by_name[
    "AnnotationService"
]
JOBS: Final[ServiceDescriptor] = jobs_pb2.DESCRIPTOR.services_by_name["JobService"]
READING: Final = frozenset({"get_job", "list_jobs", "watch_job", "get_result"})
"""Actions that change nothing: for holders of the scope `read`."""
FETCHING: Final = frozenset({"get_result"})
"""Those among them that are written down in the audit log all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method. name: as in metrics. action: as REST calls the same."""

    name: str
    action: str
    descriptor: MethodDescriptor

    @property
    def scope(self) -> Scope:
        """What the caller's key has to allow."""
        return Scope.READ if self.action in READING else Scope.SUBMIT

    @property
    def is_audited(self) -> bool:
        """Whether every call is written down, not only refused ones."""
        return self.action not in READING or self.action in FETCHING

    @property
    def request(self) -> Any:
        """The class of its requests."""
        return GetMessageClass(self.descriptor.input_type)


def methods_of(service: ServiceDescriptor) -> Iterator[Method]:
    """All methods of a service."""
    for descriptor in service.methods:
        yield Method(
            name=f"{service.full_name}/{descriptor.name}",
            action=re.sub(r"(?<!^)(?=[A-Z])", "_", descriptor.name).lower(),
            descriptor=descriptor,
        )
