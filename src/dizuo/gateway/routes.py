"""Routes: names of one's own for several models, which share the work and stand in for one another.

A route's name has no slash ("fast"), a model's always has one ("openai/gpt-5-mini"): neither can hide the other. It is
asked like any model.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dizuo.core.documents import Note
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.platform import schema
from dizuo.platform.changes import UntilChanged
from dizuo.platform.database import Database

MOST_MODELS = 16
MOST_TRIES = 20
LONGEST_S = 3600.0
LARGEST_WEIGHT = 1000.0
_NAME = re.compile(r"[^\W_](?:[\w.-]{0,62}[^\W_])?")  # letters of any script, digits; - _ . inside
_TAKEN = "health"


class Target(Noun):
    """A model among those that share the work, and its part of it."""

    model: str
    weight: float = 1.0


class RouteOptions(Noun):
    """How long each part of a call may take, in seconds, and how often it is tried. None: as usual."""

    connect_s: float | None = None
    first_token_s: float | None = None
    between_tokens_s: float | None = None
    total_s: float | None = None  # over all tries
    tries: int | None = None


class Route(Noun):
    """A name for several models. The targets share the work by weight and load; the fallbacks are asked in turn when
    no target answers."""

    name: str
    targets: tuple[Target, ...]
    fallbacks: tuple[str, ...] = ()
    options: RouteOptions = RouteOptions()
    created_at: datetime
    changed_at: datetime

    @property
    def shares(self) -> tuple[float, ...]:
        """Each target's part of the whole, 0 to 1."""
        whole = sum(target.weight for target in self.targets)
        return tuple(target.weight / whole for target in self.targets)

    @property
    def note(self) -> Note:
        """What it does, in a sentence."""
        targets = ", ".join(
            f"{target.model} ({share:.0%})" if len(self.targets) > 1 else target.model
            for target, share in zip(self.targets, self.shares, strict=True)
        )
        if not self.fallbacks:
            return Note(template="A route to {targets}.", params={"targets": targets})
        return Note(
            template="A route to {targets}; when none answers, {fallbacks}.",
            params={"targets": targets, "fallbacks": ", ".join(self.fallbacks)},
        )


class Routes:
    """The table `routes`. Blocking."""

    def __init__(self, database: Database, check: Callable[[str], object]) -> None:
        """`check` raises what is wrong with a model's name."""
        self._database = database
        self._check = check
        self._known = UntilChanged(database.version, lambda: {route.name: route for route in self.list()})

    def list(self) -> "list[Route]":
        """All of them, by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(schema.routes).order_by(schema.routes.c.name)).all()
        return [_route(row) for row in rows]

    def get(self, name: str) -> Route:
        """One of them. Raises NotFound with the names that there are."""
        return self._found({route.name: route for route in self.list()}, name)

    def current(self, name: str) -> Route:
        """The same for a call of it, in microseconds where nothing has changed. Raises NotFound."""
        return self._found(self._known.get(lambda routes: name not in routes), name)

    def add(
        self,
        name: str,
        targets: Sequence[Target],
        fallbacks: Sequence[str] = (),
        options: RouteOptions | None = None,
        *,
        replace: bool = False,
    ) -> Route:
        """Makes a route; with `replace` also in place of one of that name.

        Raises UserError for what cannot work, NotFound for an unknown model, Conflict for a name that is taken.
        """
        values = self._checked(name.strip(), targets, fallbacks, options or RouteOptions())
        routes = schema.routes
        with self._database.write() as connection:
            changed = 0
            if replace:
                changed = connection.execute(
                    routes.update().where(routes.c.name == values["name"]).values(values)
                ).rowcount
            if not changed:
                try:
                    connection.execute(routes.insert().values({**values, "created_at": values["changed_at"]}))
                except IntegrityError as error:
                    raise Conflict(
                        "There is a route {name!r} already. Replace it (dizuo route add --replace), or choose another "
                        "name.",
                        name=values["name"],
                    ) from error
            row = connection.execute(sa.select(routes).where(routes.c.name == values["name"])).one()
        self._known.forget()
        return _route(row)

    def remove(self, name: str) -> Route:
        """Removes a route; its models stay. Raises NotFound."""
        route = self.get(name)
        with self._database.write() as connection:
            connection.execute(schema.routes.delete().where(schema.routes.c.name == name))
        self._known.forget()
        return route

    # ----------------------------------------------------------------------------------------------------------

    @staticmethod
    def _found(known: Mapping[str, Route], name: str) -> Route:
        if name not in known:
            raise NotFound(
                "No route is named {name!r}. There are: {names}. A model's name has a slash, such as local/starter.",
                name=name[:80],
                names=", ".join(sorted(known)) or "-",
            )
        return known[name]

    def _checked(
        self, name: str, targets: Sequence[Target], fallbacks: Sequence[str], options: RouteOptions
    ) -> dict[str, Any]:
        if not _NAME.fullmatch(name):
            raise UserError(
                "{name!r} cannot name a route. Use 1 to 64 letters and digits, with - _ . inside, and no slash.",
                name=name[:80],
            )
        if name == _TAKEN:
            raise UserError("{name!r} cannot name a route: /api/routes/{name} says how the models do.", name=name)
        models = [*(target.model for target in targets), *fallbacks]
        if not targets:
            raise UserError("The route {name} has no target. Give at least one model.", name=name)
        if len(models) > MOST_MODELS:
            raise UserError("{n} models are more than a route takes: {most}.", n=len(models), most=MOST_MODELS)
        for model in models:
            if models.count(model) > 1:
                raise UserError("The model {model!r} stands in the route {name} twice.", model=model[:80], name=name)
            if "/" not in model:
                raise UserError(
                    "{model!r} is no model's name: those have a slash, such as local/starter. A route cannot lead to "
                    "another.",
                    model=model[:80],
                )
            self._check(model)
        for target in targets:
            if not 0 < target.weight <= LARGEST_WEIGHT:
                raise UserError(
                    "The weight of {model} is {weight}; it must be above 0 and at most {most}.",
                    model=target.model,
                    weight=target.weight,
                    most=LARGEST_WEIGHT,
                )
        _check_options(options)
        return {
            "name": name,
            "targets": [target.model_dump() for target in targets],
            "fallbacks": list(fallbacks),
            "options": options.model_dump(exclude_none=True),
            "changed_at": schema.now(),
        }


def _check_options(options: RouteOptions) -> None:
    for option, value in options.model_dump(exclude_none=True).items():
        least, most = (1, MOST_TRIES) if option == "tries" else (0.1, LONGEST_S)
        if not least <= value <= most:
            raise UserError(
                "{option} is {value!r}; it has to be {least} to {most}.",
                option=option,
                value=value,
                least=least,
                most=most,
            )


def parse_target(text: str) -> Target:
    """A target as people write it: MODEL or MODEL=WEIGHT. Raises UserError."""
    model, sign, weight = text.strip().rpartition("=")
    if not sign:
        return Target(model=text.strip())
    try:
        return Target(model=model.strip(), weight=float(weight))
    except ValueError as error:
        raise UserError(
            "{text!r} is no target. Write MODEL=WEIGHT, such as openai/gpt-5-mini=3, or the model alone.",
            text=text[:80],
        ) from error


def _route(row: Any) -> Route:
    return Route(
        name=row.name,
        targets=tuple(Target(**target) for target in row.targets),
        fallbacks=tuple(row.fallbacks),
        options=RouteOptions(**row.options),
        created_at=row.created_at,
        changed_at=row.changed_at,
    )
