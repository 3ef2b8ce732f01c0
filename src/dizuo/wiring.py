"""The one place that reads the environment and joins the parts.

Every face opens a `House` and calls what hangs from it; each part is made when first used.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dizuo.core.once import once
from dizuo.platform import settings as settings_table
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database

if TYPE_CHECKING:
    from dizuo.apps.threads import Threads
    from dizuo.apps.training import Trainings
    from dizuo.core.protocols import ChatModel, Embedder
    from dizuo.gateway.gateway import Gateway
    from dizuo.gateway.models import Models
    from dizuo.knowledge.answer import Answerer
    from dizuo.knowledge.library import Library
    from dizuo.platform.backup import BackupInfo, SnapshotInfo
    from dizuo.platform.identity import Identity
    from dizuo.platform.jobs import Jobs


class House:
    """All parts of one Dizuo instance (one DIZUO_HOME), joined."""

    def __init__(self, loaded: settings_table.LoadedSettings) -> None:
        self.settings = loaded.values
        self.setting_sources = loaded.sources

    @classmethod
    def open(cls, environ: Mapping[str, str] | None = None, **flags: Any) -> Self:
        """Reads the settings and brings the database to the present schema (after a snapshot, where it holds data).

        Raises UserError for a bad setting or an unreachable database.
        """
        from dizuo.platform import migrate

        house = cls(settings_table.load(os.environ if environ is None else environ, flags))
        if house.settings.otlp_endpoint:
            from dizuo.platform import telemetry

            telemetry.configure_tracing(house.settings.otlp_endpoint)
        house.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        migrate.upgrade(house.database, house.blobs, house.settings.home)
        return house

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the worker, if this process is it, and lets go of the database."""
        with ExitStack() as closing:  # from the last to the first, each even where another fails
            for part in ("database", "models", "gateway", "library", "jobs"):
                if part in self.__dict__:
                    closing.callback(self.__dict__.pop(part).close)

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

        jobs = Jobs(self.database, self.settings.home)
        jobs.register("knowledge.add", lambda context: self.library.run_add(context))
        jobs.register("train", lambda context: self.trainings.run(context), lane="train")
        return jobs

    @once
    def identity(self) -> "Identity":
        from dizuo.platform.identity import Identity

        return Identity(self.database)

    @once
    def embedder(self) -> "Embedder | None":
        return self.models.embedder(self.settings.embedder) if self.settings.embedder else None

    @once
    def chat_model(self) -> "ChatModel | None":
        """The model that writes answers, or None: answers are quotations then."""
        return self.gateway.chat(self.settings.model) if self.settings.model else None

    def chat(self, name: str) -> "ChatModel":
        """The chat model of that name; `knowledge/NAME` answers from that knowledge base.

        Raises NotFound, naming those that exist.
        """
        from dizuo.knowledge.answer import KnowledgeModel

        if name.startswith("knowledge/"):
            knowledge = self.library.get(name.removeprefix("knowledge/"))
            return KnowledgeModel(self.answerer, knowledge.name)
        if self.chat_model is not None and name == self.chat_model.name:
            return self.chat_model
        return self.gateway.chat(name)

    @once
    def gateway(self) -> "Gateway":
        """Every model of this instance, wrapped in what holds for every call."""
        from dizuo.gateway.gateway import Gateway
        from dizuo.gateway.ledger import Ledger

        return Gateway(self.models, Ledger(self.database))

    @once
    def models(self) -> "Models":
        from dizuo.gateway.models import Models

        settings = self.settings
        folder = settings.home / "models"
        return Models(settings.model, settings.model_base_url, settings.model_api_key, folder)

    @once
    def library(self) -> "Library":
        from dizuo.knowledge.library import Library

        return Library(self.database, self.blobs, lambda: self.jobs, lambda: self.embedder, self.settings)

    @once
    def answerer(self) -> "Answerer":
        from dizuo.knowledge.answer import Answerer

        return Answerer(self.library, self.chat_model, self.embedder)

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
