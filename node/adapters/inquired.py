"""How a workload is asked and told: the same in a process of its own and in the simulator."""

from node.ports import InquireRequest
from workloads import api


def inquire(workload: api.Workload, request: InquireRequest) -> bytes:
    """See ``node.ports.Worker.inquire``."""
    inquiry = workload.inquiry if isinstance(workload, api.Inquires) else None
    assert inquiry is not None
    if request.founders:
        inquiry.meet(request.own, request.founders)
        return b""
    if request.question:
        try:
            return inquiry.answer(request.question)
        except api.WorkloadError:
            return b""
    if request.answers:
        inquiry.learn(request.answers)
    return inquiry.ask()
