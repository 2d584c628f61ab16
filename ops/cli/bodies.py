"""Bodies of jobs from what a person typed."""

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from shared.contracts.errors import InvalidUsage
from shared.contracts.v1.jobs import Body


def checked(given: object) -> Body:
    """The body of a job, checked.

    Raises:
        InvalidUsage: names the first field that does not fit.
    """
    try:
        body: Body = TypeAdapter(Body).validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "union_tag_invalid":
            raise InvalidUsage(_unknown(where, first["ctx"])) from None
        given, told = first["input"], first["msg"]
        if isinstance(given, str | int | float):
            told = f"{told}, got {given!r:.80}"
        raise InvalidUsage(f"the job does not fit: {where or 'body'}: {told}") from None
    return body


def _unknown(where: str, facts: Mapping[str, str]) -> str:
    """What is said of a `kind` or `stage` that is none."""
    field, known = (facts[key].replace("'", "") for key in ("discriminator", "expected_tags"))
    place = f" in {where}" if where else ""
    return f"no {field} {facts['tag']!r:.80}{place}; known: {known}"
