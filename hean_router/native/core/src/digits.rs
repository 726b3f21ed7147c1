//! Numbers as digests want them.

use crate::ladder::{Ladder, Level};

/// How the numbers of a book are spelled.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    /// Decimals of a price.
    pub px_decimals: usize,
    /// Decimals of a quantity as written.
    pub qty_decimals: usize,
    /// What a quantity as written was multiplied by; positive.
    pub qty_factor: i128,
}

/// The best `depth` levels, price and quantity by turns, as digits without a sign, in one text.
pub fn digits(ladder: &Ladder, depth: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(24 * depth.min(ladder.len()));
    for (px, qty) in ladder.iter().take(depth) {
        unsigned_into(&mut text, px.unsigned_abs());
        unsigned_into(&mut text, qty.unsigned_abs());
    }
    text
}

/// `px:qty` of the best bid, the best ask, the second bid, … to `depth` levels a side, in one text;
/// where one side is shorter, the other's go on alone.  Numbers have no needless zeros.
pub fn spelled(bids: &Ladder, asks: &Ladder, depth: usize, spelling: &Spelling) -> Vec<u8> {
    let mut text = Vec::with_capacity(48 * depth.min(bids.len().max(asks.len())));
    let (mut bids, mut asks) = (bids.iter().take(depth), asks.iter().take(depth));
    loop {
        let (bid, ask) = (bids.next(), asks.next());
        if bid.is_none() && ask.is_none() {
            return text;
        }
        for level in [bid, ask].into_iter().flatten() {
            level_into(&mut text, level, spelling);
        }
    }
}

fn level_into(text: &mut Vec<u8>, (px, qty): Level, spelling: &Spelling) {
    if !text.is_empty() {
        text.push(b':');
    }
    plain_into(text, px.unsigned_abs(), spelling.px_decimals);
    text.push(b':');
    let wire = qty.unsigned_abs() / spelling.qty_factor.unsigned_abs();
    plain_into(text, wire, spelling.qty_decimals);
}

/// Append the digits of `number`.
fn unsigned_into(text: &mut Vec<u8>, number: u128) {
    let mut digits = [0; 39]; // of 2^128
    let mut at = digits.len();
    let mut rest = number;
    while rest > u128::from(u64::MAX) {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let mut rest = rest as u64; // divided several times faster
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}

/// Append `number` × 10^-`decimals` without needless zeros: `0.5`, `12`, `12.003`.
fn plain_into(text: &mut Vec<u8>, number: u128, decimals: usize) {
    let start = text.len();
    unsigned_into(text, number);
    if decimals == 0 {
        return;
    }
    let digits = text.len() - start;
    if digits <= decimals {
        text.splice(
            start..start,
            std::iter::repeat_n(b'0', decimals + 1 - digits),
        );
    }
    let dot = text.len() - decimals;
    let zeros = text[dot..].iter().rev().take_while(|&&c| c == b'0').count();
    text.truncate(text.len() - zeros);
    if zeros < decimals {
        text.insert(dot, b'.');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Side;

    #[test]
    fn numbers_are_spelled_without_needless_zeros() {
        for (number, decimals, expected) in [
            (0, 0, "0"),
            (0, 3, "0"),
            (5, 1, "0.5"),
            (1200, 2, "12"),
            (12003, 3, "12.003"),
            (12030, 3, "12.03"),
            (1, 8, "0.00000001"),
            (100, 0, "100"),
            (u128::from(u64::MAX) + 1, 0, "18446744073709551616"),
            (
                i128::MAX.unsigned_abs(),
                30,
                "170141183.460469231731687303715884105727",
            ),
            (u128::MAX, 0, "340282366920938463463374607431768211455"),
        ] {
            let mut text = b"x:".to_vec();
            plain_into(&mut text, number, decimals);
            assert_eq!(String::from_utf8(text).unwrap(), format!("x:{expected}"));
        }
    }

    #[test]
    fn books_are_spelled_as_the_venues_say() {
        let (mut bids, mut asks) = (Ladder::new(Side::Bids), Ladder::new(Side::Asks));
        bids.replace(&[(33661, 7), (33662, 700)]);
        asks.replace(&[(33663, 8), (33664, 90), (33665, 1)]);
        assert_eq!(digits(&asks, 2), b"3366383366490");
        let spelling = Spelling {
            px_decimals: 1,
            qty_decimals: 2,
            qty_factor: 1,
        };
        assert_eq!(
            String::from_utf8(spelled(&bids, &asks, 25, &spelling)).unwrap(),
            "3366.2:7:3366.3:0.08:3366.1:0.07:3366.4:0.9:3366.5:0.01"
        );
        assert_eq!(spelled(&bids, &asks, 1, &spelling), b"3366.2:7:3366.3:0.08");
        let contracts = Spelling {
            qty_factor: 10,
            ..spelling
        };
        assert_eq!(
            spelled(&bids, &Ladder::new(Side::Asks), 1, &contracts),
            b"3366.2:0.7"
        );
    }
}
