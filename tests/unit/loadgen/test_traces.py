"""Traces of both forms: read, cut, thinned, sped up, and what is wrong with others."""

import itertools

import pytest

from roost.loadgen.plan import PlanError
from roost.loadgen.traces import Cut, replays

REQUESTS = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.0000000,400,44
2023-11-16 18:15:47.5000000,4,1
2023-11-16 18:15:49.0000000,80,7
2023-11-16 18:16:46.0000000,80,9
"""


def windows(*rows: str) -> str:
    return "client,window_start_s,rate_rps,cv,distribution,shape,scale_s\n" + "\n".join(rows) + "\n"


def test_rows_go_to_the_models_in_turn_with_their_sizes() -> None:
    made = replays(REQUESTS, "t.csv", ["a", "b"], Cut())
    assert [moment.at_s for moment in made["a"].moments] == [0.0, 3.0]  # rows 1 and 3
    assert [moment.at_s for moment in made["b"].moments] == [1.5, 60.0]
    first = made["a"].moments[0]
    assert (first.prompt_words, first.max_tokens) == (300, 44)


def test_a_part_of_a_trace_begins_at_its_own_zero_and_may_run_faster() -> None:
    made = replays(REQUESTS, "t.csv", ["a"], Cut(from_s=1.0, for_s=10.0, speed_up=2.0))
    assert [moment.at_s for moment in made["a"].moments] == [0.25, 1.0]


def test_each_client_is_one_model_with_the_rate_of_its_windows() -> None:
    rows = [f"x,{start},10,1,Gamma,2.0,9" for start in (0, 600)] + ["y,600,20,1,Weibull,0.8,9"]
    made = replays(windows(*rows), "s.csv", ["a", "b"], Cut())
    a, b = made["a"].moments, made["b"].moments
    assert len(a) == pytest.approx(12_000, rel=0.05)
    assert len(b) == pytest.approx(12_000, rel=0.05)
    assert b[0].at_s >= 600.0
    assert b[-1].at_s < 1200.0
    assert [moment.at_s for moment in a] == sorted(moment.at_s for moment in a)


def test_the_shape_decides_how_bursty_the_gaps_are() -> None:
    def variation(shape: float, distribution: str) -> float:
        made = replays(windows(f"x,0,20,1,{distribution},{shape},1"), "s.csv", ["a"], Cut())
        at = [moment.at_s for moment in made["a"].moments]
        gaps = [after - before for before, after in itertools.pairwise(at)]
        mean = sum(gaps) / len(gaps)
        return float((sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 / mean)

    assert variation(4.0, "Gamma") == pytest.approx(0.5, rel=0.1)
    assert variation(0.25, "Gamma") == pytest.approx(2.0, rel=0.2)
    assert variation(1.0, "Weibull") == pytest.approx(1.0, rel=0.1)


def test_a_seed_gives_the_same_trace_and_thinning_keeps_the_share() -> None:
    text = windows("x,0,20,1,Gamma,1.0,1")
    whole = replays(text, "s.csv", ["a"], Cut(seed=5))
    assert whole == replays(text, "s.csv", ["a"], Cut(seed=5))
    assert whole != replays(text, "s.csv", ["a"], Cut(seed=6))
    thin = replays(text, "s.csv", ["a"], Cut(seed=5, keep=0.25))
    assert len(thin["a"].moments) == pytest.approx(3000, rel=0.1)
    assert {moment.at_s for moment in thin["a"].moments} <= {moment.at_s for moment in whole["a"].moments}


@pytest.mark.parametrize(
    ("text", "cut", "says"),
    [
        ("", Cut(), "is no trace"),
        ("a,b\n1,2\n", Cut(), "names a, b"),
        (REQUESTS + "soon,1,2\n", Cut(), "t.csv:6 cannot be read"),
        (REQUESTS, Cut(from_s=1000.0), "no request in the part"),
        (windows("x,0,1,1,Gamma,1,1"), Cut(), "1 clients for 2 models"),
        (windows("x,0,fast,1,Gamma,1,1"), Cut(), "t.csv:2 cannot be read"),
        (windows("x,0,99999,1,Gamma,1,1", "y,0,1,1,Gamma,1,1"), Cut(), "over 500000 requests"),
        (windows("x,0,1,1,Normal,1,1", "y,0,1,1,Gamma,1,1"), Cut(), "distribution 'Normal'"),
        (windows("x,0,1,1,Weibull,0.001,1", "y,0,1,1,Gamma,1,1"), Cut(), "shape from 0.02"),
        (windows("x,0,1,1,Gamma,0.0001,1", "y,0,1,1,Gamma,1,1"), Cut(), "shape from 0.001"),
    ],
)
def test_what_is_wrong_with_a_trace_is_said(text: str, cut: Cut, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        replays(text, "t.csv", ["a", "b"], cut)


def test_a_part_is_what_the_whole_has_there_and_only_it_is_drawn() -> None:
    rows = [f"x,{start},{20 if start == 1200 else 400},1,Gamma,1.0,1" for start in range(0, 6000, 600)]
    text = windows(*rows)
    part = replays(text, "s.csv", ["a"], Cut(from_s=1200.0, for_s=600.0))["a"].moments
    longer = replays(text, "s.csv", ["a"], Cut(from_s=1200.0, for_s=700.0))["a"].moments
    assert longer[: len(part)] == part
    heavy = windows(*(f"x,{start},9000,1,Gamma,1.0,1" for start in range(0, 600_000, 600)))
    thin = replays(heavy, "s.csv", ["a"], Cut(from_s=6000.0, for_s=600.0, keep=0.0001))["a"].moments
    assert len(thin) == pytest.approx(540, rel=0.2)


def test_a_window_may_say_how_long_it_is() -> None:
    text = "client,window_start_s,window_s,rate_rps,distribution,shape\nx,0,60,10,Gamma,1\n"
    moments = replays(text, "s.csv", ["a"], Cut())["a"].moments
    assert len(moments) == pytest.approx(600, rel=0.2)
    assert moments[-1].at_s < 60.0
