"""Every row of the list of peers' bugs (section 10): a test of its name, or a reason."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDERS, BOOKS = "tests/peers/test_peers_order_bugs.py", "tests/integrity/test_peers_book_bugs.py"
ROWS: dict[int, tuple[str, str] | str] = {
    1: (ORDERS, "test_hummingbot_8457_"),
    2: (ORDERS, "test_hummingbot_3374_"),
    3: (ORDERS, "test_hummingbot_493_"),
    4: (ORDERS, "test_hummingbot_905_"),
    5: (ORDERS, "test_hummingbot_4990_"),
    6: (ORDERS, "test_hummingbot_1663_"),
    7: (ORDERS, "test_hummingbot_7098_"),
    8: (ORDERS, "test_hummingbot_8250_"),
    9: (ORDERS, "test_hummingbot_7388_"),
    10: (ORDERS, "test_hummingbot_2896_"),
    11: (ORDERS, "test_nautilus_3493_"),
    12: (ORDERS, "test_nautilus_3046_"),
    13: (ORDERS, "test_nautilus_4736_"),
    14: (ORDERS, "test_nautilus_5000_"),
    15: (ORDERS, "test_nautilus_3878_"),
    16: "an order is never amended or replaced here: a new one has a new key, and its own fills",
    17: (ORDERS, "test_nautilus_3869_"),
    18: (ORDERS, "test_freqtrade_3647_"),
    19: (ORDERS, "test_freqtrade_6907_"),
    20: (ORDERS, "test_freqtrade_2613_"),
    21: (ORDERS, "test_freqtrade_13082_"),
    22: (BOOKS, "test_ccxt_29210_"),
    23: (BOOKS, "test_ccxt_8106_"),
    24: (BOOKS, "test_ccxt_24461_"),
    25: (BOOKS, "test_ccxt_23214_"),
    26: (BOOKS, "test_ccxt_29331_"),
    27: (ORDERS, "test_ccxt_2599_"),
    28: "no order is in contracts: derivatives are books only, and their sizes are held there by "
    "tests/connectors/test_okx_feed.py and test_bybit_feed.py",
    29: (BOOKS, "test_gocryptotrader_2255_"),
    30: (BOOKS, "test_cryptofeed_1016_"),
    31: (BOOKS, "test_xchange_4571_"),
    32: (ORDERS, "test_passivbot_lighter_3_"),
}


def test_all_rows_are_here():
    assert sorted(ROWS) == list(range(1, 33))


@pytest.mark.parametrize("row", [n for n, held in ROWS.items() if isinstance(held, tuple)])
def test_a_row_has_its_test(row):
    path, name = ROWS[row]
    text = (ROOT / path).read_text()
    found = re.findall(rf"^def ({name}\w+)\(", text, re.MULTILINE)
    assert found, f"row {row}: no {name}… in {path}"
