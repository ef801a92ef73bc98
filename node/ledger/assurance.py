"""How sure a certified result is: what a decision says of the reducers behind it, in words.

Pure. docs/protocol.md, "How sure".
"""

from math import comb

from node.ledger.electorate import liars_borne
from node.wire.messages import Decision


def liars_alone(n: int, f: int, replicas: int) -> float:
    """Chance that all reducers of one part are among f liars of n electors.

    Args:
        n: electors.
        f: liars among them.
        replicas: reducers of a part, at most n.
    """
    return comb(f, replicas) / comb(n, replicas)


def assurance(decision: Decision, n: int) -> str:
    """One sentence on the results of a decision; empty for a SKIP.

    Args:
        decision: checked.
        n: electors of its round.
    """
    f, r = liars_borne(n), decision.replicas
    if decision.skip:
        return ""
    equal = f"{r} equal answer{'s' if r > 1 else ''} a part"
    if r > f:
        return f"certain while at most {f} of {n} lie: {equal}"
    chance = 100 * liars_alone(n, f, r)
    text = f"{equal}, from {f} liars alone with chance {chance:.2g} %"
    return f"{text}; checked by sketches" if decision.beacon else f"{text}; not checked"
