"""What a job keeps on disk, and where: certificates, slots, states, results, own parts.

Flow over the ``Store`` port. Keys and names are part of the data folder's layout
(docs/runbook.md, "Data folder"). Certificates and slots are durable when a method returns.
"""

from collections.abc import Mapping, Sequence

from node.exchange.arriving import Result
from node.identity import Verifier
from node.ledger.chain import Head, verify_next
from node.ports import Store
from node.state.outer import OuterState
from node.state.snapshot import Shapes, from_safetensors, safetensors_chunks
from node.types import JobId
from node.wire.convert import decode_signed, encode_signed
from node.wire.convert_ledger import (
    decode_certificate,
    decode_prepared,
    encode_certificate,
    encode_prepared,
)
from node.wire.messages import Certificate, PrepareCertificate, Signed

LOCK_SLOT = "lock"
MANIFEST_PREFIX = "manifest/"


class JobRecords:
    """One job's part of the store."""

    def __init__(self, store: Store, job: JobId) -> None:
        self._store = store
        self.job = job
        self._name = job.hex()

    # Certificates ------------------------------------------------------------------------------

    def _cert_key(self, round_: int) -> str:
        return f"cert/{self._name}/{round_:012d}"

    async def put_certificates(self, certificates: Mapping[int, Certificate]) -> None:
        """Keep certified rounds."""
        await self._store.put(
            {self._cert_key(r): encode_certificate(c) for r, c in sorted(certificates.items())}
        )

    async def certificates(self, first: int, count: int) -> Sequence[Certificate]:
        """Consecutive certificates from round ``first``."""
        found: list[Certificate] = []
        for round_ in range(first, first + count):
            data = await self._store.get(self._cert_key(round_))
            if data is None:
                break
            found.append(decode_certificate(data))
        return found

    async def chain(self, head: Head, verify: Verifier) -> tuple[Head, dict[int, Head]]:
        """The verified chain on disk after ``head``, that before round 1: its head, and all."""
        heads = {0: head}
        for _, data in await self._store.scan(f"cert/{self._name}/"):
            head, _ = verify_next(head, decode_certificate(data), verify)
            heads[head.round] = head
        return head, heads

    # Slots -------------------------------------------------------------------------------------

    def _slot_key(self, round_: int, slot: str) -> str:
        return f"slot/{self._name}/{round_:012d}/{slot}"

    async def put_slots(
        self, round_: int, slots: Mapping[str, Signed | PrepareCertificate]
    ) -> None:
        """Keep signed values of a round before they are sent."""
        items: dict[str, bytes] = {}
        for slot, value in slots.items():
            data = encode_signed(value) if isinstance(value, Signed) else encode_prepared(value)
            items[self._slot_key(round_, slot)] = data
        await self._store.put(items)

    async def slots(self, round_: int) -> tuple[dict[str, Signed], PrepareCertificate | None]:
        """What was signed in a round, and its lock."""
        prefix = self._slot_key(round_, "")
        slots: dict[str, Signed] = {}
        lock = None
        for key, data in await self._store.scan(prefix):
            slot = key.removeprefix(prefix)
            if slot == LOCK_SLOT:
                lock = decode_prepared(data)
            else:
                slots[slot] = decode_signed(data, self.job, round_)
        return slots, lock

    # Blobs -------------------------------------------------------------------------------------

    def _blob(self, kind: str, round_: int) -> str:
        return f"{self._name}/{kind}-{round_:012d}"

    async def put_state(self, round_: int, state: OuterState, shapes: Shapes, root: str) -> None:
        """Keep the state after ``round_`` as safetensors."""
        metadata = {"job": self._name, "round": str(round_), "state_root": root}
        chunks = safetensors_chunks(state, shapes, metadata)
        await self._store.write_blob(self._blob("state", round_), chunks)

    async def state(self, round_: int) -> tuple[OuterState, Shapes] | None:
        """The state after ``round_``, or None."""
        data = await self._store.read_blob(self._blob("state", round_))
        if data is None:
            return None
        state, shapes, _ = from_safetensors(data)
        return state, shapes

    async def put_results(self, round_: int, results: Sequence[Result]) -> None:
        """Keep all results of a round, in the order of their parts."""
        chunks = [data for _, _, data in sorted(results, key=lambda r: r[0])]
        await self._store.write_blob(self._blob("results", round_), chunks)

    async def results(self, round_: int, sizes: Sequence[int]) -> list[bytes] | None:
        """The results of a round, or None if they are not whole on this disk."""
        return await self._cut(self._blob("results", round_), sizes)

    async def put_parts(self, round_: int, parts: Sequence[bytes]) -> None:
        """Keep our own encoded parts, so that a restart can still deliver them."""
        await self._store.write_blob(self._blob("parts", round_), parts)

    async def parts(self, round_: int, sizes: Sequence[int]) -> list[bytes] | None:
        """Our own encoded parts of a round, or None."""
        return await self._cut(self._blob("parts", round_), sizes)

    async def _cut(self, name: str, sizes: Sequence[int]) -> list[bytes] | None:
        data = await self._store.read_blob(name)
        if data is None or len(data) != sum(sizes):
            return None
        cuts: list[bytes] = []
        start = 0
        for size in sizes:
            cuts.append(data[start : start + size])
            start += size
        return cuts

    async def drop_blobs(self, kind: str, round_: int) -> None:
        """Forget the ``state``, ``results`` or ``parts`` of a round."""
        await self._store.drop_blob(self._blob(kind, round_))

    async def drop_round(self, round_: int) -> None:
        """Forget what was needed only while a round could still be signed or asked for."""
        slots = [key for key, _ in await self._store.scan(self._slot_key(round_, ""))]
        if slots:
            await self._store.drop(slots)
        for kind in ("results", "parts"):
            await self.drop_blobs(kind, round_)
