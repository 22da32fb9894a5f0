import contextlib
import os
import signal
import threading

import pytest

from polytask.training.signals import StopSignals


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_a_stop(number: signal.Signals) -> None:
    with StopSignals() as stop:
        before = stop.requested
        send(number)
        assert (before, stop.requested, stop.received) == (False, True, number.name)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_signal_leaves_at_once(first: signal.Signals) -> None:
    with StopSignals() as stop:
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        send(signal.SIGTERM)
        assert stop.received == first.name


def test_handlers_are_restored() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with contextlib.suppress(ZeroDivisionError), StopSignals():
        assert all(signal.getsignal(number) not in before for number in numbers)
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in numbers] == before


def test_other_threads_go_without() -> None:
    found: list[bool] = []

    def work() -> None:
        with StopSignals() as stop:
            found.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
