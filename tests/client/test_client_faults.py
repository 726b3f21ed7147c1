"""What the client says when nobody answers, or the answer is lost."""

import socket
import threading
from contextlib import contextmanager
from decimal import Decimal

import pytest

from hean_router.client import ApiError, Client, NotRunning, calls
from hean_router.domain.errors import CommandError


@contextmanager
def server(answer):
    """One that takes requests and answers with these bytes, or hangs up without a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    taken, _ = listener.accept()
                except OSError:
                    return
                with taken:
                    taken.recv(65_536)
                    taken.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_lost_answer_to_an_order_tells_the_id_to_ask_by():
    with server(b"") as api, Client(api, "k") as client, pytest.raises(NotRunning) as lost:
        client.submit("BTC/USDT", "buy", quantity="1")
    fault = lost.value
    assert fault.sent
    assert fault.client_order_id.startswith("c")
    assert fault.client_order_id in fault.fix


def test_a_lost_answer_to_a_question_has_done_nothing():
    with server(b"") as api, Client(api, "k") as client, pytest.raises(NotRunning) as lost:
        client.orders()
    assert not lost.value.sent


def test_where_nobody_listens_nothing_was_placed():
    with Client("http://127.0.0.1:1", "k") as client, pytest.raises(NotRunning) as lost:
        client.submit("BTC/USDT", "buy", quantity="1", client_order_id="mine")
    assert (lost.value.sent, lost.value.client_order_id) == (False, "mine")


def test_an_answer_that_is_not_ours_is_an_error_by_its_status():
    page = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"
    with server(page) as api, Client(api, "k") as client, pytest.raises(ApiError) as refused:
        client.orders()
    assert (refused.value.code, refused.value.status) == ("http_502", 502)


@pytest.mark.parametrize("api", ["localhost:8400", "ftp://x", "", "http://", "http://[::1"])
def test_what_is_no_address_is_the_callers_fault(api):
    with pytest.raises(CommandError), Client(api, "k") as client:
        client.orders()


@pytest.mark.parametrize("number", [0.1, True, float("nan")])
def test_a_float_is_no_amount(number):
    with pytest.raises(CommandError, match="not exact"):
        calls.order_body("BTC/USDT", "buy", client_order_id="x", quantity=number)


def test_a_decimal_goes_out_plain():
    body = calls.order_body("BTC/USDT", "buy", client_order_id="x", quantity=Decimal("1E-7"))
    assert body["quantity"] == "0.0000001"


def test_the_key_is_in_no_representation():
    with Client("http://127.0.0.1:1", "hean_secret") as client:
        assert "secret" not in repr(client)
