"""What request bodies and query strings have in common: an unknown name is refused, with the nearest valid one."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from dizuo.platform.catalogue import _

# PostgreSQL keeps no NUL in text, so no text may come in with one.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
# Text that says something.
Words = Annotated[str, StringConstraints(min_length=1, max_length=10_000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]

_UNKNOWN = _("There is no parameter {name!r}. Nearest: {near}. There are: {known}.")
_UNSUPPORTED = _("The parameter {name!r} of the OpenAI protocol is not supported here. Supported: {known}.")


def unknown_parameter(name: str, known: Iterable[str], unsupported: Iterable[str] = ()) -> PydanticCustomError:
    """The refusal of a parameter by name."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    params: dict[str, Any] = {"name": name[:80], "known": ", ".join(names) or "-"}
    if name in unsupported:
        template = _UNSUPPORTED
    else:
        template = _UNKNOWN
        params["near"] = near[0] if near else "-"
    return PydanticCustomError(
        "unknown_parameter", "unknown parameter", {"name": name[:80], "template": template, "params": params}
    )


class RequestBody(BaseModel):
    """A JSON body that takes the fields it names and no others."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    unsupported: ClassVar[frozenset[str]] = frozenset()  # known to the protocol, not to us

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            for name in data:
                if name not in known:
                    raise unknown_parameter(str(name), known, cls.unsupported)
        return data
