import pytest

from roost.telemetry.traffic import HORIZON_S, Traffic


def test_rates_look_back_over_the_window_only() -> None:
    traffic = Traffic()
    traffic.add(100.0, True, 100, 40)
    traffic.add(155.0, False, 10, 2)
    traffic.add(155.9, True, 10, 2)
    short = traffic.rates(159.0, 10)
    assert (short.requests, short.failures, short.tokens_in, short.tokens_out) == (0.2, 0.1, 2.0, 0.4)
    assert traffic.rates(159.0, 60).requests == pytest.approx(3 / 60)
    assert traffic.rates(159.0, 60).tokens_in == pytest.approx(2.0)
    assert traffic.last_request_at == 155.9


def test_an_hour_is_kept_and_no_more() -> None:
    traffic = Traffic()
    for second in range(2 * HORIZON_S):
        traffic.add(float(second), True)
    assert traffic.rates(2.0 * HORIZON_S - 1, HORIZON_S).requests == 1.0
    traffic.add(5.0 * HORIZON_S, True)
    assert traffic.rates(5.0 * HORIZON_S, HORIZON_S).requests == 1 / HORIZON_S


@pytest.mark.parametrize("window_s", [0, HORIZON_S + 1])
def test_a_window_that_cannot_be_answered_is_refused(window_s: int) -> None:
    with pytest.raises(ValueError, match="choose 1 to 3600"):
        Traffic().rates(0.0, window_s)
