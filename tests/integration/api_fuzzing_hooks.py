"""Hook of Schemathesis for what a schema cannot say: an option is in the query or in the form."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Leave the options of a valid form out of the query, where they may have other values."""
    is_form = case.media_type == "multipart/form-data" and isinstance(case.body, dict)
    if is_form and case.meta and case.meta.generation.mode.is_positive and case.query:
        case.query = {name: value for name, value in case.query.items() if name not in case.body}
