"""Continuous batching: texts join and leave the batch at every step, and a long prompt is read in pieces between.

One thread computes. A step is one call of the model on one new token of every text that is being continued and a
piece of each prompt that is being read (Yu et al. 2022, "Orca"; Agrawal et al. 2023, "Sarathi"). A prompt that begins
like one whose keys and values are still held, of a finished text or a running one, starts from a copy of them.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from dizuo.core.errors import DizuoError, ModelError, Unavailable
from dizuo.inference.constrain import Constraint
from dizuo.inference.detokenize import TextStream, TokenBytes
from dizuo.inference.kv import Segment, SlotModel
from dizuo.inference.sampling import Sampler, SamplingOptions, choose, log_softmax_of

log = logging.getLogger(__name__)

# Prompt tokens that are read in one step: beside texts that wait for their next token, and when nobody waits.
_PIECE_TOKENS = 128
_PIECE_TOKENS_ALONE = 512
# A shorter common beginning is not worth the copy.
_SHARED_TOKENS = 8
# Texts that wait for a slot. Whoever comes behind so many would wait for minutes, and is told so now.
_MOST_WAITING = 512


@dataclass(frozen=True)
class TokenLogprob:
    """ln p of a token by the model's own distribution, before penalties, grammar and temperature."""

    token_id: int
    token: bytes
    logprob: float | None  # None: the first token of a prompt, which nothing comes before
    top: tuple["TokenLogprob", ...] = ()  # the likeliest tokens at this place, likeliest first


@dataclass(frozen=True)
class TokenDelta:
    """What a step added to a text. The last one has a `finish_reason` and the counts."""

    text: str = ""
    token_ids: tuple[int, ...] = ()  # tokens whose text is complete with this delta
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()  # with the first delta, where they were asked for
    finish_reason: str | None = None  # stop | length | cancelled
    prompt_tokens: int = 0
    reused_tokens: int = 0  # of the prompt, not computed again
    completion_tokens: int = 0
    cpu_s: float = 0.0  # the text's share of the engine's processor time
    queued_s: float = 0.0  # how long it waited for a slot


@dataclass
class Counts:
    """What the engine has done since it was opened."""

    prompt_tokens_computed: int = 0
    prompt_tokens_reused: int = 0
    tokens_generated: int = 0
    steps: int = 0


@dataclass(eq=False)
class Text:
    """One text from its prompt to its end. The scheduler's thread alone changes it, but for `cancelled`."""

    prompt: list[int]
    options: SamplingOptions
    limit: int  # most tokens to generate
    deliver: Callable[[TokenDelta | DizuoError], None]
    stream: TextStream
    constraint: Constraint | None = None
    cancelled: bool = False
    tokens: list[int] = field(default_factory=list)  # prompt and continuation
    computed: int = 0  # of them, held by the slot
    reused: int = 0
    cpu_s: float = 0.0
    slot: int = -1
    since_s: float = field(default_factory=time.perf_counter)
    queued_s: float = 0.0
    pending: list[TokenLogprob | int] = field(default_factory=list)  # generated, text not certain yet
    scores: list[TokenLogprob] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)
        self.sampler = Sampler(self.options, self.prompt, self.constraint)

    @property
    def generated(self) -> int:
        """Tokens of the continuation so far."""
        return len(self.tokens) - len(self.prompt)


@dataclass
class _Slot:
    held: list[int] = field(default_factory=list)  # tokens of the last text that was here
    text: Text | None = None
    used: int = 0  # the step in which it was last of use

    def content(self) -> list[int]:
        return self.held if self.text is None else self.text.tokens[: self.text.computed]


class Scheduler:
    """Runs texts on the slots of a model, from `submit` to their last delta. Thread-safe."""

    def __init__(self, model: SlotModel, slots: int, table: TokenBytes, eos_ids: Sequence[int]) -> None:
        self.counts = Counts()
        self._model = model
        self._table = table
        self._eos_ids = frozenset(eos_ids)
        self._slots = [_Slot() for _ in range(slots)]
        self._waiting: deque[Text] = deque()
        self._running: list[Text] = []
        self._changed = threading.Condition()
        self._closed = False
        self._charged_s = 0.0  # processor time of the thread that texts have been charged with
        self._thread = threading.Thread(target=self._run, name="text-engine", daemon=True)
        self._thread.start()

    def submit(self, text: Text) -> None:
        """Raises Unavailable when the engine is closed, or too many wait."""
        with self._changed:
            if self._closed:
                raise _closed_error()
            if len(self._waiting) >= _MOST_WAITING:
                raise Unavailable("{n} texts wait for this model already. Ask again later.", n=_MOST_WAITING)
            self._waiting.append(text)
            self._changed.notify()

    def cancel(self, text: Text) -> None:
        """Ends a text before the next step; its slot is free then. A text that has ended stays as it is."""
        text.cancelled = True
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """Ends all texts with an error and the thread with them. Returns when it is gone."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def busy_slots(self) -> int:
        """Slots with a text at work."""
        return sum(slot.text is not None for slot in self._slots)

    def _run(self) -> None:
        with torch.inference_mode():
            while self._wait():
                self._drop_cancelled()
                self._admit()
                if self._running:
                    try:
                        self._step()
                    except Exception as error:  # one request's failure never ends the others to come
                        log.exception("a step of text generation failed")
                        for text in list(self._running):
                            self._fail(text, _failed(error))
        for text in [*self._running, *self._waiting]:
            text.deliver(_closed_error())
        self._model.close()

    def _wait(self) -> bool:
        with self._changed:
            while not (self._closed or self._running or self._waiting):
                self._changed.wait()
            return not self._closed

    def _drop_cancelled(self) -> None:
        for text in [one for one in self._running if one.cancelled]:
            self._end(text, "cancelled")
        with self._changed:
            dropped = [one for one in self._waiting if one.cancelled]
            for text in dropped:
                self._waiting.remove(text)
        for text in dropped:
            text.deliver(TokenDelta(finish_reason="cancelled", prompt_tokens=len(text.prompt)))

    def _admit(self) -> None:
        with self._changed:
            waiting = list(self._waiting)
        for text in waiting:
            if all(slot.text is not None for slot in self._slots):
                return
            try:
                placed = self._place(text)
            except Exception as error:  # a copy that no memory is left for: the thread must live on
                log.exception("a text could not be begun")
                placed = True
                text.deliver(_failed(error))
            if placed:
                with self._changed:
                    self._waiting.remove(text)

    def _place(self, text: Text) -> bool:
        """Gives a text a slot; False where it does better to wait for a prompt that begins alike and is being read."""
        donor, shared = -1, 0
        # The last token is computed in any case: its hidden state is what the next token comes from. Scores need all.
        most = 0 if text.options.prompt_logprobs is not None else len(text.prompt) - 1
        for number, slot in enumerate(self._slots):
            found = min(_common(text.prompt, slot.content()), most)
            if found > shared:
                donor, shared = number, found
        for other in self._running:
            to_come = min(_common(text.prompt, other.prompt), most)
            if other.computed < to_come and to_come >= max(shared + 1, _SHARED_TOKENS):
                return False
        free = [number for number, slot in enumerate(self._slots) if slot.text is None]
        target = min((one for one in free if one != donor), key=lambda one: self._slots[one].used, default=donor)
        if shared < _SHARED_TOKENS:
            shared = 0
            target = min(free, key=lambda one: self._slots[one].used)
        elif donor in free and (shared == len(self._slots[donor].held) or target == donor):
            target = donor
        else:
            self._model.copy(donor, target, shared)
            self._slots[donor].used = self.counts.steps
        slot = self._slots[target]
        slot.text, slot.used = text, self.counts.steps
        text.slot, text.computed, text.reused = target, shared, shared
        text.queued_s = time.perf_counter() - text.since_s
        self.counts.prompt_tokens_reused += shared
        self._running.append(text)
        return True

    def _step(self) -> None:
        singles: list[tuple[Text, int]] = []
        pieces: list[tuple[Text, int]] = []
        for text in self._running:
            (singles if len(text.tokens) - text.computed == 1 else pieces).append((text, 1))
        room = _PIECE_TOKENS if singles else _PIECE_TOKENS_ALONE
        reading: list[tuple[Text, int]] = []
        for text, _count in pieces:
            count = min(len(text.tokens) - text.computed, room)
            room -= count
            if count:
                (singles if count == 1 else reading).append((text, count))
        singles.sort(key=lambda one: one[0].slot)
        parts = [*singles, *reading]
        segments = [Segment(text.slot, text.computed, count) for text, count in parts]
        ids = [token for text, count in parts for token in text.tokens[text.computed : text.computed + count]]
        hidden = self._model.forward(torch.tensor(ids), segments)
        self.counts.steps += 1
        ready: list[Text] = []
        rows: list[int] = []
        row = 0
        for text, count in parts:
            if text.options.prompt_logprobs is not None and text.computed < len(text.prompt):
                self._score(text, count, hidden[row : row + count])
            self.counts.prompt_tokens_computed += min(count, max(len(text.prompt) - text.computed, 0))
            text.computed += count
            row += count
            if text.computed == len(text.tokens):
                ready.append(text)
                rows.append(row - 1)
        logits = None
        if ready:
            whole = len(rows) == len(ids)
            logits = self._model.logits(hidden if whole else hidden[torch.tensor(rows)]).float()
        self._charge(parts, len(ids))
        if logits is not None:
            self._continue(ready, logits)

    def _charge(self, parts: Sequence[tuple[Text, int]], n_tokens: int) -> None:
        """Shares what the thread took since the last time among the texts, by their tokens in this step.

        What choosing and delivering the next tokens takes is shared with the step that follows.
        """
        now_s = time.thread_time()
        each_s, self._charged_s = (now_s - self._charged_s) / n_tokens, now_s
        for text, count in parts:
            text.cpu_s += count * each_s

    def _score(self, text: Text, count: int, hidden: torch.Tensor) -> None:
        """Keeps the log-probabilities of the prompt's tokens that follow the positions just computed."""
        begin = text.computed
        targets = text.prompt[begin + 1 : begin + 1 + count]
        if not begin:
            text.scores.append(TokenLogprob(text.prompt[0], self._table[text.prompt[0]], None))
        if not targets:  # nothing follows the last one
            return
        logprobs = log_softmax_of(self._model.logits(hidden[: len(targets)]))
        text.scores += self._logprobs(logprobs, targets, text.options.prompt_logprobs or 0)

    def _logprobs(self, logprobs: torch.Tensor, tokens: Sequence[int], count: int) -> list[TokenLogprob]:
        """(T, V) ln p to what is told of T tokens."""
        of_tokens = logprobs.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()
        tops: list[tuple[TokenLogprob, ...]] = [()] * len(tokens)
        if count:
            values, ids = logprobs.topk(min(count, logprobs.shape[1]))
            tops = [
                tuple(TokenLogprob(i, self._table[i], value) for i, value in zip(some, those, strict=True))
                for some, those in zip(ids.tolist(), values.tolist(), strict=True)
            ]
        return [
            TokenLogprob(token, self._table[token], value, top)
            for token, value, top in zip(tokens, of_tokens, tops, strict=True)
        ]

    def _continue(self, texts: Sequence[Text], logits: torch.Tensor) -> None:
        """Chooses the next token of each text from logits (B, V)."""
        going = [row for row, text in enumerate(texts) if text.limit]
        for text in texts:
            if not text.limit:  # only its prompt was to be scored
                self._end(text, "length")
        if len(going) < len(texts):
            texts, logits = [texts[row] for row in going], logits[going]
        told = {row: log_softmax_of(logits[row]) for row, one in enumerate(texts) if one.options.logprobs is not None}
        tokens = self._chosen(texts, logits)
        for row, (text, token) in enumerate(zip(texts, tokens, strict=True)):
            if isinstance(token, DizuoError):
                self._fail(text, token)
                continue
            try:
                logprob = None
                if row in told:
                    logprob = self._logprobs(told[row][None], [token], text.options.logprobs or 0)[0]
                self._take(text, token, logprob)
            except Exception as error:
                log.exception("a text failed")
                self._fail(text, _failed(error))

    def _chosen(self, texts: Sequence[Text], logits: torch.Tensor) -> list[int | DizuoError]:
        nothing = ModelError("The model computed numbers that are not finite; its weights are damaged.")
        try:
            tokens = choose(logits, [text.sampler for text in texts])
            return [nothing if token is None else token for token in tokens]
        except Exception as error:  # a grammar that became too large, for one
            if len(texts) == 1:
                return [_failed(error)]
        # One by one, so that only the text that fails does: grammars come before anything that may be done once only.
        return [self._chosen([text], logits[row : row + 1].clone())[0] for row, text in enumerate(texts)]

    def _take(self, text: Text, token: int, logprob: TokenLogprob | None) -> None:
        self.counts.tokens_generated += 1
        if token in self._eos_ids:
            if logprob is not None:  # it adds no text, but was drawn: who adds up log-probabilities counts it
                text.pending.append(logprob)
            self._end(text, "stop", released=0 if logprob is None else 1)
            return
        text.tokens.append(token)
        text.pending.append(token if logprob is None else logprob)
        complete = text.constraint is not None and text.constraint.advance(token)
        new, released = text.stream.push(token)
        if text.stream.stopped or complete or text.generated >= text.limit:
            stopped = text.stream.stopped or complete
            self._end(text, "stop" if stopped else "length", new, released)
        elif released or new:
            self._deliver(text, new, released)

    def _deliver(self, text: Text, new: str, released: int, **final: object) -> None:
        done, text.pending = text.pending[:released], text.pending[released:]
        text.deliver(
            TokenDelta(
                text=new,
                token_ids=tuple(one if isinstance(one, int) else one.token_id for one in done),
                logprobs=tuple(one for one in done if not isinstance(one, int)),
                prompt_logprobs=tuple(text.scores),
                **final,  # pyright: ignore[reportArgumentType]
            )
        )
        text.scores = []

    def _end(self, text: Text, reason: str, new: str = "", released: int = 0) -> None:
        if not text.stream.stopped and reason != "cancelled":
            rest, more = text.stream.finish()
            new, released = new + rest, released + more
        self._free(text)
        self._deliver(
            text,
            new,
            released,
            finish_reason=reason,
            prompt_tokens=len(text.prompt),
            reused_tokens=text.reused,
            completion_tokens=text.generated,
            cpu_s=text.cpu_s,
            queued_s=text.queued_s,
        )

    def _fail(self, text: Text, error: DizuoError) -> None:
        self._free(text)
        self._slots[text.slot].held = []  # what a failed step left there is unknown
        self._model.clear(text.slot, len(text.tokens))
        text.deliver(error)

    def _free(self, text: Text) -> None:
        slot = self._slots[text.slot]
        slot.held, slot.text, slot.used = text.tokens[: text.computed], None, self.counts.steps
        self._running.remove(text)


def _common(one: list[int], other: list[int]) -> int:
    """Length of the common beginning, by halving: comparing slices of lists is fast."""
    low, high = 0, min(len(one), len(other))
    if not high or one[0] != other[0]:
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _failed(error: Exception) -> DizuoError:
    if isinstance(error, DizuoError):
        return error
    return ModelError(
        "Text generation failed: {reason}. The server's log has the details.",
        reason=f"{type(error).__name__}: {error}"[:300],
    )


def _closed_error() -> Unavailable:
    return Unavailable("The model was unloaded while it was answering. Ask again.")
