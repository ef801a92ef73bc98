"""What a job shows of its rounds."""

from node.jobs.progress import Progress


def test_mean_weights_count_rounds_without_a_contribution_and_not_those_without_weights():
    shown = Progress()
    assert shown.weights_mean == {}
    shown.weigh({"a": 0.75, "b": 0.25})
    shown.weigh({})
    assert shown.weights == {}
    shown.weigh({"a": 1.0})
    assert shown.weights == {"a": 1.0}
    assert shown.weights_mean == {"a": 0.875, "b": 0.125}
