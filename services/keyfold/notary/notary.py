"""The notary's loop: restore, then round after round. A round reads all partitions and signs those that have grown.

 1. Read what is new; every committed record becomes a leaf of its partition's draft.
 2. Keep the new heads in the token, sign, and prepare the transaction (`publishing`, which says what a crash leaves).
 3. Commit: tile runs, checkpoints and state are there together, or not at all.
 4. Promote the drafts.

Whatever goes wrong from 2 on leaves in doubt what the topics hold: everything is dropped, and restored from them. One
instance works at a time: starting a writer fences the one before, which then can publish nothing any more.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from keyfold.bus import Bus, InDoubt, Writer
from keyfold.events import topics
from keyfold.events.errors import KeyfoldError, RecordError, Unavailable
from keyfold.events.signatures import fingerprint
from keyfold.events.trust import Trust
from keyfold.log import Author, DeadLetters, NotCertified, StateTopic, TrustKeeper, transactional_id
from keyfold.logging import get_logger
from keyfold.notary import metrics
from keyfold.notary.errors import LogContradictsHead
from keyfold.notary.feed import Budget, Feed
from keyfold.notary.publishing import Draft, Prepared, Publisher, committed
from keyfold.notary.restoring import Taken, restore
from keyfold.notary.settings import NotarySettings
from keyfold.notary.settling import settle
from keyfold.notary.token import NotaryToken, in_time

ROLE: Final = "notary"
_log = get_logger()


def clock_ms() -> int:
    """Return this machine's time."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What a notary is made of. The keeper must have caught up."""

    bus: Bus
    keeper: TrustKeeper
    token: NotaryToken
    author: Author
    dead_letters: DeadLetters
    settings: NotarySettings
    partitions: int
    clock_ms: Callable[[], int] = clock_ms


class BeliefsOutdated(Unavailable):
    """A revocation took back what was believed; everything is restored."""

    code = "BeliefsOutdated"


class Notary:
    """The one that owns the trees, as long as its writer is not fenced.

    `running` is set while it works, `caught_up` for good when it has first read all of the log as it was at its start.
    `feeds` are its partitions meanwhile; `stepped_s` is when a round began last (monotonic), None while it does not
    work, and `trouble` the code of what it was restored for.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._publisher = Publisher(parts.author.deployment, parts.token, parts.clock_ms)
        self.running, self.caught_up = asyncio.Event(), asyncio.Event()
        self.feeds: Sequence[Feed] = ()
        self.stepped_s: float | None = None
        self.trouble = ""

    async def run(self) -> None:
        """Work until cancelled. Raises what only an operator can cure; everything else is restored after a pause."""
        settings = self._parts.settings
        pause = settings.first_retry_s
        while True:
            try:
                await self._own()
            except Exception as error:
                # Whatever it was, topics and token know what is true.
                if isinstance(error, KeyfoldError) and not error.retriable and not isinstance(error, InDoubt):
                    raise
                _note(error)
                self.trouble = error.code if isinstance(error, KeyfoldError) else type(error).__name__
                metrics.RESTORES.inc()
                pause = settings.first_retry_s if self.running.is_set() else pause
            finally:
                self.running.clear()
                self.feeds, self.stepped_s = (), None
            # Never the same pause twice: two notaries that fence each other in step would go on so for ever.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            pause = min(2 * pause, settings.longest_retry_s)

    async def _own(self) -> None:
        live = await self._take_over()
        self.feeds = live.feeds
        try:
            while True:
                self.stepped_s = began = time.monotonic()
                is_behind = await live.round()
                self.running.set()
                if live.has_caught_up():
                    self.caught_up.set()
                if not is_behind:
                    await asyncio.sleep(max(0.0, self._parts.settings.round_s - (time.monotonic() - began)))
        finally:
            await live.stop()

    async def _take_over(self) -> "_Live":
        parts = self._parts
        writer = parts.bus.writer(transactional_id(ROLE, 0))
        feeds: list[Feed] = []
        try:
            await in_time(parts.settings.token_s, parts.token.recover)
            # Fence the predecessor: from here on, it commits nothing any more.
            await writer.start()
            trust = await parts.keeper.catch_up()
            await settle(parts.bus, trust, writer, parts.partitions)
            parts.author.check()
            state = StateTopic(parts.author, topics.NOTARY_STATE, 0)
            heads = partial(in_time, parts.settings.token_s, parts.token.heads)
            taken = await restore(
                parts.bus, trust, state, heads, deployment=parts.author.deployment, partitions=parts.partitions
            )
            for partition, restored in taken.partitions.items():
                reader = parts.bus.reader(topics.EVENTS, partition, committed=True)
                feeds.append(Feed(partition, parts.partitions, restored, reader, parts.dead_letters.report))
            await _together(feed.start() for feed in feeds)
        except BaseException:
            await _stopped(writer, feeds)
            raise
        _log.info("notary-owns", round=taken.committed.round, leaves=sum(f.position.tree.size for f in feeds))
        return _Live(parts, self._publisher, writer, feeds, taken)


class _Live:
    """Between a take-over and whatever ends it."""

    def __init__(
        self,
        parts: Parts,
        publisher: Publisher,
        writer: Writer,
        feeds: Sequence[Feed],
        taken: Taken,
    ) -> None:
        self._parts, self._publisher, self._writer, self._feeds = parts, publisher, writer, feeds
        self._state, self._last = taken.state, taken.committed
        self._trust = taken.trust
        self._told: dict[str, dict[str, Any]] = {}

    @property
    def feeds(self) -> Sequence[Feed]:
        """The partitions."""
        return self._feeds

    async def round(self) -> bool:
        """Read, sign and publish what is there; tell whether more is waiting."""
        settings = self._parts.settings
        self._parts.author.check()
        self._notice_trust()
        budget = Budget(settings.round_records, settings.poll_records)
        with metrics.READ.time():
            await _together(feed.read(self._parts.keeper, budget) for feed in self._feeds)
        drafts = [draft for feed in self._feeds for draft in self._drafts(feed)]
        told = {str(feed.partition): _told(feed, drafts) for feed in self._feeds}
        if drafts or told != self._told:
            if all(feed.has_reached(told[str(feed.partition)]["size"]) for feed in self._feeds):
                self._last = replace(self._last, since=self._last.checkpoints)
            await self._publish(drafts, told)
        return not budget.most

    def has_caught_up(self) -> bool:
        """Tell whether all of the log as it was at the start is read."""
        return all(feed.has_caught_up() for feed in self._feeds)

    def _notice_trust(self) -> None:
        trust = self._parts.keeper.trust
        if trust is not self._trust:
            self._trust = trust
            if any(feed.position.is_outdated(feed.partition, trust) for feed in self._feeds):
                raise BeliefsOutdated("a service's key was revoked; reading anew what was believed of it")

    def _drafts(self, feed: Feed) -> list[Draft]:
        """Return what a feed adds to this round."""
        feed.look_for_end(time.monotonic(), self._parts.settings.short_log_s)
        if not feed.drafted:
            return []
        try:
            after, runs = feed.draft()
        except LogContradictsHead as error:
            feed.stop_for(error)
            feed.forget()
            return []
        due = after.tree.size >= feed.expected.floor and after.tree.size > after.anchor.tree.size
        return [Draft(feed.partition, feed.stored, after, runs, due)]

    async def _publish(self, drafts: Sequence[Draft], told: dict[str, dict[str, Any]]) -> None:
        prepare, token_s = self._publisher.prepare, self._parts.settings.token_s
        with metrics.SIGN.time():
            prepared = await in_time(token_s, prepare, drafts, self._state, self._last, told)
        # If we crash here, the token is ahead; nobody has seen what was signed.
        with metrics.COMMIT.time():
            offsets = await self._writer.commit(prepared.records)
        metrics.CHECKPOINTS.inc(sum(record.topic == topics.CHECKPOINTS for record in prepared.records))
        # If we crash here, all of it is published, and restoring finds it.
        self._promote(prepared, offsets)
        self._told = told

    def _promote(self, prepared: Prepared, offsets: Sequence[int]) -> None:
        self._state.promote(prepared.staged)
        self._last = committed(prepared, self._last, offsets)
        for feed in self._feeds:
            if feed.partition in prepared.positions:
                feed.promote(prepared.positions[feed.partition], prepared.values[feed.partition])

    async def stop(self) -> None:
        """Release everything; what is open is left to the successor."""
        await _stopped(self._writer, self._feeds)


def require_licence(trust: Trust, token: NotaryToken, now_ms: int) -> None:
    """Raise `NotCertified` unless root certifies both keys of a notary at this time."""
    try:
        trust.require_licence(ROLE, fingerprint(token.public_key), now_ms)
    except RecordError as error:
        raise NotCertified(str(error)) from None
    if (token.public_key, token.checkpoint_key) not in trust.notary_keys():
        raise NotCertified("root has not certified the notary's checkpoint key; hold `keyfold ceremony renew`")


def _told(feed: Feed, drafts: Sequence[Draft]) -> dict[str, Any]:
    """What the state's head says of a partition, for who asks how the notary is."""
    after = next((draft.after for draft in drafts if draft.partition == feed.partition), feed.position)
    return {"size": after.tree.size, "next": after.next, "untrusted": after.untrusted, "trouble": feed.complaint}


def _note(error: Exception) -> None:
    if isinstance(error, KeyfoldError):
        _log.warning("notary-restored-again", code=error.code, reason=str(error))
    else:
        _log.exception("notary-failed")


async def _together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run works beside each other; the first error ends the others, and is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stopped(writer: Writer, feeds: Sequence[Feed]) -> None:
    await writer.stop()
    for feed in feeds:
        with suppress(KeyfoldError):
            await feed.stop()
