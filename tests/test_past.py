"""What is made of the log of earlier sessions."""

from ase_hal.past import Past

LOG = [
    {"event": "start", "time": 100.0, "iteration": 1},
    {"event": "label", "time": 101.0, "iteration": 0, "index": 0, "seconds": 0.7},
    {"event": "failure", "time": 102.0, "iteration": 0, "index": 1, "seconds": 0.8},
    {"event": "step", "time": 110.0, "iteration": 1},
    {"event": "label", "time": 115.0, "iteration": 2, "index": 0, "seconds": 0.5},
    {"event": "start", "time": 1000.0, "iteration": 2},
    {"event": "start", "time": 2000.0, "iteration": 2},
    {"event": "label", "time": 2003.0, "iteration": 2, "index": 0, "seconds": 0.9},
    {"event": "test", "time": 2004.0, "iteration": -1, "index": 0, "seconds": 0.2},
]
END = {"event": "end", "time": 2005.0, "finished": "labels"}


def test_sessions_that_were_killed():
    past = Past.of(LOG)
    assert (past.sessions, past.iterations, past.end) == (3, 1, None)
    assert past.seconds == 15.0 + 0.0 + 4.0
    assert past.label_seconds == {(0, 0): 0.7, (0, 1): 0.8, (2, 0): 0.9, (-1, 0): 0.2}
    assert Past.of([*LOG, END]).end == END


def test_nothing_has_happened():
    assert Past.of([]) == Past(0, 0, 0.0, {}, None, False)


def test_older_logs():
    """Only starts had a time, and failures no duration."""
    log = [
        {k: v for k, v in event.items() if k != "time" or event["event"] == "start"}
        for event in LOG
    ]
    del log[2]["seconds"]
    past = Past.of(log)
    assert past.seconds == 0.0
    assert (0, 1) not in past.label_seconds


def test_a_clock_that_is_set_back():
    log = [
        *LOG,
        {"event": "fit", "time": 1990.0},
        {"event": "step", "time": 1993.0, "iteration": 2},
    ]
    assert Past.of(log).seconds == 15.0 + 4.0 + 3.0
