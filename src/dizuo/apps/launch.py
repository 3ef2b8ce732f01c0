"""Starting runs: of an app or of none, for people, for those who call an app as a model, and for other runs."""

from collections.abc import Callable, Sequence

from dizuo.agents.equipment import Setup
from dizuo.agents.policy import Policy
from dizuo.agents.runs import Run, Runs
from dizuo.agents.steps import APP_PREFIX, Budget
from dizuo.apps.app import ASK, App, Apps, called
from dizuo.core import traces
from dizuo.core.errors import UserError
from dizuo.core.messages import Message


class Launcher:
    """Starts runs. Blocking."""

    def __init__(
        self,
        runs: Callable[[], Runs],
        apps: Apps,
        check_allowed: Callable[[str], None],
        check_limits: Callable[[], None],
        usual_model: str,
    ) -> None:
        """`check_allowed` raises where whoever asks may not have a model or an app, `check_limits` where there is no
        room for them now; `usual_model`: where none is named, or ""."""
        self._runs = runs
        self._apps = apps
        self._check_allowed = check_allowed
        self._check_limits = check_limits
        self._usual_model = usual_model

    def start(
        self,
        goal: str,
        *,
        app: str = "",
        model: str = "",
        knowledge: str = "",
        tools: Sequence[str] | None = None,
        budget: Budget | None = None,
        policy: Policy | None = None,
        user_id: int | None = None,
        answer_hours: float | None = None,
        for_others: bool = False,
        earlier: Sequence[Message] = (),
        hold: bool = False,
    ) -> Run:
        """Accepts a goal, of an app where one is named. What is named besides takes the place of what the app has: the
        model, the knowledge base, the tools, each part of the budget that is set. Rules of `policy` come before the
        app's, and allow nothing that these deny. `for_others`: an agent of others asks. `hold`: it rests
        until it is resumed. A key that may not read what is remembered of its user starts runs without memory.

        Raises what `Runs.start` and `Apps.get` raise, NotAllowed for a key that may not ask the app or the model,
        TooMany where a limit is reached, and UserError where no model is set or the app needs a knowledge base that is
        not named.
        """
        if app:
            setup = self._of(self._apps.get(app), model, knowledge, tools, budget, policy)
            self._check_allowed(called(setup.app, knowledge))
            if model:
                self._check_allowed(model)
        else:
            setup = Setup(
                self._model(model),
                "",
                knowledge,
                tools or (),
                policy or Policy(),
                Budget() if budget is None else budget,
            )
            self._check_allowed(setup.model)
        for tool in tools or ():
            if tool.startswith(APP_PREFIX):
                self._check_allowed(tool)
        if setup.app:
            traces.belongs_to(called(setup.app))
        self._check_limits()
        trace = traces.current.get()
        return self._runs().start(
            goal,
            setup.model,
            user_id=user_id,
            knowledge=setup.knowledge,
            budget=setup.budget,
            policy=setup.policy,
            tools=setup.tools,
            answer_hours=answer_hours,
            for_others=for_others,
            remembers=trace is None or trace.memories,
            app=setup.app,
            instructions=setup.instructions,
            earlier=earlier,
            hold=hold,
        )

    def callable_apps(self, bases: Sequence[str]) -> Sequence[tuple[str, App]]:
        """The apps by the names that they have as models: one that wants a knowledge base named, with each of them."""
        return [
            (called(app.name, base), app)
            for app in self._apps.usable()
            for base in (bases if app.knowledge == ASK else ("",))
        ]

    def called_by_run(self, app: str, model: str, knowledge: str) -> Setup:
        """An app as a run calls it: it thinks with the model of that run where its file names none, and searches that
        run's knowledge base where it wants one named. Raises what `Apps.get` raises, and UserError where there is none.
        """
        found = self._apps.get(app)
        wanted = knowledge if found.knowledge == ASK else ""
        return self._of(found, found.model or model, wanted)

    def _of(
        self,
        app: App,
        model: str = "",
        knowledge: str = "",
        tools: Sequence[str] | None = None,
        budget: Budget | None = None,
        policy: Policy | None = None,
    ) -> Setup:
        searched = knowledge or app.knowledge
        if searched == ASK:
            raise UserError(
                "The app {name} works on a knowledge base. Name one; those that there are: dizuo knowledge list",
                name=app.name,
                param="knowledge",
            )
        set_by_caller = {} if budget is None else {name: getattr(budget, name) for name in budget.model_fields_set}
        return Setup(
            model=self._model(model or app.model),
            instructions=app.instructions,
            knowledge=searched,
            tools=app.tools if tools is None else tools,
            policy=app.policy.loosened(policy.rules if policy else ()),
            budget=app.budget.model_copy(update=set_by_caller),
            app=app.name,
            description=app.description.en,
        )

    def _model(self, named: str) -> str:
        model = named or self._usual_model
        if not model:
            raise UserError(
                "No model is set. Name one, or set DIZUO_MODEL. To see those there are: dizuo model list", param="model"
            )
        return model
