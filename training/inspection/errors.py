"""Errors of looking at results.

InspectionError
├── ResultUnreadable       the file is no JSON result of this service
└── ResultOfAnotherClip    the clip does not have the result's frames
"""

from __future__ import annotations


class InspectionError(Exception):
    """A result cannot be shown."""


class ResultUnreadable(InspectionError):
    """The file is no JSON result of this service."""


class ResultOfAnotherClip(InspectionError):
    """The clip does not have the frames of the result."""
