"""The one place that reads the environment and joins the parts.

Every face opens a `House` and calls what hangs from it; each part is made when first used.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from dizuo.core import traces
from dizuo.core.once import once
from dizuo.platform import settings as settings_table
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database

_RUN_JOBS = tuple(f"agent.run.{n}" for n in range(4))  # runs of agents that are advanced side by side, a lane each

if TYPE_CHECKING:
    from dizuo.agents.advance import Worker
    from dizuo.agents.approvals import Approvals
    from dizuo.agents.equipment import Equipment
    from dizuo.agents.memory import Memories
    from dizuo.agents.run_files import RunFiles
    from dizuo.agents.runs import Run, Runs
    from dizuo.agents.tasks import Tasks
    from dizuo.agents.tool_servers import ToolServers
    from dizuo.agents.toolbox import Toolbox
    from dizuo.agents.webhook import Webhook
    from dizuo.apps.app import Apps
    from dizuo.apps.launch import Launcher
    from dizuo.apps.threads import Threads
    from dizuo.apps.training import Trainings
    from dizuo.core.messages import Message, Usage
    from dizuo.core.protocols import ChatModel, Embedder
    from dizuo.core.tools import Tool
    from dizuo.gateway.cache import Cache, Policy
    from dizuo.gateway.gateway import Gateway
    from dizuo.gateway.hub import Hub
    from dizuo.gateway.ledger import Ledger
    from dizuo.gateway.limits import Limits
    from dizuo.gateway.models import Models
    from dizuo.gateway.prices import Prices
    from dizuo.gateway.providers import Providers
    from dizuo.gateway.usage import UsageBook
    from dizuo.knowledge.answer import Answerer
    from dizuo.knowledge.library import Library
    from dizuo.knowledge.parse_process import Parser
    from dizuo.platform.backup import BackupInfo, SnapshotInfo
    from dizuo.platform.identity import Identity
    from dizuo.platform.jobs import Jobs
    from dizuo.platform.secrets import Secrets
    from dizuo.platform.traces import Traces


class House:
    """All parts of one Dizuo instance (one DIZUO_HOME), joined."""

    def __init__(self, loaded: settings_table.LoadedSettings, environment: Mapping[str, str] | None = None) -> None:
        """`environment` is where keys of providers are looked for that are not stored."""
        self.settings = loaded.values
        self.setting_sources = loaded.sources
        self._environment = environment or {}
        self._exports = False  # whether it was this one that began to send traces to a collector
        self._found_chats: tuple[int, Mapping[str, ChatModel]] = (0, {})  # as of that version of the database

    @classmethod
    def open(cls, environ: Mapping[str, str] | None = None, **flags: Any) -> Self:
        """Reads the settings and brings the database to the present schema (after a snapshot, where it holds data).

        Raises UserError for a bad setting or an unreachable database.
        """
        from dizuo.platform import migrate

        environment = os.environ if environ is None else environ
        house = cls(settings_table.load(environment, flags), environment)
        try:
            if house.settings.otlp_endpoint:
                from dizuo.platform import telemetry

                house._exports = telemetry.configure_tracing(house.settings.otlp_endpoint)
            house.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            migrate.upgrade(house.database, house.blobs, house.settings.home)
        except BaseException:
            house.close()
            raise
        return house

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the worker, if this process is it, writes down what waits, and lets go of the database."""
        # From the last to the first, each even where another fails. They stay in their places: what is still at work
        # would else make new ones, which nobody closes.
        with ExitStack() as closing:
            if self._exports:
                from dizuo.platform import telemetry

                closing.callback(telemetry.stop_tracing)
                self._exports = False
            for part in ("database", "traces", "models", "ledger", "gateway", "library", "page_parser", "jobs"):
                closing.callback(self._close, part)

    def _close(self, part: str) -> None:
        if part in self.__dict__:
            self.__dict__[part].close()

    @once
    def database(self) -> Database:
        return Database(self.settings.resolved_database_url())

    @once
    def blobs(self) -> Blobs:
        return Blobs(self.settings.home / "blobs")

    @once
    def jobs(self) -> "Jobs":
        """Durable jobs, with every kind registered."""
        from dizuo.platform.jobs import Jobs

        jobs = Jobs(self.database, self.settings.home, self.traces.keep)
        jobs.register("knowledge.add", lambda context: self.library.run_add(context))
        jobs.register("model.add", lambda context: self.hub.run_add(context), lane="model")
        jobs.register("train", lambda context: self.trainings.run(context), lane="train")
        for kind in _RUN_JOBS:
            jobs.register(kind, lambda context: self.run_worker.run_job(context), lane=kind)
        jobs.register_chore("approvals", lambda _stopping: self.approvals.expire(), every_s=1.0)
        jobs.register_chore("runs", lambda _stopping: self.runs.take_up(), every_s=10.0)
        jobs.register_chore("webhook", lambda stopping: self.webhook.deliver(stopping), every_s=1.0)
        return jobs

    @once
    def identity(self) -> "Identity":
        from dizuo.platform.identity import Identity

        return Identity(self.database)

    @once
    def traces(self) -> "Traces":
        """Opens the trace of a request, and finds the earlier ones."""
        from dizuo.platform.traces import Traces

        settings = self.settings
        texts = settings.trace_texts == "on"
        return Traces(self.database, days=settings.trace_days, most=settings.trace_count, texts=texts)

    @once
    def embedder(self) -> "Embedder | None":
        from dizuo.gateway.local_folders import HUB_PREFIX, PREFIX
        from dizuo.gateway.metered import MeteredEmbedder

        name = self.settings.embedder
        if not name:
            return None
        embedder = self.models.embedder(name)
        # One of this machine costs no money, and a row for each look into an index would be most of the ledger.
        return embedder if name.startswith((PREFIX, HUB_PREFIX)) else MeteredEmbedder(embedder, self.ledger)

    @once
    def chat_model(self) -> "ChatModel | None":
        """The model that writes answers, or None: answers are quotations then."""
        return self.gateway.current(self.settings.model) if self.settings.model else None

    def chat(self, name: str) -> "ChatModel":
        """The chat model of that name; `knowledge/NAME` answers from that knowledge base, `app/NAME` with a run of that
        app (`app/NAME/KNOWLEDGE`: on that knowledge base). Blocking.

        Raises NotFound, naming those that exist.
        """
        from dizuo.gateway.local_folders import HUB_PREFIX, PREFIX
        from dizuo.knowledge.answer import KnowledgeModel

        if name.startswith("app/"):
            return self._app_model(*name.split("/", 2)[1:])
        self.gateway.check_allowed(name)
        if name.startswith("knowledge/"):
            knowledge = self.library.get(name.removeprefix("knowledge/"))
            return KnowledgeModel(self.answerer, knowledge.name)
        if self.chat_model is not None and name == self.chat_model.name:
            return self.chat_model
        version = self.database.version()  # before the look: what is written meanwhile makes it out of date
        model = self.gateway.chat(name)
        if version is not None and not name.startswith((PREFIX, HUB_PREFIX)):  # folders change without it
            self._found_chats = version, {**self._found_chats_of(version), name: model}
        return model

    def _app_model(self, name: str, knowledge: str = "") -> "ChatModel":
        """An app as a model, for whoever asks in the present request."""
        from dizuo.apps.app import called
        from dizuo.apps.model import AppModel

        self.gateway.check_allowed(called(name, knowledge))
        app = self.apps.get(name).name
        trace = traces.current.get()
        user_id = self.identity.owner().id if trace is None or trace.user_id is None else trace.user_id
        start = partial(self._start_app, app, knowledge, user_id)
        return AppModel(app, knowledge, start, self.runs, lambda: self.jobs.start())

    def _start_app(self, app: str, knowledge: str, user_id: int, goal: str, earlier: "Sequence[Message]") -> "Run":
        return self.launcher.start(goal, app=app, knowledge=knowledge, user_id=user_id, earlier=earlier)

    def chat_at_once(self, name: str) -> "ChatModel | None":
        """The same in microseconds, where it was found before and nothing was written since; None: ask `chat`."""
        if "chat_model" in self.__dict__ and self.chat_model is not None and name == self.chat_model.name:
            model = self.chat_model
        else:
            version = self.database.version()
            model = None if version is None else self._found_chats_of(version).get(name)
        if model is not None:
            self.gateway.check_allowed(name)
        return model

    def _found_chats_of(self, version: int) -> "Mapping[str, ChatModel]":
        found_at, found = self._found_chats
        return found if found_at == version else {}

    @once
    def gateway(self) -> "Gateway":
        """Every model of this instance, wrapped in what holds for every call."""
        from dizuo.gateway.breaker import Health
        from dizuo.gateway.gateway import Gateway
        from dizuo.gateway.routes import Routes

        routes, health = Routes(self.database, self.models.chat), Health(self.database)
        return Gateway(self.models, self.ledger, self.limits, routes, health, self.cache)

    @once
    def cache(self) -> "Cache":
        """The answers that are kept."""
        from dizuo.gateway.agreement import Lexicon
        from dizuo.gateway.cache import Cache
        from dizuo.knowledge.analyze import fold, terms
        from dizuo.knowledge.rarity import rarity

        settings = self.settings
        return Cache(
            self.database,
            lambda: self.embedder,
            Lexicon(fold, terms, rarity),
            policy=cast("Policy", settings.cache),  # one of its choices: the settings are checked
            ttl_s=settings.cache_ttl_s,
            limit_mb=settings.cache_mb,
        )

    @once
    def ledger(self) -> "Ledger":
        """What every call of a model took."""
        from dizuo.gateway.ledger import Ledger

        return Ledger(self.database, self.prices.cost, lambda row: self.limits.count(row))

    @once
    def prices(self) -> "Prices":
        """What models cost."""
        from dizuo.gateway.prices import Prices

        return Prices(self.database)

    @once
    def limits(self) -> "Limits":
        """What keys, users and apps may take."""
        from dizuo.gateway.limits import Limits
        from dizuo.gateway.prices import checked_currency, parse_rate

        settings = self.settings
        currency, rate = checked_currency(settings.currency), parse_rate(settings.cny_per_usd)
        return Limits(self.database, self.prices, lambda: self.ledger.flush(), currency, rate)

    @once
    def usage(self) -> "UsageBook":
        """What the ledger says: sums by day, model, user, key and app."""
        from dizuo.gateway.usage import UsageBook

        return UsageBook(self.database, lambda: self.ledger.flush())

    @once
    def models(self) -> "Models":
        from dizuo.gateway.models import Models

        settings = self.settings
        folder = settings.home / "models"
        return Models(
            settings.model, settings.model_base_url, settings.model_api_key, folder, providers=lambda: self.providers
        )

    @once
    def secrets(self) -> "Secrets":
        """Encrypts what must be kept and never shown."""
        from dizuo.platform.secrets import Secrets

        return Secrets(self.settings.home, self.settings.secret_key)

    @once
    def providers(self) -> "Providers":
        """The endpoints that models are asked at, with their keys."""
        from dizuo.gateway.providers import Providers

        return Providers(self.database, self.secrets, self._environment)

    @once
    def hub(self) -> "Hub":
        """Fetches open weights."""
        from dizuo.gateway.hub import Hub

        endpoint = self.settings.hub or self._environment.get("HF_ENDPOINT", "")
        token = self._environment.get("HF_TOKEN", "")
        return Hub(self.database, lambda: self.jobs, self.settings.home / "models", endpoint, token)

    @once
    def library(self) -> "Library":
        from dizuo.knowledge.library import Library

        return Library(self.database, self.blobs, lambda: self.jobs, lambda: self.embedder, self.settings)

    @once
    def answerer(self) -> "Answerer":
        from dizuo.knowledge.answer import Answerer
        from dizuo.knowledge.exact import READER

        # The answer is kept with what it cites, not the prompt that it came of, which quotes the documents.
        name = self.settings.model
        writer = self.gateway.current(name, kept=False) if name else None
        reader = None if writer else self.models.reader(READER)
        return Answerer(self.library, writer, self.embedder, self.cache, reader)

    @once
    def threads(self) -> "Threads":
        from dizuo.apps.threads import Threads

        return Threads(self.database)

    @once
    def trainings(self) -> "Trainings":
        from dizuo.apps.training import Trainings
        from dizuo.apps.training_process import Trainer

        home, data = self.settings.home, self.settings.data
        trainer = Trainer({"DIZUO_HOME": str(home), "DIZUO_DATA": data})
        return Trainings(self.database, lambda: self.jobs, home, trainer)

    @once
    def runs(self) -> "Runs":
        """Goals given to agents, and what becomes of them."""
        from dizuo.agents.runs import Runs

        return Runs(self.database, lambda: self.jobs, self.equipment, _RUN_JOBS, self.settings.approval_hours)

    @once
    def approvals(self) -> "Approvals":
        """What runs ask people."""
        from dizuo.agents.approvals import Approvals

        return Approvals(self.database, lambda run_id, user_id: self.runs.advance_soon(run_id, user_id))

    @once
    def webhook(self) -> "Webhook":
        """Tells an address of the owner's what waits for people."""
        from dizuo.agents.webhook import Webhook

        return Webhook(self.database, self.secrets, self.approvals, self.settings.resolved_public_url)

    @property
    def _workspaces(self) -> Path:
        """A folder for each run."""
        return self.settings.home / "runs"

    @once
    def run_worker(self) -> "Worker":
        """Works on the runs."""
        from dizuo.agents.advance import Worker

        return Worker(self.database, self.equipment, self.runs, self._workspaces, self._price)

    @once
    def run_files(self) -> "RunFiles":
        """What people give runs, and what these have made."""
        from dizuo.agents.run_files import RunFiles

        return RunFiles(self.runs, self._workspaces, self.settings.max_file_mb << 20)

    @once
    def equipment(self) -> "Equipment":
        """The models and tools of runs."""
        from dizuo.agents.equipment import Equipment
        from dizuo.apps.agents import knowledge_tool

        search = partial(knowledge_tool, self.library)
        return Equipment(self._thinker, search, self.toolbox, lambda: self.memories, self.launcher.called_by_run)

    @once
    def apps(self) -> "Apps":
        """Agents described in files: those that come with Dizuo, and the owner's own."""
        from dizuo.apps.app import Apps

        return Apps(self.settings.home / "apps")

    @once
    def launcher(self) -> "Launcher":
        """Starts runs, of apps or of none."""
        from dizuo.apps.launch import Launcher

        check = self.gateway.check_allowed
        return Launcher(lambda: self.runs, self.apps, check, self.limits.check, self.settings.model)

    @once
    def tasks(self) -> "Tasks":
        """Runs that agents of others ask for."""
        from dizuo.agents.tasks import Tasks

        return Tasks(self.database, self.runs, self.run_files, self.launcher.start)

    @once
    def toolbox(self) -> "Toolbox":
        """What runs of agents may be given by name."""
        from dizuo.agents.builtin import BY_NAME
        from dizuo.agents.toolbox import Toolbox

        return Toolbox({**BY_NAME, "fetch_page": self._fetch_page}, lambda: self.tool_servers)

    def _fetch_page(self) -> "Tool":
        from dizuo.agents.web import Web, fetch_tool
        from dizuo.apps.agents import page_text

        web = Web(self.settings.fetch_allow.split(","))
        return fetch_tool(web, lambda body, media_type: page_text(self.page_parser, body, media_type))

    @once
    def page_parser(self) -> "Parser":
        """Reads pages of the web as files are read, and beside those: a large file holds up no run."""
        from dizuo.knowledge.parse_process import Parser

        return Parser(self.settings.max_file_mb)

    @once
    def tool_servers(self) -> "ToolServers":
        """Programs and addresses of others whose operations are tools."""
        from dizuo.agents.tool_servers import ToolServers

        return ToolServers(self.database, self.secrets)

    @once
    def memories(self) -> "Memories":
        """What agents remember of users."""
        from dizuo.agents.memory import Memories
        from dizuo.knowledge.analyze import terms

        return Memories(self.database, lambda: self.embedder, terms)

    def _price(self, model: str, usage: "Usage") -> float:
        """What a call of a model costs in the currency of the setting; 0 where its price is not known."""
        cost, currency = self.prices.cost(model, usage)
        return self.limits.converted(cost or 0.0, currency)

    def _thinker(self, name: str) -> "ChatModel":
        """The model that an agent thinks with. Its answers are not kept: the same goal twice is meant twice. Whether a
        key may ask it is asked when a run is started."""
        return self.gateway.chat(name, kept=False)

    # --- backups ----------------------------------------------------------------------------------------------

    def backup(self, file: Path) -> "BackupInfo":
        """Writes everything into one file. Raises Conflict when it exists, UserError when it cannot be written."""
        from dizuo.platform import backup

        return backup.backup(self.database, self.blobs, self.settings.home, file)

    def restore(self, file: Path) -> "BackupInfo":
        """Puts a backup or a snapshot in place of the present state, of which it makes a snapshot first.

        Also in a house that was not opened, since its database may be broken or a newer Dizuo's. Raises UserError
        for a file that is no good, Conflict while jobs run; nothing is changed then.
        """
        from dizuo.knowledge.keywords import KeywordIndex
        from dizuo.knowledge.store import embedded_text
        from dizuo.platform import backup

        keywords = KeywordIndex(self.database)
        info = backup.restore(
            self.database,
            self.blobs,
            self.settings.home,
            file,
            lambda connection: keywords.rebuild(connection, embedded_text),
        )
        self.library.collect_garbage()
        return info

    def snapshots(self) -> "Sequence[SnapshotInfo]":
        """What can be gone back to, the newest first."""
        from dizuo.platform import backup

        return backup.snapshots(self.settings.home)
