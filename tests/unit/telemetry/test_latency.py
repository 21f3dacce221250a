from roost.telemetry.latency import Histogram


def test_a_bound_belongs_to_its_own_bucket() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.2, 5.0):
        histogram.add(seconds)
    assert histogram.cumulative() == [("0.1", 2.0), ("1.0", 3.0), ("+Inf", 4.0)]
    assert histogram.total_s == 5.35
    assert histogram.count == 4
