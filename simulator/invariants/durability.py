"""On disk before it is sent, kept over a crash, and silent once the slot log is lost.

Source: docs/protocol.md, "Durable slots". Disks are read from outside, as a crash would find them.
"""

from collections.abc import Coroutine
from typing import Any

from node.types import JobId
from node.wire.convert import encode_signed
from simulator.invariants.agreement import slot_of
from simulator.invariants.base import Check, Facts, Heard, Moved


class Durable(Check):
    """Whatever an honest node signs or certifies is durable before anybody can know of it."""

    name = "durable"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._rounds: dict[int, int] = {}
        """Node -> the newest round that it certified."""
        self._restarted: set[int] = set()

    def life(self, at_s: float, node: int, what: str) -> None:
        """After a restart look at the head once it is read."""
        if what == "start":
            self._restarted.add(node)

    def heard(self, message: Heard) -> None:
        """Look for a signed value on its author's disk, and for evidence on that of its sender."""
        if message.accused and self.facts.is_honest(message.sender):
            self._check_evidence(message)
        signed = message.signed
        if signed is None or not self.facts.is_honest(message.sender):
            return
        node = self.facts.world.nodes[message.sender]
        who = f"{node.name} sends its {signed.kind} of round {signed.round}"
        if node.store.slots_lost:
            self.fail(message.at_s, f"{who}, but its slot log was lost", "silent_after_loss")
        slot = slot_of(signed)
        if isinstance(slot[-1], bytes):
            return  # by its list or plan: NoEquivocation compares it over the lives
        at = f"slot/{signed.job.hex()}/{signed.round:012d}/"
        name = ".".join(str(int(s) if isinstance(s, bool) else s) for s in slot)
        if self._on_disk(message.sender, at + name) != encode_signed(signed):
            self.fail(message.at_s, f"{who} before it is durable")
        if signed.kind == "prepare" and not self._on_disk(message.sender, f"{at}heard.{slot[1]}"):
            self.fail(message.at_s, f"{who} before the proposal is durable")
        if signed.kind == "vote" and not self._on_disk(message.sender, f"{at}lock"):
            self.fail(message.at_s, f"{who} before its lock is durable")

    def _check_evidence(self, message: Heard) -> None:
        at = f"evidence/{message.accused}"
        if not any(self._on_disk(message.sender, a) for a in (at, f"{at}/{message.job.hex()}")):
            text = f"node-{message.sender} sends evidence against {message.accused}"
            self.fail(message.at_s, f"{text} before it is durable")

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """The first step of a new life tells what the node still knows."""
        if node not in self._restarted:
            return
        runner = self.facts.runner(node)
        if runner is None or runner.replica is None or not self.facts.is_honest(node):
            return
        self._restarted.discard(node)
        before, now = self._rounds.get(node, 0), runner.head.round
        if now < before and not self.facts.world.nodes[node].store.slots_lost:
            text = f"node-{node} had certified round {before} and comes back at round {now}"
            self.fail(at_s, text, "nothing_certified_is_lost")

    def moved(self, moved: Moved) -> None:
        """The certificate of the head is on disk."""
        head, node = moved.head, moved.node
        self._rounds[node] = head.round
        if not self._on_disk(node, f"cert/{JobId(head.job).hex()}/{head.round:012d}"):
            text = (
                f"node-{node} went on to round {head.round + 1} before its certificate is durable"
            )
            self.fail(moved.at_s, text)

    def _on_disk(self, node: int, key: str) -> bytes | None:
        return _at_once(self.facts.world.nodes[node].store.get(key))


def _at_once(reading: Coroutine[Any, Any, bytes | None]) -> bytes | None:
    """The result of a coroutine that waits for nothing."""
    try:
        reading.send(None)
    except StopIteration as done:
        value: bytes | None = done.value
        return value
    raise AssertionError("a simulated disk is read without waiting")
