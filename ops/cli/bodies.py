"""Bodies of jobs from what a person typed."""

from pydantic import TypeAdapter, ValidationError

from shared.contracts.errors import InvalidUsage
from shared.contracts.v1.jobs import KINDS, Body


def checked(given: object) -> Body:
    """The body of a job, checked.

    Raises:
        InvalidUsage: names the first field that does not fit.
    """
    try:
        body: Body = TypeAdapter(Body).validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "union_tag_invalid":
            wrong = first["ctx"]["tag"]
            raise InvalidUsage(f"no kind {wrong!r:.80}; known: {', '.join(KINDS)}") from None
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise InvalidUsage(f"the job does not fit: {where}: {first['msg']}") from None
    return body
