//! Levels as venues write them.

use crate::ladder::Level;

/// How fine an instrument's texts may be, and how much base a wire unit of quantity is.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Decimals of a price.
    pub px_decimals: u32,
    /// Decimals of a quantity as written.
    pub qty_decimals: u32,
    /// What a quantity as written is multiplied by.
    pub qty_factor: i128,
}

/// What is asked of the spelling.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// A row may go on after price and quantity: `["0.1","2","0","7"]`.
    pub longer: bool,
    /// No needless zeros: where a digest is over texts as sent, somebody must remember them.
    pub plain: bool,
}

const MOST_DIGITS: usize = 38; // of any number below 2^127

const fn powers() -> [i128; MOST_DIGITS + 1] {
    let (mut all, mut at) = ([1; MOST_DIGITS + 1], 1);
    while at < all.len() {
        all[at] = all[at - 1] * 10;
        at += 1;
    }
    all
}

static POWERS: [i128; MOST_DIGITS + 1] = powers();

/// Count of 10^-`decimals` in plain decimal `text`; exact.
///
/// None for what is not a plain decimal, is finer than `decimals` or needs more than 127 bits.
///
/// ```
/// assert_eq!(hean_core::scaled(b"65114.20", 2), Some(6511420));
/// assert_eq!(hean_core::scaled(b"1.5", 0), None);
/// ```
pub fn scaled(text: &[u8], decimals: u32) -> Option<i128> {
    let number = Number::at(text, 0)?;
    (number.end == text.len()).then(|| number.scaled(text, decimals))?
}

/// Where the digits of a plain decimal are in what is read.
struct Number {
    start: usize,
    dot: usize, // or the end
    end: usize,
}

impl Number {
    /// The number that begins at `start`.
    fn at(raw: &[u8], start: usize) -> Option<Self> {
        let digits = |from: usize| {
            raw[from..]
                .iter()
                .take_while(|c| c.is_ascii_digit())
                .count()
        };
        let dot = start + digits(start);
        let end = match raw.get(dot) {
            Some(b'.') => dot + 1 + digits(dot + 1),
            _ => dot,
        };
        let bare = dot == start || end == dot + 1; // no digits before the dot, or none behind it
        (!bare).then_some(Self { start, dot, end })
    }

    /// Written without zeros that say nothing: neither before the first digit nor behind the last.
    fn is_plain(&self, raw: &[u8]) -> bool {
        let padded = raw[self.start] == b'0' && self.dot > self.start + 1;
        !padded && (self.end == self.dot || raw[self.end - 1] != b'0')
    }

    fn scaled(&self, raw: &[u8], decimals: u32) -> Option<i128> {
        let decimals = decimals as usize;
        let whole = &raw[self.start..self.dot];
        let mut part = if self.end > self.dot {
            &raw[self.dot + 1..self.end]
        } else {
            &[][..]
        };
        if part.len() > decimals {
            if part[decimals..].iter().any(|&c| c != b'0') {
                return None; // finer than its scale
            }
            part = &part[..decimals];
        }
        let missing = *POWERS.get(decimals - part.len())?;
        if whole.len() + part.len() <= 18 {
            let value = part
                .iter()
                .fold(number64(whole), |sum, c| sum * 10 + u64::from(c - b'0'));
            return i128::from(value).checked_mul(missing);
        }
        let mut value: i128 = 0;
        for c in whole.iter().chain(part) {
            value = value.checked_mul(10)?.checked_add(i128::from(c - b'0'))?;
        }
        value.checked_mul(missing)
    }
}

/// At most 18 digits.
fn number64(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0, |sum, c| sum * 10 + u64::from(c - b'0'))
}

/// Read one side of a book, `[["0.1","2"], …]`, into `levels`; false if it is not of the plainest
/// spelling, and then `levels` are of no use.
pub fn read(raw: &[u8], scale: &Scale, terms: Terms, levels: &mut Vec<Level>) -> bool {
    Reader { raw, at: 0 }.side(scale, terms, levels).is_some()
}

struct Reader<'a> {
    raw: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn side(&mut self, scale: &Scale, terms: Terms, levels: &mut Vec<Level>) -> Option<()> {
        self.mark(b'[')?;
        if self.mark(b']').is_none() {
            loop {
                levels.push(self.level(scale, terms)?);
                if self.mark(b',').is_none() {
                    break;
                }
            }
            self.mark(b']')?;
        }
        self.blanks();
        (self.at == self.raw.len()).then_some(())
    }

    fn level(&mut self, scale: &Scale, terms: Terms) -> Option<Level> {
        self.mark(b'[')?;
        let px = self.number()?;
        self.mark(b',')?;
        let qty = self.number()?;
        while terms.longer && self.mark(b',').is_some() {
            self.pass_over()?;
        }
        self.mark(b']')?;
        if terms.plain && !(px.is_plain(self.raw) && qty.is_plain(self.raw)) {
            return None;
        }
        let size = qty
            .scaled(self.raw, scale.qty_decimals)?
            .checked_mul(scale.qty_factor)?;
        Some((px.scaled(self.raw, scale.px_decimals)?, size))
    }

    fn blanks(&mut self) {
        while matches!(self.raw.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Go past `mark`, and past blanks before it.
    fn mark(&mut self, mark: u8) -> Option<()> {
        self.blanks();
        (self.raw.get(self.at) == Some(&mark)).then(|| self.at += 1)
    }

    /// A number in quotation marks.
    fn number(&mut self) -> Option<Number> {
        self.mark(b'"')?;
        let number = Number::at(self.raw, self.at)?;
        (self.raw.get(number.end) == Some(&b'"')).then_some(())?;
        self.at = number.end + 1;
        Some(number)
    }

    /// A text without escapes: what may follow a price and a quantity.
    fn pass_over(&mut self) -> Option<()> {
        self.mark(b'"')?;
        let rest = &self.raw[self.at..];
        let end = rest
            .iter()
            .position(|c| !matches!(c, b' '..=b'~') || matches!(c, b'"' | b'\\'))?;
        (rest[end] == b'"').then(|| self.at += end + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale {
        px_decimals: 2,
        qty_decimals: 3,
        qty_factor: 1,
    };

    const LONGER: Terms = Terms {
        longer: true,
        plain: false,
    };
    const STRICT: Terms = Terms {
        longer: false,
        plain: false,
    };

    fn told(raw: &str, scale: &Scale, terms: Terms) -> Option<Vec<Level>> {
        let mut levels = Vec::new();
        read(raw.as_bytes(), scale, terms, &mut levels).then_some(levels)
    }

    #[test]
    fn a_text_is_its_number_or_nothing() {
        let rows: [(&str, u32, Option<i128>); 22] = [
            ("0", 0, Some(0)),
            ("7", 2, Some(700)),
            ("65114.20", 2, Some(6511420)),
            ("65114.20", 1, Some(651142)), // a zero may be dropped
            ("65114.25", 1, None),         // five may not
            ("007.5", 1, Some(75)),
            ("0.00000001", 8, Some(1)),
            ("1.000", 0, Some(1)),
            ("", 2, None),
            (".5", 2, None),
            ("5.", 2, None),
            (".", 2, None),
            ("-1", 2, None),
            ("+1", 2, None),
            ("1e3", 2, None),
            ("1 ", 2, None),
            ("1,5", 2, None),
            ("1.2.3", 2, None),
            ("999999999999999999", 0, Some(999_999_999_999_999_999)),
            ("9223372036854775808", 0, Some(9_223_372_036_854_775_808)), // more than 64 bits
            (
                "170141183460469231731687303715884105727",
                0,
                Some(i128::MAX),
            ),
            ("170141183460469231731687303715884105728", 0, None), // one more than 127 bits
        ];
        for (text, decimals, expected) in rows {
            assert_eq!(
                scaled(text.as_bytes(), decimals),
                expected,
                "{text} at {decimals}"
            );
        }
        assert_eq!(scaled(b"0", 39), None);
        assert_eq!(scaled(b"1", 38), Some(POWERS[38]));
        assert_eq!(scaled(b"2", 38), None); // twice that has 128 bits
        assert_eq!(scaled("٣".as_bytes(), 0), None); // a digit of another alphabet
    }

    #[test]
    fn every_shape_is_read_and_no_other() {
        let levels = Some(vec![(150, 2000), (25, 0)]);
        let rows = [
            (r#"[["1.5","2"],["0.25","0.000"]]"#, STRICT, levels.clone()),
            (
                " [ [ \"1.5\" ,\n\"2\" ] ,\t[\"0.25\",\"0\"]\r] ",
                STRICT,
                levels.clone(),
            ),
            ("[]", STRICT, Some(vec![])),
            (" [ ] ", LONGER, Some(vec![])),
            (
                r#"[["1.5","2","0","7"],["0.25","0", "a-b c"]]"#,
                LONGER,
                levels.clone(),
            ),
            (r#"[["1.5","2"],["0.25","0"]]"#, LONGER, levels),
            (r#"[["1.5","2","0"]]"#, STRICT, None), // a third
            (r#"[["1.5"]]"#, STRICT, None),
            (r#"[["1.5",2]]"#, STRICT, None), // not a text
            (r#"[["1.5" "2"]]"#, STRICT, None),
            (r#"[["1.5","2"],]"#, STRICT, None),
            (r#"[["1.5","2"]"#, STRICT, None),
            (r#"[["1.5","2"]]]"#, STRICT, None),
            (r#"[["1.5","2"#, STRICT, None),
            (r#"[["1.5","\u0032"]]"#, STRICT, None), // an escape: 2, but not here
            (r#"[["1.5","2","\""]]"#, LONGER, None),
            (r#"[["1.5","2",7]]"#, LONGER, None),
            (r#"[["1.5","2","é"]]"#, LONGER, None), // may not be UTF-8: others look at that
            (r#"[["1.555","2"]]"#, STRICT, None),   // too fine
            (r#"{"1.5":"2"}"#, STRICT, None),
            ("null", STRICT, None),
            ("", STRICT, None),
        ];
        for (raw, terms, expected) in rows {
            assert_eq!(told(raw, &SCALE, terms), expected, "{raw}");
        }
    }

    #[test]
    fn a_contract_is_multiplied_out() {
        let scale = Scale {
            qty_factor: 100,
            ..SCALE
        };
        assert_eq!(
            told(r#"[["1","2"]]"#, &scale, STRICT),
            Some(vec![(100, 200_000)])
        );
        let scale = Scale {
            qty_factor: i128::MAX,
            ..SCALE
        };
        assert_eq!(told(r#"[["1","2"]]"#, &scale, STRICT), None);
    }

    #[test]
    fn needless_zeros_are_seen() {
        let plain = Terms {
            plain: true,
            ..STRICT
        };
        for (text, expected) in [
            ("1.5", true),
            ("0.5", true),
            ("0", true),
            ("10", true),
            ("1.50", false),
            ("1.0", false),
            ("01.5", false),
            ("00", false),
        ] {
            let raw = format!(r#"[["{text}","2"]]"#);
            assert_eq!(
                told(&raw, &SCALE, plain).is_some(),
                expected,
                "price {text}"
            );
            let raw = format!(r#"[["2","{text}"]]"#);
            assert_eq!(
                told(&raw, &SCALE, plain).is_some(),
                expected,
                "quantity {text}"
            );
        }
    }

    #[test]
    fn every_cut_of_a_good_text_is_refused() {
        let raw = r#"[["1.5","2","0","7"],["0.25","0","0","1"]]"#;
        assert!(told(raw, &SCALE, LONGER).is_some());
        for end in 0..raw.len() {
            assert_eq!(told(&raw[..end], &SCALE, LONGER), None, "{}", &raw[..end]);
        }
    }
}
