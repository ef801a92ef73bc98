"""Evidence under a liar that can sign: it convicts the liar, or nobody; its bytes have one form."""

from typing import Any

from node.errors import PeerError
from node.ledger.evidence import offender
from node.wire import exchange_pb2 as pb
from node.wire.convert import decode_evidence, encode_evidence
from node.wire.limits import EVIDENCE_BYTES_MAX
from simulator.host.signer import verify
from simulator.machines import JOB


def test_no_change_of_evidence_convicts_who_did_not_sign(
    fuzz: Any, sent: dict[str, list[bytes]]
) -> None:
    rounds = [pb.RoundMessage.FromString(data) for data in sent["evidence"]]
    valid = [m.evidence.SerializeToString(deterministic=True) for m in rounds]
    liars = {offender(decode_evidence(data), verify) for data in valid}
    assert len(liars) == 1, "the twins of the recorded rounds"
    (liar,) = liars
    # What honest electors signed, to be put into the place of the liar's words.
    honest = [
        m.signed
        for data in (d for kind in ("commit", "have", "prepare", "vote") for d in sent[kind])
        if (m := pb.RoundMessage.FromString(data)).signed.signer not in (b"", liar)
    ]
    mutator = fuzz.Mutator(liar, JOB, 1, [bytes(32), bytes(range(32))])
    convicted = 0

    def case(c: Any, noise: bytes) -> None:
        nonlocal convicted
        how = c.pick(8)
        data = c.of(valid)
        if how == 0:
            data = noise
        elif how == 1:
            data = fuzz.mangled(data, c)
        else:
            m = pb.Evidence.FromString(data)
            if how == 2:
                (m.first if c.pick(2) else m.second).CopyFrom(c.of(honest))
            elif how == 3:
                m.first.CopyFrom(c.of(honest))
                m.second.CopyFrom(c.of(honest))
            elif how == 4:
                name = c.of(honest).signer
                m.first.signer = m.second.signer = name
            for _ in range(c.pick(3)):
                mutator.mutate(m, c)
            data = m.SerializeToString(deterministic=True)
        evidence = fuzz.refuses(
            lambda: decode_evidence(data), min(EVIDENCE_BYTES_MAX, 64 * len(data))
        )
        if evidence is None:
            return
        assert encode_evidence(evidence) == data
        try:
            found = offender(evidence, verify)
        except PeerError:
            return
        assert found == liar
        convicted += 1

    fuzz.run(0.06, case)
    assert convicted > 0, "no mutation came through: they are too coarse to reach a check"
