"""Errors, by who can act on them.

    DizuoError
    ├── UserError            the person can mend it; message = what happened, what was found, what to do
    │   ├── NotFound         404
    │   ├── Conflict         409
    │   ├── NotAllowed       403 (signed in, but may not)
    │   ├── NotSignedIn      401
    │   ├── TooMany          429
    │   │   └── BudgetSpent  429 (money, not pace)
    │   ├── TooLarge         413
    │   └── Unavailable      503 (something this call needs is not there now)
    └── ModelError           goes back to the model as an observation, or 502 when nobody is left to retry
        ├── ModelBusy        429: takes no more for now; `retry_after_s` among the params where it said so
        ├── ModelDown        502: cannot be reached, failed, broke off: another may do
        └── ModelRefused     502: the request or the key; another try would be refused as well

Everything else is a bug: traceback, 500, request id.

Messages are written in English where they are raised, gettext-style, and are the keys of the language
catalogue: `UserError("No knowledge base is named {name!r}.", name=name)`. A face translates `error.template`
with `platform.catalogue.translate`; `str(error)` is the English text.
"""

from typing import Any, ClassVar


class DizuoError(Exception):
    """What Dizuo raises on purpose. `template` is the untranslated message, `params` fill it."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "error"

    def __init__(self, template: str, **params: Any) -> None:
        self.template = template
        self.params = params
        super().__init__(template.format(**params))

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders (the parser runs in a process of its own).
        return (_rebuild, (type(self), self.template, self.params))


def _rebuild(kind: type[DizuoError], template: str, params: dict[str, Any]) -> DizuoError:
    return kind(template, **params)


class UserError(DizuoError):
    """The person can mend it. Printed without a traceback; exit status 1; 4xx."""

    status = 400
    code = "invalid_request"


class NotFound(UserError):
    status = 404
    code = "not_found"


class Conflict(UserError):
    status = 409
    code = "conflict"


class NotAllowed(UserError):
    status = 403
    code = "not_allowed"


class NotSignedIn(UserError):
    status = 401
    code = "not_signed_in"


class TooMany(UserError):
    status = 429
    code = "rate_limited"


class BudgetSpent(TooMany):
    code = "budget_spent"


class TooLarge(UserError):
    status = 413
    code = "too_large"


class Unavailable(UserError):
    status = 503
    code = "unavailable"


class ModelError(DizuoError):
    """A model or its provider failed: dead upstream, bad answer, refused request."""

    status = 502
    code = "model_error"


class ModelBusy(ModelError):
    """Too many requests, or the quota is used up. Nothing was done, so that it is safe to try again."""

    status = 429
    code = "model_busy"


class ModelDown(ModelError):
    """Unreachable, silent, failing, or not speaking the protocol: the fault is not the request's."""

    code = "model_down"


class ModelRefused(ModelError):
    """The provider will not take this request, or this key."""

    code = "model_refused"
