"""The one door to every model: a name in, a model out, wrapped in all that holds for every call."""

import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from dizuo.core import effort, traces
from dizuo.core.errors import NotAllowed, NotFound, UserError
from dizuo.core.protocols import context_tokens
from dizuo.gateway.allowed import check_allowed
from dizuo.gateway.breaker import Health, ModelHealth
from dizuo.gateway.cache import Cache
from dizuo.gateway.cached import CachedModel
from dizuo.gateway.ledger import Call, CallKind, Ledger
from dizuo.gateway.limited import LimitedModel
from dizuo.gateway.limits import Limits
from dizuo.gateway.metered import MeteredModel, ended
from dizuo.gateway.routed import Candidate, RoutedModel
from dizuo.gateway.routes import Route, RouteOptions, Routes

if TYPE_CHECKING:
    from dizuo.core.events import Event
    from dizuo.core.messages import Message
    from dizuo.core.protocols import ChatModel
    from dizuo.gateway.models import ModelInfo, Models
    from dizuo.gateway.remote import RemoteModel


class CurrentModel:
    """The chat model of a name, as it is reached at each call: a provider may get another address while it is held."""

    def __init__(self, name: str, find: "Callable[[str], ChatModel]") -> None:
        """Raises what `find` raises."""
        find(name)
        self._name = name
        self._find = find

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_tokens(self) -> int:
        return context_tokens(self._find(self._name))

    async def stream(self, messages: "Sequence[Message]", **options: Any) -> "AsyncGenerator[Event, None]":
        """The events of the model; raises what `find` and the model raise."""
        async with ended(self._find(self._name).stream(messages, **options)) as events:
            async for event in events:
                yield event


class Gateway:
    """The models of an instance as the faces and apps use them."""

    def __init__(
        self, models: "Models", ledger: Ledger, limits: Limits, routes: Routes, health: Health, cache: Cache
    ) -> None:
        self.models = models
        self._ledger = ledger
        self.limits = limits
        self.routes = routes
        self._health = health
        self._cache = cache

    def chat(self, name: str, *, kept: bool = True) -> "ChatModel":
        """The chat model or route of that name, wrapped. Routes have no slash in their names, models have one.

        `kept`: whether its answers may be kept; not where the caller keeps what it makes of them. Raises what
        `Models.chat` raises.
        """
        if "/" not in name:
            try:
                route = self.routes.current(name)
            except NotFound:
                pass  # the catalogue of models says what there is
            else:
                return self.wrapped(self._along(route), kept=kept)
        return self.wrapped(self.models.chat(name), kept=kept)

    def current(self, name: str, *, kept: bool = True) -> CurrentModel:
        """The same, to be held for long. Raises what `chat` raises."""
        return CurrentModel(name, partial(self.chat, kept=kept))

    def list(self) -> "list[ModelInfo]":
        """The models and the routes that can be asked for by name."""
        from dizuo.gateway.models import ModelInfo

        routes = [ModelInfo(name=one.name, kind="chat", provider="route", note=one.note) for one in self.routes.list()]
        return [*self.models.list(), *routes]

    def health(self) -> "list[ModelHealth]":
        """How each remote model does that was asked lately: whether it is spared, and why."""
        return self._health.report()

    def wrapped(self, model: "ChatModel", *, kept: bool = True) -> "ChatModel":
        """The model with all that holds for every call around it, from the inside out:

        - routed: tries again and spares what keeps failing, inside of what keeps answers and counts them once
        - cached: outside of the route, since it is the question that is the same, not the model that answers
        - limited: outside of what keeps answers, since a limit is about who asks; what is kept costs no tokens then
        - metered: outside of everything, so that refusals, kept answers and broken streams are in the ledger too
        """
        if _is_remote(model):
            self._health.reached(model.name, model.fingerprint)
            model = RoutedModel(model.name, [Candidate(model)], self._health)
        if kept and self._cache.policy != "off":
            model = CachedModel(model, self._cache)
        model = LimitedModel(model, self.limits)
        return MeteredModel(model, self._ledger)

    def alone(self, name: str) -> "ChatModel":
        """The chat model of that name, held to the limits and counted, but asked itself: no answer that was kept, no
        second try, and also while it is spared. To try it."""
        return MeteredModel(LimitedModel(self.models.chat(name), self.limits), self._ledger)

    def _along(self, route: Route) -> RoutedModel:
        """The models of a route. One that is gone since is left out; raises what is wrong where all are."""
        found: dict[str, Candidate] = {}
        problem: UserError | None = None
        weights = {one.model: one.weight for one in route.targets} | dict.fromkeys(route.fallbacks, 1.0)
        for name, weight in weights.items():
            try:
                model = self.models.chat(name)
            except UserError as error:
                problem = problem or error
                continue
            if remote := _is_remote(model):
                self._health.reached(name, model.fingerprint)
                model = _patient(model, route.options)
            found[name] = Candidate(model, weight, remote)
        if problem is not None and not found:
            raise problem
        targets = [found[one.model] for one in route.targets if one.model in found]
        fallbacks = [found[one] for one in route.fallbacks if one in found]
        return RoutedModel(route.name, targets, self._health, fallbacks=fallbacks, options=route.options)

    @contextmanager
    def call(self, kind: CallKind, name: str, tokens: int = 0) -> Iterator[Call]:
        """Around a call of a model that is no chat: held to the limits, traced, and written to the ledger.

        The prompt has about so many tokens. That is what it took where nobody reports it: a provider that is silent, or
        a caller who leaves before the report.
        """
        with traces.model_span(kind, name) as span, self._ledger.recorded(kind, name) as call:
            check_allowed(name)
            self.limits.freshen()
            with self.limits.admitted(tokens), effort.counted() as spent:
                failed = False
                try:
                    yield call
                except Exception:
                    failed = True
                    raise
                finally:
                    if tokens and not failed and not call.usage.total_tokens:
                        call.usage, call.estimated = call.usage.model_copy(update={"prompt_tokens": tokens}), True
                    if spent.cpu_s:
                        call.usage = call.usage.model_copy(update={"cpu_s": call.usage.cpu_s + spent.cpu_s})
                    span.attributes["gen_ai.usage.input_tokens"] = call.usage.prompt_tokens
                    span.attributes["gen_ai.usage.output_tokens"] = call.usage.completion_tokens

    def check_allowed(self, name: str) -> None:
        """Raises NotAllowed for a chat model that the key of the present request may not ask; the ledger has it."""
        try:
            check_allowed(name)
        except NotAllowed:
            with self._ledger.recorded("chat", name):
                raise

    def close(self) -> None:
        """Writes down what is still to be written."""
        self._health.close()
        self._ledger.close()


def _is_remote(model: "ChatModel") -> "TypeGuard[RemoteModel]":
    """Whether a provider is asked. Whoever has made such a model has loaded its module."""
    remote = sys.modules.get("dizuo.gateway.remote")
    return remote is not None and isinstance(model, remote.RemoteModel)


def _patient(model: "RemoteModel", options: RouteOptions) -> "RemoteModel":
    """The remote model with the timeouts of a route."""
    seconds = options.model_dump(exclude_none=True, exclude={"tries"})
    return model.waiting(**seconds) if seconds else model
